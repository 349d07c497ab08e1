from collections.abc import Iterable, MutableMapping
from typing import Any

import anyio
import pytest
from starlette.types import Message, Receive, Scope, Send

from penstock.upload import lingering
from penstock.upload.lingering import Lingering

Sent = list[MutableMapping[str, Any]]


async def refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers without reading."""
    await send({"type": "http.response.start", "status": 403, "headers": [(b"x", b"y")]})
    await send({"type": "http.response.body", "body": b"no"})


async def read_first(_scope: Scope, receive: Receive, send: Send) -> None:
    """Reads everything, then answers."""
    while (await receive()).get("more_body"):
        pass
    await refuse(_scope, receive, send)


def served(
    app: Any, pieces: Iterable[bytes], *headers: tuple[bytes, bytes], patience: float = 5
) -> tuple[Sent, int]:
    """What was sent for a request with this body, and how many pieces of it were left unread."""
    waiting = list(pieces)
    sent: Sent = []

    async def receive() -> Message:
        if not waiting:
            await anyio.sleep_forever()
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting) or body == b"stalls"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        with anyio.fail_after(patience):
            await Lingering(app)({"type": "http", "headers": list(headers)}, receive, send)

    anyio.run(run)
    return sent, len(waiting)


LENGTH = (b"content-length", b"9")


def test_an_early_answer_goes_out_before_the_rest_is_dropped() -> None:
    """The answer is complete at once, says that the connection ends, and ends only when the body has."""
    sent, left = served(refuse, [b"a", b"b", b"c"], LENGTH)
    assert left == 0
    assert sent[0]["headers"] == [(b"x", b"y"), (b"connection", b"close")]
    assert [(m.get("body"), m.get("more_body")) for m in sent[1:]] == [(b"no", True), (b"", False)]


def test_an_answer_after_the_body_is_left_alone() -> None:
    """Nothing is added where everything was read, or where there is no body."""
    for sent, _ in (
        served(read_first, [b"a", b"b"], LENGTH),
        served(refuse, [b""]),
        served(refuse, [b""], (b"content-length", b"0")),
    ):
        assert sent[0]["headers"] == [(b"x", b"y")]
        assert [m.get("body") for m in sent[1:]] == [b"no"]


def test_a_client_that_waits_is_not_waited_for() -> None:
    """Who asks first whether to send has nothing under way."""
    sent, left = served(refuse, [b"a", b"b"], LENGTH, (b"expect", b"100-continue"))
    assert left == 2
    assert [m.get("body") for m in sent[1:]] == [b"no"]


def test_politeness_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an endless body nor a silent client holds the connection for long."""
    monkeypatch.setattr(lingering, "MOST_BYTES", 3)
    _, left = served(refuse, [b"aa"] * 10, LENGTH)
    assert left == 8
    monkeypatch.setattr(lingering, "MOST_SECONDS", 0.01)
    sent, _ = served(refuse, [b"stalls"], (b"transfer-encoding", b"chunked"))
    assert sent[-1]["more_body"] is False
