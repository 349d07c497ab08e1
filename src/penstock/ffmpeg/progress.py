"""Reading what ``ffmpeg -progress`` writes: blocks of ``key=value`` lines, each ended by the key ``progress``."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """One block. Nothing here is a promise: success is judged by what was written, never by this."""

    frame: int  # pictures encoded for the first video output so far; 0 for sound
    out_seconds: float | None  # highest time written so far; None before the first
    speed: float | None  # seconds of media per second; None while unknown
    done: bool


class ProgressParser:
    """Feed it bytes as they come; blocks may be cut anywhere."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, str] = {}

    def feed(self, data: bytes) -> Iterator[Progress]:
        """Take in some bytes and give the blocks they completed."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            key, _, value = line.decode("utf-8", "replace").partition("=")
            self._fields[key.strip()] = value.strip()
            if key == "progress":
                fields, self._fields = self._fields, {}
                microseconds = _number(fields.get("out_time_us"))
                yield Progress(
                    frame=int(_number(fields.get("frame")) or 0),
                    out_seconds=None if microseconds is None else microseconds / 1e6,
                    speed=_number(fields.get("speed", "").rstrip("x")),
                    done=value.strip() == "end",
                )


def _number(text: str | None) -> float | None:
    """FFmpeg writes ``N/A`` for what it does not know."""
    try:
        return float(text or "")
    except ValueError:
        return None
