import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from rich.markup import escape

from penstock.cli.terminal import (
    Status,
    bitrate,
    duration,
    out,
    patience_status,
    print_json,
    report,
    reporting,
    size,
    table,
)
from penstock.client import ClientError
from penstock.video.errors import ConfigurationError, NotFound, PenstockError, StorageFull, ToolError
from penstock.video.lifecycle import VideoState


def raising(error: BaseException) -> Callable[[], None]:
    """A command that ends so."""

    @reporting
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigurationError("x"), Status.CONFIGURATION),
        (ToolError("x"), Status.CONFIGURATION),
        (StorageFull("x"), Status.UNAVAILABLE),
        (NotFound("x"), Status.NOT_FOUND),
        (PenstockError("x"), Status.FAILED),
        (ClientError("x", code="unreachable"), Status.UNAVAILABLE),
        (ClientError("x", code="file_unreadable"), Status.FAILED),
        (ClientError("x", code="unauthenticated", status=401), Status.REFUSED),
        (ClientError("x", code="not_owner", status=403), Status.REFUSED),
        (ClientError("x", code="video_not_found", status=404), Status.NOT_FOUND),
        (ClientError("x", code="storage_full", status=507), Status.UNAVAILABLE),
        (ClientError("x", code="invalid_request", status=422), Status.FAILED),
        (KeyboardInterrupt(), Status.INTERRUPTED),
    ],
)
def test_every_expected_error_has_its_status(error: BaseException, status: Status) -> None:
    """Scripts tell by it whether to try again, to repair something, or to give up."""
    with pytest.raises(typer.Exit) as ended:
        raising(error)()
    assert ended.value.exit_code == status


def test_an_error_prints_its_code_its_remedy_and_the_fields_at_fault(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On standard error, brackets and all, and no stack trace."""
    error = ClientError(
        "Send [one] of them.", code="invalid_request", status=422, fields=(("/body/size", "a number"),)
    )
    with pytest.raises(typer.Exit):
        raising(error)()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "error invalid_request: Send [one] of them.\n  /body/size: a number\n"


def test_moments_in_json_are_as_the_server_writes_them(capsys: pytest.CaptureFixture[str]) -> None:
    """One program reads what every command prints."""
    print_json({"at": datetime(2026, 5, 4, 3, 2, 1, 500, UTC), "file": Path("a")})
    assert json.loads(capsys.readouterr().out) == {"at": "2026-05-04T03:02:01.000500Z", "file": "a"}


def test_waiting_is_advised_where_it_helps() -> None:
    """A script that waits for a video that failed or was deleted would wait for ever."""
    waits = {state for state in VideoState if patience_status(state) is Status.UNAVAILABLE}
    assert waits == {VideoState.PENDING, VideoState.UPLOADED, VideoState.PROCESSING}


def test_names_of_others_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever brackets and backslashes a file is called by, the error about it is readable."""
    detail, expected = r"\[/red] \\[bold]x[/].avi cannot be read", r"\[/red] [/]"
    with pytest.raises(typer.Exit):
        raising(ClientError(detail, code="file_unreadable", fields=((r"/\[b]", expected),)))()
    assert capsys.readouterr().err == f"error file_unreadable: {detail}\n  /\\[b]: {expected}\n"


def test_names_of_others_show_what_would_not_be_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing turns the line round, hides or moves the cursor, in messages and in tables; what writing needs stays."""
    hostile = "a\u202egpj\u2066.exe\u200b\ufeff\u00ad\U000e0041\u2028b\x1b[2J\x9b\u061c"
    shown = r"a\u202egpj\u2066.exe\u200b\ufeff\xad\U000e0041\u2028b\x1b[2J\x9b\u061c"
    needed = "क्\u200dष न\u200cम 👩\u200d🚀 e\u0301 \u0600 :rocket:"
    listing = table("NAME", "NEXT")
    listing.add_row(escape(hostile), "1")
    listing.add_row(escape(needed), "2")
    out.print(listing)
    out.print(f"[bold]{escape(hostile)}[/] {escape(needed)}")
    report("x", hostile)
    printed = capsys.readouterr()
    header, first, second, line = printed.out.splitlines()
    assert first.rstrip() == f"{shown}  1"
    assert header.rstrip().endswith(" NEXT")
    assert len(header.rstrip()) == len(shown) + 6  # the columns stand below each other
    assert second.startswith(needed)
    assert line == f"{shown} {needed}"
    assert printed.err == f"error x: {shown}\n"


def test_what_would_not_be_seen_is_whole_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get what is recorded."""
    print_json("a\u202eb\u200b")
    assert json.loads(capsys.readouterr().out) == "a\u202eb\u200b"


def test_a_missing_key_is_told_with_where_commands_look_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The server's own remedy is a header, which nobody types."""
    with pytest.raises(typer.Exit):
        raising(ClientError("x", code="unauthenticated", status=401))()
    printed = capsys.readouterr().err
    assert "PENSTOCK_API_KEY" in printed
    assert "admin.key" in printed


def test_a_failure_of_the_server_names_the_request(capsys: pytest.CaptureFixture[str]) -> None:
    """So that whoever has its log can find the line."""
    with pytest.raises(typer.Exit):
        raising(ClientError("x", code="internal_error", status=500, request_id="01k2"))()
    assert "request_id 01k2" in capsys.readouterr().err


def test_what_nobody_expected_is_not_hidden() -> None:
    """A defect shows where it happened."""
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.04, "0.0 s"), (59.94, "59.9 s"), (125, "2 min 05 s"), (3720, "1 h 02 min")],
)
def test_durations_are_readable(seconds: float | None, text: str) -> None:
    """Short ones with a decimal, long ones without seconds."""
    assert duration(seconds) == text


def test_sizes_and_rates_are_readable() -> None:
    """Decimal units, as disks and networks have them."""
    assert [size(n) for n in (None, 999, 1500, 2_500_000, 3e12)] == [
        "-",
        "999 B",
        "1.5 kB",
        "2.5 MB",
        "3.0 TB",
    ]
    assert [bitrate(n) for n in (None, 128_000, 2_500_000)] == ["-", "128 kbit/s", "2.50 Mbit/s"]
