import os
import threading
from pathlib import Path

from penstock.processing.dispatch.doorbell import Doorbell, Listener


def test_a_ring_wakes_who_waits(tmp_path: Path) -> None:
    """A listener that waits in another thread returns as soon as somebody rings."""
    listener = Listener(tmp_path, 0)
    heard: list[bool] = []
    waiting = threading.Thread(target=lambda: heard.append(listener.wait(60)))
    waiting.start()
    Doorbell(tmp_path).ring()
    waiting.join(timeout=60)
    assert heard == [True]
    listener.close()


def test_many_rings_are_heard_as_one(tmp_path: Path) -> None:
    """A ring carries nothing, so any number of them asks for one look; even when nobody listens for a long time."""
    listener = Listener(tmp_path, 0)
    for _ in range(70_000):  # more than a pipe holds
        listener.ring()
    assert listener.wait(0)
    assert not listener.wait(0)
    listener.close()


def test_every_listener_hears_every_ring(tmp_path: Path) -> None:
    """Two processing processes of one machine are both told."""
    listeners = [Listener(tmp_path, slot) for slot in range(2)]
    Doorbell(tmp_path).ring()
    assert [listener.wait(10) for listener in listeners] == [True, True]
    for listener in listeners:
        listener.close()


def test_ringing_where_nobody_listens_does_no_harm(tmp_path: Path) -> None:
    """No pipe, a pipe of a dead process, a file of that name: the ring is lost and nothing else happens."""
    Doorbell(tmp_path / "missing").ring()
    Listener(tmp_path, 0).close()
    Doorbell(tmp_path).ring()
    listener = Listener(tmp_path, 0)
    assert not listener.wait(0)
    listener.close()


def test_a_deep_folder_is_no_obstacle(tmp_path: Path) -> None:
    """A data folder may lie deeper than the 107 bytes that a Unix socket's path may have."""
    folder = tmp_path.joinpath(*["a-rather-long-folder-name"] * 8)
    folder.mkdir(parents=True)
    listener = Listener(folder, 0)
    Doorbell(folder).ring()
    assert listener.wait(10)
    assert len(os.fspath(folder)) > 200
    listener.close()
