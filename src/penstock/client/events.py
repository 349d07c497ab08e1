"""Reading ``text/event-stream`` (WHATWG HTML, section 9.2.6), as far as a client of this server needs it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event; ``id`` is what to send as ``Last-Event-ID`` to go on after it."""

    name: str
    data: str
    id: str | None = None


def parse(lines: Iterable[str]) -> Iterator[ServerEvent]:
    """The complete events of a stream; an unfinished last one is dropped, as the standard says."""
    name, data, last_id = "message", list[str](), None
    for line in lines:
        if not line:
            if data:
                yield ServerEvent(name, "\n".join(data), last_id)
            name, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                name = value
            case "data":
                data.append(value)
            case "id" if "\0" not in value:
                last_id = value
            case _:
                pass  # a comment (keeps the connection open), or a field this client does not know
