import fcntl
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.catalog import claims, workers
from penstock.catalog.words import TaskState
from penstock.processing.config import ProcessingConfig
from penstock.processing.lease import Lease, SlotLock
from penstock.processing.runs import StopReason
from penstock.video.errors import ConfigurationError
from tests.simulation.scripted import ScriptedMedia
from tests.simulation.workshop import Room, Workshop, await_that, silence


def test_the_lowest_free_slot_is_taken(tmp_path: Path) -> None:
    """Two processes of one machine have two slots; one that ends leaves its own to the next."""
    first, second = SlotLock(tmp_path), SlotLock(tmp_path)
    assert (first.slot, second.slot) == (0, 1)
    first.release()
    third = SlotLock(tmp_path)
    assert third.slot == 0
    for lock in (second, third):
        lock.release()


def test_a_killed_process_leaves_its_slot(tmp_path: Path) -> None:
    """The kernel lets go of the lock, and the next start is the same slot's next boot."""
    code = f"""
import sys
from pathlib import Path
from penstock.processing.lease import SlotLock
lock = SlotLock(Path({str(tmp_path)!r}))
print(lock.slot, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        held = SlotLock(tmp_path)
        assert held.slot == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    free = SlotLock(tmp_path)
    assert free.slot == 0
    for lock in (held, free):
        lock.release()


def test_more_processes_than_slots_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that can never end well says so."""
    monkeypatch.setattr("penstock.processing.lease._MOST_SLOTS", 1)
    lock = SlotLock(tmp_path)
    with pytest.raises(ConfigurationError):
        SlotLock(tmp_path)
    lock.release()


def test_a_tool_does_not_inherit_the_slot(tmp_path: Path) -> None:
    """A media process that outlives its worker for a moment must not keep the successor waiting for the lease."""
    lock = SlotLock(tmp_path)
    held = [fd for fd in range(256) if _is(fd, tmp_path / "worker-0.lock")]
    assert held
    assert all(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in held)
    lock.release()


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def test_a_heartbeat_prolongs_the_lease(workshop: Workshop, room: Room) -> None:
    """A worker that was silent for too long is alive again by the database's clock."""
    silence(workshop.catalog, room.lease.worker_id)
    with workshop.catalog.read() as tx:
        assert not workers.live(tx)
    room.lease.beat()
    with workshop.catalog.read() as tx:
        assert [worker.id for worker in workers.live(tx)] == [room.lease.worker_id]
    assert room.lease.age < 60


@pytest.mark.parametrize("how", ["beat", "check"])
def test_a_run_whose_claim_is_gone_is_called_off(
    workshop: Workshop, room: Room, clip: bytes, how: str
) -> None:
    """A deleted video's run ends at the next heartbeat, or at once when somebody rings."""
    video_id = workshop.upload(clip)
    run = room.claim(workshop.tasks(video_id)[0])
    assert run is not None
    getattr(room.lease, how)()
    assert not run.cancel.is_set()
    workshop.delete(video_id)
    getattr(room.lease, how)()
    assert run.stopped is StopReason.CLAIM_GONE


def test_a_taken_over_run_is_called_off(
    workshop: Workshop, room: Room, media: ScriptedMedia, clip: bytes
) -> None:
    """Another worker's newer attempt makes the old one a zombie."""
    video_id = workshop.upload(clip)
    run = room.claim(workshop.tasks(video_id)[0])
    assert run is not None
    silence(workshop.catalog, room.lease.worker_id)
    other = workshop.room(media, slot=1)
    assert other.claim(run.task) is not None
    room.lease.beat()
    assert run.stopped is StopReason.CLAIM_GONE


def test_a_worker_that_was_forgotten_begins_anew(workshop: Workshop, room: Room, clip: bytes) -> None:
    """A machine that slept for a day finds its row gone: it drops what it did and registers again."""
    video_id = workshop.upload(clip)
    run = room.claim(workshop.tasks(video_id)[0])
    assert run is not None
    before = room.lease.worker_id
    with workshop.catalog.write() as tx:
        workers.leave(tx, before)
    room.lease.beat()
    assert run.stopped is StopReason.CLAIM_GONE
    assert room.lease.worker_id != before
    with workshop.catalog.read() as tx:
        assert [worker.id for worker in workers.live(tx)] == [room.lease.worker_id]


def test_a_claim_that_nobody_works_on_is_given_back(
    workshop: Workshop, media: ScriptedMedia, clip: bytes
) -> None:
    """A claim was committed, but the connection broke before the process was told: it is no loss and no failure."""
    workshop.config = replace(workshop.config, lease=0.001)
    room = workshop.room(media)
    video_id = workshop.upload(clip)
    with workshop.catalog.write() as tx:
        workers.renew(tx, room.lease.worker_id)
        claims.claim(tx, workshop.tasks(video_id)[0].id, room.lease.worker_id)

    def is_released() -> bool:
        room.lease.beat()
        return workshop.tasks(video_id)[0].state is TaskState.QUEUED

    await_that(is_released, what="the release of the orphan")
    (task,) = workshop.tasks(video_id)
    assert (task.failures, task.losses) == (0, 0)


def test_leaving_ends_the_worker(workshop: Workshop, config: ProcessingConfig, room: Room) -> None:
    """After an orderly end nobody waits for the lease to run out."""
    lease = Lease(workshop.catalog, config, room.runs, slot=5, fingerprint="f", version="1")
    lease.start()
    lease.end()
    with workshop.catalog.read() as tx:
        assert workers.find(tx, lease.worker_id) is None
