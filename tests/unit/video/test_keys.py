import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.video import keys
from penstock.video.errors import PermanentError
from penstock.video.identity import new_id

VIDEO, TASK, GENERATION = new_id(), new_id(), new_id()
numbers = st.integers(0, 99_999_999)


def test_keys_are_spelled_as_documented() -> None:
    """The layout of both stores, literally: changing it loses every stored video."""
    prefix = keys.attempt_prefix("v", "t", 3)
    assert keys.source("v", "u") == "v/source.u"
    assert prefix == "v/t.3/"
    assert keys.init_segment(prefix, "720p") == "v/t.3/720p/init.mp4"
    assert keys.media_segment(prefix, "720p", 12) == "v/t.3/720p/00000012.m4s"
    assert keys.artefact(prefix, "poster.jpg") == "v/t.3/poster.jpg"
    assert keys.timeline("v", "g", 7) == "v/timeline/g/00000007.json"
    assert keys.video_prefix("v") == "v/"


def test_everything_of_a_video_is_below_its_prefix() -> None:
    """Deleting a video is deleting one prefix in each store."""
    attempt = keys.attempt_prefix(VIDEO, TASK, 1)
    for key in (
        keys.source(VIDEO, new_id()),
        keys.init_segment(attempt, "240p"),
        keys.media_segment(attempt, "240p", 1),
        keys.artefact(attempt, "poster.jpg"),
        keys.timeline(VIDEO, GENERATION, 1),
    ):
        assert key.startswith(keys.video_prefix(VIDEO))
        assert keys.video_of(key) == VIDEO


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_attempts_never_share_a_key(a: int, b: int) -> None:
    """No attempt's prefix is the beginning of another's, so deleting one spares the other."""
    one, other = keys.attempt_prefix(VIDEO, TASK, a), keys.attempt_prefix(VIDEO, TASK, b)
    assert one.startswith(other) == (a == b)


@given(numbers, numbers)
def test_versions_and_segments_sort_as_numbers(a: int, b: int) -> None:
    """The highest version, and the next segment, are found by listing alone."""
    assert (keys.timeline(VIDEO, GENERATION, a) < keys.timeline(VIDEO, GENERATION, b)) == (a < b)
    prefix = keys.attempt_prefix(VIDEO, TASK, 1)
    assert (keys.media_segment(prefix, "240p", a) < keys.media_segment(prefix, "240p", b)) == (a < b)


@given(numbers)
def test_a_version_is_read_from_its_key(version: int) -> None:
    """Writing a key and reading it are inverse."""
    assert keys.timeline_version(keys.timeline(VIDEO, GENERATION, version)) == version


@given(st.text())
def test_a_foreign_key_is_an_error_of_ours(name: str) -> None:
    """An object that somebody put among the versions is named as such, whatever it is called."""
    key = keys.timeline_prefix(VIDEO, GENERATION) + name
    try:
        version = keys.timeline_version(key)
    except PermanentError:
        return
    assert name.rpartition("/")[2] == f"{version:08}.json"


@pytest.mark.parametrize(
    "name", ["0000001.json", "00000001.jso", "00000001", "²²²²²²²².json", "-0000001.json"]
)
def test_near_misses_are_no_versions(name: str) -> None:
    """Eight plain digits and the suffix, nothing else."""
    with pytest.raises(PermanentError):
        keys.timeline_version(name)


def test_the_attempt_is_read_from_any_of_its_keys() -> None:
    """The collector finds an attempt by one of its objects."""
    prefix = keys.attempt_prefix(VIDEO, TASK, 4)
    assert keys.attempt_prefix_of(keys.media_segment(prefix, "240p", 1)) == prefix
    assert keys.attempt_prefix_of(keys.artefact(prefix, "poster.jpg")) == prefix
