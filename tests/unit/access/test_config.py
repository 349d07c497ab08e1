from pathlib import Path

import pytest

from penstock.access.config import AccessConfig


@pytest.mark.parametrize(
    ("duration", "life"),
    [
        (0, 3600),
        (60, 3720),
        (3600, 3 * 3600),
        (10 * 3600, 21 * 3600),
        (11.5 * 3600, 24 * 3600),
        (10**6, 24 * 3600),
    ],
)
def test_a_token_outlives_a_viewing_with_pauses_and_no_day(duration: float, life: float) -> None:
    """Twice the video and an hour, never more than 24 hours."""
    assert AccessConfig(keyring_path=Path("k")).playback_token_life(duration) == life
