import pytest

from penstock.client.events import ServerEvent, parse


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ("data: a\n\n", [ServerEvent("message", "a")]),
        ("event: state\nid: 7\ndata: {}\n\n", [ServerEvent("state", "{}", "7")]),
        ("data: a\ndata:b\n\n", [ServerEvent("message", "a\nb")]),
        (": keep-alive\n\ndata: a\n\n", [ServerEvent("message", "a")]),
        (
            "id: 7\ndata: a\n\ndata: b\n\n",
            [ServerEvent("message", "a", "7"), ServerEvent("message", "b", "7")],
        ),
        ("event: x\n\ndata: a\n\n", [ServerEvent("message", "a")]),
        ("data: unfinished\n", []),
        ("retry: 100\nfoo: bar\ndata: a: b\n\n", [ServerEvent("message", "a: b")]),
    ],
)
def test_events_are_read_as_the_standard_says(text: str, events: list[ServerEvent]) -> None:
    """Names, ids that last, several lines of data, comments, and an end in the middle of an event."""
    assert list(parse(text.split("\n")[:-1])) == events
