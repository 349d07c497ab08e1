import pytest

from penstock.video import lifecycle
from penstock.video.lifecycle import VideoEvent, VideoState
from scripts import lifecycle_diagrams


def test_the_page_shows_the_tables() -> None:
    """The diagrams in the documentation are those of the code; `python scripts/lifecycle_diagrams.py` renews them."""
    assert lifecycle_diagrams.main(["--check"]) == 0


def test_a_changed_table_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step that is added without renewing the page fails the check, which names the remedy."""
    more = {**lifecycle.VIDEO_TRANSITIONS, (VideoState.DELETED, VideoEvent.RETRIED): VideoState.UPLOADED}
    monkeypatch.setattr(lifecycle, "VIDEO_TRANSITIONS", more)
    assert lifecycle_diagrams.main(["--check"]) == 1
    assert "scripts/lifecycle_diagrams.py" in capsys.readouterr().err


def test_a_page_without_a_place_is_refused() -> None:
    """A diagram cannot be lost by editing its mark away."""
    with pytest.raises(ValueError, match="video"):
        lifecycle_diagrams.drawn("# Lifecycle\n")
