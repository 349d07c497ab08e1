"""Whatever a client does, and whenever it leaves: its answers are its own and in order, and nothing of it remains."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving import serving
from tests.unit.http_server.stage import (
    FILE,
    Client,
    Stage,
    connected,
    descriptors,
    eventually,
    open_descriptors,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and the body that answers it."""

    data: bytes
    body: bytes = field(repr=False)  # ten megabytes of it would hide what a failure says
    method: str = "GET"


def asked(path: str, body: bytes, method: str = "GET") -> Asked:
    """Without a body of its own."""
    return Asked(f"{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode(), body, method)


REQUESTS = (
    *(asked(f"/direct/{number}", b"direct %d" % number) for number in range(3)),
    asked("/direct/part", FILE[1000:3000]),
    asked("/direct/file", FILE),
    asked("/direct/file", b"", "HEAD"),
    asked("/direct/generated", b"abcdef"),
    asked("/direct/later", b"direct later"),
    asked("/pieces", b"one two"),
    asked("/pieces", b"", "HEAD"),
    asked("/empty", b""),
    Asked(b"PUT /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc", b"abc"),
    Asked(b"PUT /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
)  # fmt: skip
STEPS = st.one_of(
    st.sampled_from(REQUESTS),
    st.tuples(st.sampled_from(REQUESTS), st.integers(1, 60)),  # cut there into two
    st.just("read"),
)
# ``halves``: in the middle of a request, which is never answered.
ENDS = st.sampled_from(
    ["reads all", "closes its side", "closes", "resets", "halves and closes", "halves and resets"]
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """For all examples."""
    return Stage(tmp_path_factory.mktemp("stage"))


@pytest.fixture(scope="module")
def base(stage: Stage) -> Iterator[str]:
    """Its address."""
    with serving(stage.site, idle_s=3000) as base:
        yield base


def read(client: Client, pending: list[Asked]) -> None:
    """The next answer, which must be that of the first of them."""
    request = pending.pop(0)
    [answer] = client.read(request.method)
    assert answer.status in (200, 204)
    if answer.body.startswith(b"{"):
        assert json.loads(answer.body)["body"].encode() == request.body
    else:
        assert answer.body == request.body


def act(client: Client, steps: list[object], end: str) -> None:
    """What one client does."""
    pending: list[Asked] = []
    for step in steps:
        if isinstance(step, Asked):
            client.send(step.data)
            pending.append(step)
        elif isinstance(step, tuple):
            request, cut = step
            client.send(request.data[:cut])
            client.send(request.data[cut:])
            pending.append(request)
        elif pending:
            read(client, pending)
    if "halves" in end:
        client.send(b"PUT /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\na")
    if end == "closes its side":
        client.socket.shutdown(socket.SHUT_WR)
    if end in ("reads all", "closes its side"):
        while pending:
            read(client, pending)
    if end == "closes its side":
        assert client.closed() == b""
    if "resets" in end:
        client.reset()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(STEPS, max_size=7), ENDS), min_size=1, max_size=3))
def test_any_sequence(stage: Stage, base: str, clients: list[tuple[list[object], str]]) -> None:
    """Of one client after the other, where the next one's descriptor may be the last one's number."""
    before = open_descriptors()
    for steps, end in clients:
        with connected(base) as client:
            act(client, steps, end)
    eventually(lambda: open_descriptors() <= before, "every connection and file is closed")
    # Of all examples together: a client that was gone before it was let in may be heard while the next one speaks.
    known = stage.unaccounted
    try:
        eventually(
            lambda: stage.unaccounted_now() == known, "each answer of a responder is accounted for, once"
        )
    finally:
        stage.unaccounted = stage.unaccounted_now()  # is this example's, and no later one's
    eventually(lambda: descriptors(stage.file) == 0, "no file is kept open")
