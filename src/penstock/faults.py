"""Named points between two things that last, at which a test may end or hold the process that comes by.

It knows names and nothing of what happens at them. Unarmed, a point is one comparison. Armed it can be by a test run alone:
``arm`` refuses unless pytest says in the environment that a test is running, which its child processes inherit and a
service never has.
"""

import os
import signal
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

_TEST_RUN = "PYTEST_CURRENT_TEST"  # set by pytest while a test runs


class Point(StrEnum):
    """Every point there is, in the order in which a video comes by. The value is what a test writes down."""

    # An upload: bytes, object, record, ring, answer.
    UPLOAD_STAGED = "upload.staged"  # a place for the bytes is there, its record is not
    UPLOAD_OPENED = "upload.opened"  # the session is recorded, its client has no answer
    UPLOAD_WRITTEN = "upload.written"  # the last byte is written, nothing is synced
    UPLOAD_SYNCED = "upload.synced"  # a part is durable, its record is not
    UPLOAD_PART_RECORDED = "upload.part_recorded"
    UPLOAD_ADOPTED = "upload.adopted"  # the source is an object, its record is not
    UPLOAD_COMPLETING = "upload.completing"  # within the transaction
    UPLOAD_ACKNOWLEDGED = "upload.acknowledged"  # recorded; nobody rang
    UPLOAD_RUNG = "upload.rung"  # the staged folder is still there
    UPLOAD_TIDIED = "upload.tidied"  # all is done but the answer
    # A store and the records, whoever uses them.
    OBJECT_SYNCED = "object.synced"  # durable under a temporary name
    OBJECT_NAMED = "object.named"  # has its key; the folder that says so is not synced
    OBJECT_STORED = "object.stored"
    RECORD_WRITTEN = "record.written"  # a transaction is about to commit
    RECORD_COMMITTED = "record.committed"
    # A bucket's own steps of an upload.
    BUCKET_BEGUN = "bucket.begun"  # there is a multipart upload that nothing names
    BUCKET_SENT = "bucket.sent"  # a part is there, no mark counts it
    BUCKET_TAILED = "bucket.tailed"  # so is a tail
    BUCKET_DROPPED = "bucket.dropped"  # tails that were overtaken are gone
    BUCKET_JOINING = "bucket.joining"  # all parts were checked and are still parts
    BUCKET_JOINED = "bucket.joined"  # they are the object, and nobody heard the store say so
    # A claim.
    CLAIM_TAKING = "claim.taking"  # within the transaction
    CLAIM_TAKEN = "claim.taken"  # recorded; nothing runs
    # A task at work.
    ENCODE_BEGUN = "encode.begun"
    ENCODE_STORED = "encode.stored"  # a segment is an object; its file is still in scratch
    ENCODE_ENDED = "encode.ended"  # every object is durable, no record names them
    COMMIT_HOLDING = "commit.holding"  # all is written within the transaction
    COMMIT_DONE = "commit.done"  # recorded; publisher and neighbours do not know
    COMMIT_REQUESTED = "commit.requested"  # the publisher knows; nobody rang
    COMMIT_RUNG = "commit.rung"
    SCAN_RECORDED = "scan.recorded"  # chunks are queued, the scan itself is not done
    FAILURE_RECORDED = "failure.recorded"  # of an attempt; nobody was told
    # Publishing.
    PUBLISH_TAKEN = "publish.taken"  # a version has its number, not its object
    PUBLISH_WRITTEN = "publish.written"  # players may have it; the record does not know
    PUBLISH_TOLD = "publish.told"
    FREEZE_CHECKED = "freeze.checked"  # every object was looked at
    FREEZE_TAKEN = "freeze.taken"
    FREEZE_WRITTEN = "freeze.written"  # the frozen timeline is durable, the video is not ready
    ENTOMB_TAKEN = "entomb.taken"
    ENTOMB_WRITTEN = "entomb.written"  # players are told; the record does not know
    # What people ask for.
    RETRY_WRITTEN = "retry.written"  # within the transaction
    RETRY_RECORDED = "retry.recorded"  # nobody rang
    RETRY_RUNG = "retry.rung"
    DELETE_WRITTEN = "delete.written"
    DELETE_RECORDED = "delete.recorded"
    DELETE_RUNG = "delete.rung"
    # What nobody asks for.
    TAKEOVER_WRITTEN = "takeover.written"  # a lost task is queued again, within the transaction
    TAKEOVER_RECORDED = "takeover.recorded"
    COLLECT_LISTED = "collect.listed"  # what goes is known, all of it is there
    COLLECT_REMOVED = "collect.removed"  # it is gone; the list still has it
    COLLECT_STRUCK = "collect.struck"


WITHIN_TRANSACTIONS = frozenset(
    {
        Point.UPLOAD_COMPLETING,
        Point.RECORD_WRITTEN,
        Point.CLAIM_TAKING,
        Point.COMMIT_HOLDING,
        Point.RETRY_WRITTEN,
        Point.DELETE_WRITTEN,
        Point.TAKEOVER_WRITTEN,
    }
)
"""Points that hold locks of the records: a thread that wrote records there would wait for itself."""


class ArmingRefused(RuntimeError):
    """Faults belong to tests. Nothing was armed."""


_action: Callable[[Point], None] | None = None


def reach(point: Point) -> None:
    """Says that this process has come to a point. Whatever an armed action raises goes through the caller."""
    if _action is not None:
        _action(point)


def arm(action: Callable[[Point], None]) -> None:
    """From here on ``action`` is called at every point of this process. Raises :class:`ArmingRefused` outside a test run."""
    global _action  # noqa: PLW0603 - one per process, as what it ends is the process
    _require_test_run()
    _action = action


def _require_test_run() -> None:
    if _TEST_RUN not in os.environ:  # noqa: TID251 - what decides must not be a caller's word
        raise ArmingRefused("Faults can be armed in a test run only; unset PENSTOCK_FAULTS.")


def disarm() -> None:
    """Points are passed by again."""
    global _action  # noqa: PLW0603 - as above
    _action = None


def arm_from(folder: Path) -> None:
    """Arms this process by the files of a folder, which another process writes while this one runs.

    A file named after a point holds one order a line: ``kill PID`` sends SIGKILL, with 0 for this process, which goes last
    wherever it is named, and ``hold`` lets the thread wait for as long as the file is there. The first process that comes by takes the file, which then ends in its
    pid, so an order is carried out once. ``passed`` below the folder has a file for each point that any process has
    passed. Raises as :func:`arm`.
    """
    _require_test_run()
    passed = folder / "passed"
    passed.mkdir(parents=True, exist_ok=True)
    seen: set[Point] = set()

    def act(point: Point) -> None:
        if point not in seen:
            seen.add(point)
            (passed / point).touch()
        order = folder / point
        if (
            not order.exists()
        ):  # asked before it is taken: who watches renames sees those of the product alone
            return
        taken = folder / f"{point}.taken-by-{os.getpid()}"
        try:
            order.rename(taken)
        except FileNotFoundError:
            return
        orders = [line.split() for line in taken.read_text().splitlines()]
        killed = [int(pid) or os.getpid() for word, *pids in orders if word == "kill" for pid in pids]
        for pid in sorted(killed, key=lambda pid: pid == os.getpid()):  # or who is left would end in order
            os.kill(pid, signal.SIGKILL)
        while ["hold"] in orders and taken.exists():
            time.sleep(0.02)

    arm(act)
