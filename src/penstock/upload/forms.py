"""A ``multipart/form-data`` body (RFC 7578) as a stream: text fields, then one file whose bytes pass through.

Nothing is spooled and memory is bounded: a field has a limit, and the file's bytes are handed on as they come. Fields
after the file are refused, since what they say would be needed before it.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from penstock.video.errors import InvalidRequest, UnsupportedMedia

_MOST_FIELDS = 20
_LONGEST_FIELD = 16 * 1024


class FormMalformed(InvalidRequest):
    """The body is not the form it claims to be, or breaks this endpoint's rules of order and size."""

    code = "form_malformed"


@dataclass(frozen=True, slots=True)
class FormFile:
    """The beginning of the form's file: all fields before it, and how the client named and typed it."""

    fields: dict[str, str]
    filename: str
    content_type: str | None


@dataclass(slots=True)
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    filename: str | None = None
    value: bytearray = field(default_factory=bytearray)


class Form:
    """A form being received. Call :meth:`until_file`, then iterate :meth:`content` to its end."""

    def __init__(self, content_type: str, pieces: AsyncIterator[bytes]) -> None:
        """``pieces`` is the body. Raises :class:`UnsupportedMedia` without a boundary."""
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise UnsupportedMedia("A multipart form needs a 'boundary' in its Content-Type.")
        self._pieces = pieces
        self._fields: dict[str, str] = {}
        self._part = _Part()
        self._header = bytearray()
        self._value = bytearray()
        self._file: FormFile | None = None
        self._in_file = False
        self._ended = False
        self._arrived: list[bytes] = []  # bytes of the file out of the piece being parsed
        callbacks = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]  # a TypedDict of these
        except FormParserError as error:
            raise FormMalformed("The form's boundary is too long.") from error

    async def until_file(self) -> FormFile:
        """Reads the fields; returns at the file. Raises :class:`FormMalformed` where there is none."""
        async for piece in self._pieces:
            self._parse(piece)
            if self._file is not None:
                return self._file
        raise FormMalformed("The form has no part with a file.", code="file_missing")

    async def content(self) -> AsyncIterator[bytes]:
        """The file's bytes. Raises :class:`FormMalformed` unless the form ends properly after them."""
        for data in self._taken():
            yield data
        async for piece in self._pieces:
            self._parse(piece)
            for data in self._taken():
                yield data
        if not self._ended:
            raise FormMalformed("The form ends before its closing boundary.")

    def _taken(self) -> list[bytes]:
        arrived, self._arrived = self._arrived, []
        return arrived

    def _parse(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise FormMalformed("The body is not a well-formed multipart form.") from error

    def _on_part_begin(self) -> None:
        if self._file is not None:
            raise FormMalformed("The file must be the last part of the form.", code="field_after_file")
        if len(self._fields) >= _MOST_FIELDS:
            raise FormMalformed(f"The form has more than {_MOST_FIELDS} fields.")
        self._part = _Part()

    def _on_header_end(self) -> None:
        self._part.headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        disposition, options = parse_options_header(self._part.headers.get(b"content-disposition", b""))
        if disposition != b"form-data" or b"name" not in options:
            raise FormMalformed("A part of the form has no name.")
        self._part.name = options[b"name"].decode(errors="replace")
        if b"filename" in options:
            filename = options[b"filename"].decode(errors="replace")
            content_type = self._part.headers.get(b"content-type", b"").decode("latin-1").strip()
            self._file = FormFile(self._fields, filename, content_type or None)
            self._in_file = True

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._arrived.append(data[start:end])
            return
        self._part.value += data[start:end]
        if len(self._part.value) > _LONGEST_FIELD:
            raise FormMalformed(f"A field of the form is longer than {_LONGEST_FIELD} bytes.")

    def _on_part_end(self) -> None:
        if self._in_file:
            self._in_file = False
            return
        if self._part.name in self._fields:
            raise FormMalformed("A field of the form is given twice.")
        try:
            self._fields[self._part.name] = self._part.value.decode()
        except UnicodeDecodeError as error:
            raise FormMalformed("A field of the form is not UTF-8 text.") from error

    def _on_end(self) -> None:
        self._ended = True
