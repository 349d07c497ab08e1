"""How the command line speaks: results to standard output, everything else to standard error, failures by exit status.

The statuses are part of the interface: scripts match on them, and errors print their stable code as well.
"""

import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from enum import IntEnum
from functools import wraps
from http import HTTPStatus
from typing import Any, NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from penstock.client.errors import ClientError
from penstock.video.errors import ConfigurationError, NotFound, PenstockError, ToolError, TransientError

P = ParamSpec("P")
R = TypeVar("R")


class Status(IntEnum):
    """Exit statuses. 2 is the usage error of every command line; 130 an interrupt, as shells have it."""

    OK = 0
    FAILED = 1  # the thing was tried and did not succeed: a video failed, a check found a fault
    USAGE = 2
    CONFIGURATION = 3  # this machine or its settings must change first
    UNAVAILABLE = 4  # no answer, or not now; the same command may succeed later
    REFUSED = 5  # no key, or one that does not permit this
    NOT_FOUND = 6
    INTERRUPTED = 130


# Formatting characters that people write with: joiners of scripts and of emoji, and signs of Arabic, Syriac and Kaithi that
# stand round a number. All others cannot be seen, and some turn the rest of the line round.
_WRITTEN = frozenset(
    "\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)


def visible(text: str) -> str:
    r"""``text``, in which what would move the cursor, reorder the line or not be seen is spelled out: ``\u202e``."""
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character.isprintable() or character in "\n\t" or character in _WRITTEN:
        return character
    hidden = unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp"}
    return character.encode("unicode_escape").decode("ascii") if hidden else character


class _Console(Console):
    """A console on which names of others may be shown, and whose reader may go.

    As in ``penstock videos | head``: that ends the command, and is no failure.
    """

    @override
    def render_str(self, text: str, **how: Any) -> Text:  # of all that is printed, cells of tables included
        return super().render_str(visible(text), **how)

    @override
    def on_broken_pipe(self) -> NoReturn:
        _say_no_more()
        raise SystemExit(Status.OK)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    # What is piped on is not folded to the width of a screen that nobody looks at.
    return _Console(
        stderr=stderr, highlight=False, emoji=False, soft_wrap=True, width=None if stream.isatty() else 400
    )


out = _console(stderr=False)
err = _console(stderr=True)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=_json_text) + "\n")
    sys.stdout.flush()  # a reader that has gone is noticed here, not at the interpreter's end


def _json_text(value: Any) -> str:
    """Moments as the server writes them; whatever else JSON does not know, as it is shown."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


def fail(detail: str, *, code: str, status: Status = Status.FAILED) -> NoReturn:
    """Says what went wrong and ends the command."""
    report(code, detail)
    raise typer.Exit(status)


def report(code: str, detail: str) -> None:
    """One error, as every command prints it: code, then detail with the remedy."""
    err.print(f"[bold red]error[/] {escape(code)}: {escape(detail)}")


def reporting(command: Callable[P, R]) -> Callable[P, R]:
    """Turns the errors that a command may raise into a line and an exit status; nobody sees a stack trace of those."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ClientError as error:
            report(error.code, error.detail)
            for pointer, expected in error.fields:
                err.print(f"  {pointer}: {expected}", markup=False)
            if error.status == HTTPStatus.UNAUTHORIZED:
                err.print(
                    "  commands take the key from PENSTOCK_API_KEY, else from admin.key in the data folder (PENSTOCK_DATA)"
                )
            if error.request_id and (error.status or 0) >= 500:
                err.print(f"  the server's log has it under request_id {error.request_id}")
            raise typer.Exit(status_of(error.status, error.code)) from None
        except PenstockError as error:
            report(error.code, error.detail)
            raise typer.Exit(_status_of_error(error)) from None
        except KeyboardInterrupt:
            err.print("interrupted")
            raise typer.Exit(Status.INTERRUPTED) from None
        except BrokenPipeError:  # the reader of our output has gone
            _say_no_more()
            raise typer.Exit(Status.OK) from None

    return wrapped


def _say_no_more() -> None:
    """Lets go of an output that nobody reads, or the interpreter would complain of it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def status_of(http_status: int | None, code: str) -> Status:
    """The exit status for a server's refusal."""
    match http_status:
        case 401 | 403:
            return Status.REFUSED
        case 404 | 410:
            return Status.NOT_FOUND
        case None:
            return {"unreachable": Status.UNAVAILABLE, "api_key_invalid": Status.REFUSED}.get(
                code, Status.FAILED
            )
        case 408 | 429 | 502 | 503 | 504 | 507:
            return Status.UNAVAILABLE
        case _:
            return Status.FAILED


def patience_status(state: str) -> Status:
    """The exit status for a video that is not ready: whether waiting helps."""
    return Status.UNAVAILABLE if state in {"pending", "uploaded", "processing"} else Status.FAILED


def examples(*commands: str) -> str:
    """The end of a command's help page."""
    return "\n\n".join(["Examples:", *(f"$ {command}" for command in commands)])


def table(*columns: str) -> Table:
    """A table without lines, which survives copying and narrow terminals."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column == "ID")
    return made


def facts(pairs: Iterable[tuple[str, str]], *, indent: str = "") -> None:
    """Names and values, one pair a line; a long value, such as an address, stays whole for copying."""
    lines = list(pairs)
    width = max((len(name) for name, _ in lines), default=0)
    for name, value in lines:
        out.print(f"{indent}{name:<{width}}  {value}")


def duration(seconds: float | None) -> str:
    """``1.4 s``, ``2 min 05 s``, ``1 h 02 min``."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def age(seconds: float) -> str:
    """How long something has been so, in its largest unit: ``8 s``, ``5 min``, ``3 d``."""
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def size(count: float | None) -> str:
    """Bytes in the decimal units of disks and networks."""
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def bitrate(bits: float | None) -> str:
    """Bits per second."""
    if bits is None:
        return "-"
    return f"{bits / 1e6:.2f} Mbit/s" if bits >= 1e6 else f"{bits / 1e3:.0f} kbit/s"


def moment(text: str | None) -> str:
    """An RFC 3339 time in the reader's own zone."""
    if not text:
        return "-"
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def between(earlier: str | None, later: str | None) -> float | None:
    """Seconds from one RFC 3339 time to another."""
    if not earlier or not later:
        return None
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def now() -> str:
    """The present as RFC 3339."""
    return datetime.now(UTC).isoformat()


def _status_of_error(error: PenstockError) -> Status:
    match error:
        case ConfigurationError() | ToolError():
            return Status.CONFIGURATION
        case NotFound():
            return Status.NOT_FOUND
        case TransientError():
            return Status.UNAVAILABLE
        case _:
            return Status.FAILED
