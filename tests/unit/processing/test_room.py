from pathlib import Path

import pytest
from structlog.testing import capture_logs

from penstock.processing.room import Room
from penstock.processing.scratch import Scratch
from penstock.storage.local import LocalStore
from penstock.video.errors import StorageFull


class Tight(LocalStore):
    """A store whose disk is as full as the test says."""

    free = 0

    def free_bytes(self) -> int:
        """See the port."""
        return self.free


def test_the_queue_pauses_below_the_reserve_and_goes_on_by_itself(tmp_path: Path) -> None:
    """Each change is said once, with the figures."""
    outputs = Tight(tmp_path / "outputs")
    room = Room(Scratch(tmp_path / "scratch", 0), outputs, reserve=1000)
    with capture_logs() as logs:
        outputs.free = 2000
        assert room.is_there()
        outputs.free = 999
        assert not room.is_there()
        assert not room.is_there()
        with pytest.raises(StorageFull):
            room.check()
        outputs.free = 1000
        assert room.is_there()
        room.check()
    assert [(line["event"], line["free"]) for line in logs] == [
        ("queue_paused", 999),
        ("queue_resumed", 1000),
    ]
