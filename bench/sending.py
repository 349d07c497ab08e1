"""Clients that upload a file over each of the service's ways and compute nothing: they hand the file to the socket.

Each raises RuntimeError unless the upload was acknowledged.
"""

import base64
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

from tests.cluster.running import Platform

AT_ONCE = 4  # parts of one upload, as `penstock upload` sends them
TUS = {"Tus-Resumable": "1.0.0"}
_BYTES = {"Content-Type": "application/offset+octet-stream"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; names of headers in lower case."""

    headers: Mapping[str, str]
    body: bytes


class Line:
    """One connection, kept open."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """``key``: goes with every request."""
        self._at = urlsplit(url)
        assert self._at.hostname is not None
        self._connection = HTTPConnection(self._at.hostname, self._at.port, timeout=600)
        self._key = key

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], *, file: Path | None = None, start: int = 0, size: int = 0
    ) -> Answer:  # fmt: skip
        """One request, whose body is ``size`` bytes of a file."""
        self.begin(method, path, headers, size)
        if file is not None:
            with file.open("rb") as source:
                self._connection.sock.sendfile(source, start, size)
        return self.end(f"{method} {path}")

    def tell(self, path: str, document: Mapping[str, Any]) -> Any:
        """A POST of JSON; the document that comes back."""
        body = json.dumps(document).encode()
        self.begin("POST", path, {"Content-Type": "application/json"}, len(body))
        self.send(body)
        return json.loads(self.end(f"POST {path}").body)

    def begin(self, method: str, path: str, headers: Mapping[str, str], size: int) -> None:
        """A request's head; its body is still to come."""
        self._connection.putrequest(method, path, skip_accept_encoding=True)
        authorization = {} if self._key is None else {"Authorization": f"Bearer {self._key}"}
        for name, value in {**authorization, **headers, "Content-Length": str(size)}.items():
            self._connection.putheader(name, value)
        self._connection.endheaders()

    def send(self, data: bytes) -> None:
        """Bytes of a body."""
        self._connection.sock.sendall(data)

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    def end(self, what: str) -> Answer:
        """The answer to a request whose body was sent."""
        with self._connection.getresponse() as response:
            body = response.read()
            if response.status >= 300:
                raise RuntimeError(f"{what}: {response.status} {body[:500]!r}")
            return Answer({name.lower(): value for name, value in response.getheaders()}, body)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to upload."""

    url: str
    key: str

    @classmethod
    def of(cls, platform: Platform) -> Self:
        """As its administrator."""
        return cls(platform.url, (platform.data / "admin.key").read_text().strip())

    def line(self) -> Line:
        """A connection to the service."""
        return Line(self.url, self.key)


Send = Callable[[Target, Path], None]


def whole(target: Target, file: Path) -> None:
    """`POST /api/uploads` with the bytes as its body."""
    with closing(target.line()) as line:
        path = "/api/uploads?filename=bytes.mp4&visibility=private&allow_duplicate=true"
        line.ask("POST", path, {"Content-Type": "video/mp4"}, file=file, size=file.stat().st_size)


def create_tus(line: Line, size: int) -> str:
    """A new `tus` upload; its path."""
    words = {"filename": "bytes.mp4", "allow_duplicate": "true"}
    metadata = ",".join(
        f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in words.items()
    )
    answer = line.ask(
        "POST", "/api/uploads/tus/", {**TUS, "Upload-Length": str(size), "Upload-Metadata": metadata}
    )
    return urlsplit(answer.headers["location"]).path


def patch(offset: int) -> Mapping[str, str]:
    """The head of a `PATCH`."""
    return {**TUS, **_BYTES, "Upload-Offset": str(offset)}


def tus(
    target: Target, file: Path, *, start: int = 0, size: int | None = None, piece: int | None = None
) -> None:
    """A range of the file by `tus`, in requests of ``piece`` bytes, or in one."""
    size = file.stat().st_size if size is None else size
    with closing(target.line()) as line:
        path, sent = create_tus(line, size), 0
        while sent < size:
            more = min(piece or size, size - sent)
            line.ask("PATCH", path, patch(sent), file=file, start=start + sent, size=more)
            sent += more


def several(target: Target, file: Path, *, count: int) -> None:
    """The file's ``count`` equal pieces, each a `tus` upload of its own, all at once."""
    size = file.stat().st_size // count
    with ThreadPoolExecutor(count) as threads:
        begun = [threads.submit(tus, target, file, start=number * size, size=size) for number in range(count)]
        for upload in begun:
            upload.result()


def direct(target: Target, file: Path) -> None:
    """`initiate`, every part to its signed address, `complete`; parts go over some connections at once."""
    size = file.stat().st_size
    asked = {"filename": "bytes.mp4", "size": size, "transport": "direct", "allow_duplicate": True}
    with closing(target.line()) as line:
        session = line.tell("/api/uploads/initiate", asked)
    parts = session["parts"]

    def send(lane: int) -> None:
        with closing(Line(urljoin(target.url, parts[0]["url"]))) as own:
            for part in parts[lane::AT_ONCE]:
                at = urlsplit(urljoin(target.url, part["url"]))
                own.ask(
                    "PUT", f"{at.path}?{at.query}", {}, file=file, start=part["offset"], size=part["size"]
                )

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for sender in [threads.submit(send, lane) for lane in range(AT_ONCE)]:
            sender.result()
    with closing(target.line()) as line:  # another: an idle one is closed after half a minute
        line.tell("/api/uploads/complete", {"upload_id": session["upload_id"]})
