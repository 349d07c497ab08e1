"""What a node keeps on disk: who it is, how often it started, and whom it knew.

    identity.json   node id and epoch: rewritten at each start, synced before the first packet
    members         everything known of the others, the dead included: that is what a total outage is survived with
    lock            held while the process runs: one process per identity

Knows files, not the protocol.
"""

import fcntl
import os
import threading
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from penstock.membership.errors import StateUnreadable
from penstock.membership.files import write_durably
from penstock.membership.members import Address, Contact, Metadata, NodeId, Record
from penstock.membership.messages import Row
from penstock.membership.precedence import Order, State

log = structlog.get_logger()


class _Identity(msgspec.Struct, frozen=True):
    node: str
    epoch: int


class _Snapshot(msgspec.Struct, frozen=True):
    saved_at: float  # seconds since 1970: ages go on while the node is down
    rows: list[Row]


class NodeState:
    """The folder of one node."""

    def __init__(self, folder: Path) -> None:
        """Takes the lock. Raises :class:`StateUnreadable` where another process holds it."""
        folder.mkdir(parents=True, exist_ok=True)
        self._identity_path = folder / "identity.json"
        self._members_path = folder / "members"
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise StateUnreadable(
                f"Another process runs as this node: it holds the lock of {folder.name}. Stop it, or give this one "
                "a folder of its own."
            ) from None
        self.node: NodeId = b""
        self.epoch = 0
        self._saving = threading.Lock()

    def begin(self) -> None:
        """Reads the identity, or makes one; raises the epoch, and returns when that is on disk.

        The epoch is at least the seconds since 1970, so that it rises even where an older disk was restored.
        """
        identity = self._read_identity()
        self.node = uuid.UUID(identity.node).bytes
        self.keep_epoch(max(identity.epoch + 1, int(time.time())))

    def keep_epoch(self, epoch: int) -> None:
        """Returns when it is on disk."""
        content = msgspec.json.encode(_Identity(self.node.hex(), epoch))
        write_durably(self._identity_path, content)
        self.epoch = epoch

    def save(self, records: Iterable[Record], now: float) -> None:
        """Replaces the snapshot. ``now``: on the clock of the records."""
        with (
            self._saving
        ):  # the last of a run must not be overtaken by one still being written in another thread
            rows = [Row.of(record, now) for record in records if record.node != self.node]
            write_durably(self._members_path, msgspec.msgpack.encode(_Snapshot(time.time(), rows)))

    def known(self, now: float) -> list[Record]:
        """What the last run knew; nothing where the file is damaged, since others can tell it again."""
        try:
            snapshot = msgspec.msgpack.decode(self._members_path.read_bytes(), type=_Snapshot)
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("snapshot_unreadable", detail=str(error))
            return []
        down = max(0.0, time.time() - snapshot.saved_at)
        return [_record(row, now - row.age - down) for row in snapshot.rows if row.node != self.node]

    def close(self) -> None:
        """Gives the lock back."""
        os.close(self._lock)

    def _read_identity(self) -> _Identity:
        try:
            content = self._identity_path.read_bytes()
        except FileNotFoundError:
            return _Identity(uuid.uuid4().hex, 0)
        try:
            identity = msgspec.json.decode(content, type=_Identity)
            uuid.UUID(identity.node)
        except (msgspec.MsgspecError, ValueError) as error:
            raise StateUnreadable(
                "identity.json is damaged. Restore it, or remove it: the node then joins as a new one, and the others "
                "forget the old one after a day."
            ) from error
        return identity


def _record(row: Row, since: float) -> Record:
    return Record(
        row.node,
        Order(row.epoch, row.incarnation),
        # Who was suspected then may be well now: it gets a new chance instead of an old deadline.
        State.ALIVE if row.state is State.SUSPECT else row.state,
        Contact(Order(row.contact_epoch, row.contact_incarnation), row.name, Address(row.host, row.port)),
        Metadata(Order(row.metadata_epoch, row.metadata_incarnation), row.data),
        since,
    )
