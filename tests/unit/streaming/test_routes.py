"""What playback URLs ask for."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.streaming import routes
from penstock.streaming.routes import Target


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/stream/t/v/g/master.m3u8", Target("t", "v", "g", None, "master.m3u8", "manifest")),
        (b"/stream/t/v/g/720p/12.m4s", Target("t", "v", "g", "720p", "12.m4s", "segment", 12)),
        (b"/stream/t/v/g/720p%2Finit.mp4", Target("t", "v", "g", None, "720p/init.mp4", "file")),
        (b"/stream/t/v/g/%2e%2e/init.mp4", Target("t", "v", "g", "..", "init.mp4", "init")),
        (b"/stream/t/v/g", None),
        (b"/stream/t/v/g/a/b/c", None),
        (b"/streams/t/v/g/a", None),
        (b"/stream/t/v/g/\xff", None),
        (b"/stream/" + b"t" * 5000 + b"/v/g/master.m3u8", None),
    ],
)
def test_a_path_is_split_before_it_is_decoded(path: bytes, expected: Target | None) -> None:
    """An encoded slash stays within its part; what has not the form of a playback URL is none."""
    assert routes.parse(path) == expected


@pytest.mark.parametrize(
    ("track", "name", "number"),
    [
        ("720p", "1.m4s", 1),
        ("720p", "123456789.m4s", 123456789),
        (None, "1.m4s", None),
        ("720p", "0.m4s", None),
        ("720p", "01.m4s", None),
        ("720p", "1234567890.m4s", None),
        ("720p", "1.m4s\n", None),
        ("720p", "\u0661.m4s", None),
        ("720p", "-1.m4s", None),
    ],
)
def test_a_segment_has_one_spelling(track: str | None, name: str, number: int | None) -> None:
    """One segment, one URL: so caches hold it once."""
    path = f"/stream/t/v/g/{track}/{name}" if track else f"/stream/t/v/g/{name}"
    target = routes.parse(quote(path).encode())
    assert target is not None
    assert target.number == number


@given(st.binary(max_size=200))
def test_no_path_makes_it_fail(tail: bytes) -> None:
    """Paths are bytes from strangers."""
    routes.parse(b"/stream/" + tail)


def test_every_route_is_described_with_its_parameters_and_refusals() -> None:
    """The contract document names each variable part and every code that a client can meet."""
    paths = routes.openapi_paths()
    assert len(paths) == 7
    for path, item in paths.items():
        operation = item["get"]
        assert {p["name"] for p in operation["parameters"]} == {
            part.split("}")[0] for part in path.split("{")[1:]
        }
        assert {"200", "304", "403", "404", "409", "503"} <= set(operation["responses"])
    assert len({item["get"]["operationId"] for item in paths.values()}) == len(paths)
