"""Sealing: AES-256-GCM around every packet and every message of a stream. It knows bytes, not what they say.

    version and kind 1 | key hint 1 | sender 16 | boot 5 | counter 5 | ciphertext | tag 16

Each process seals with a key of its own, derived by HKDF (RFC 5869) from the cluster's key, its node id and its boot number,
which is on disk before the first packet and never repeats: so a counter suffices as nonce, and no two processes can share
one. The cluster's name is associated data: another cluster's packets are unreadable even under the same key. A window of
counters per sender refuses what was received before, and the boot number what an earlier process of the sender sealed.
"""

import struct
from collections import OrderedDict
from enum import IntEnum
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from penstock.membership.keyring import Key, KeyRing
from penstock.membership.members import NodeId

VERSION = 1
WINDOW = 1024  # counters; more than a sender has under way at once
SENDERS = 65_536  # processes remembered; the longest unheard goes first
_HEADER = struct.Struct(">BB16s5s5s")
HEADER_BYTES = _HEADER.size
TAG_BYTES = 16


class Kind(IntEnum):
    """What is sealed: each kind has its own key and counter, so that a datagram is never taken for part of a stream."""

    PACKET = 0
    STREAM = 1


class Rejected(Exception):
    """The bytes are not from this cluster, or not for now. Nothing was changed; ``reason`` names a counter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Channel(NamedTuple):
    """Whose packets: one process and one kind, under one key."""

    key: Key
    kind: Kind
    sender: NodeId
    boot: int


class Window:
    """Which counters of one boot have been seen (RFC 4303, section 3.4.3)."""

    __slots__ = ("_seen", "boot", "highest")

    def __init__(self, boot: int) -> None:
        self.boot = boot
        self.highest = -1
        self._seen = 0

    def has(self, counter: int) -> bool:
        """True for a counter that was seen, or is too far back to know."""
        behind = self.highest - counter
        return behind >= WINDOW or (behind >= 0 and bool(self._seen >> behind & 1))

    def add(self, counter: int) -> None:
        """Remembers a counter."""
        ahead = counter - self.highest
        if ahead > 0:
            self._seen = (self._seen << min(ahead, WINDOW) | 1) & ((1 << WINDOW) - 1)
            self.highest = counter
        else:
            self._seen |= 1 << -ahead


class Sealer:
    """Seals for one process, and opens what others of the cluster sealed."""

    def __init__(self, cluster: str, ring: KeyRing, node: NodeId, boot: int) -> None:
        """``boot``: as of no earlier process of this node."""
        self._cluster = cluster.encode()
        self._ring = ring
        self._node = node
        self._boot = boot
        self._counters = [0, 0]
        self._ciphers: OrderedDict[_Channel, AESGCM] = OrderedDict()
        self._windows: OrderedDict[tuple[Kind, NodeId], Window] = OrderedDict()

    def seal(self, kind: Kind, plaintext: bytes) -> bytes:
        """Under the primary key."""
        key = self._ring.primary
        counter = self._counters[kind]
        self._counters[kind] += 1
        header = _HEADER.pack(
            VERSION << 4 | kind,
            key.hint,
            self._node,
            self._boot.to_bytes(5),
            counter.to_bytes(5),
        )
        channel = _Channel(key, kind, self._node, self._boot)
        cipher = self._cipher(channel)
        self._remember(channel, cipher)
        return header + cipher.encrypt(counter.to_bytes(12), plaintext, header + self._cluster)

    def open(self, kind: Kind, sealed: bytes) -> tuple[NodeId, bytes]:
        """Who sealed it, and the plaintext. Raises :class:`Rejected`."""
        if len(sealed) < HEADER_BYTES + TAG_BYTES:
            raise Rejected("short")
        header, body = sealed[:HEADER_BYTES], sealed[HEADER_BYTES:]
        version_kind, hint, sender, boot_bytes, counter_bytes = _HEADER.unpack(header)
        if version_kind != VERSION << 4 | kind:
            raise Rejected("version")
        if sender == self._node:
            raise Rejected("own")
        boot, counter = int.from_bytes(boot_bytes), int.from_bytes(counter_bytes)
        window = self._windows.get((kind, sender))
        if window is not None and (boot < window.boot or (boot == window.boot and window.has(counter))):
            raise Rejected("replayed")
        plaintext = self._decrypt(kind, hint, sender, boot, counter, header, body)
        if window is None or boot > window.boot:
            window = Window(boot)
        window.add(counter)
        self._windows[kind, sender] = window
        self._windows.move_to_end((kind, sender))
        if len(self._windows) > SENDERS:
            self._windows.popitem(last=False)
        return sender, plaintext

    def _decrypt(
        self, kind: Kind, hint: int, sender: NodeId, boot: int, counter: int, header: bytes, body: bytes
    ) -> bytes:
        for key in self._ring.keys:
            if key.hint != hint:
                continue
            channel = _Channel(key, kind, sender, boot)
            cipher = self._cipher(channel)
            try:
                plaintext = cipher.decrypt(counter.to_bytes(12), body, header + self._cluster)
            except InvalidTag:
                continue
            self._remember(channel, cipher)  # only now: strangers must not fill the memory
            return plaintext
        raise Rejected("unreadable")

    def _cipher(self, channel: _Channel) -> AESGCM:
        if known := self._ciphers.get(channel):
            return known
        info = (
            b"penstock membership"
            + bytes([VERSION, channel.kind])
            + channel.sender
            + channel.boot.to_bytes(5)
        )
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(channel.key.secret)
        return AESGCM(derived)

    def _remember(self, channel: _Channel, cipher: AESGCM) -> None:
        self._ciphers[channel] = cipher
        self._ciphers.move_to_end(channel)
        if len(self._ciphers) > SENDERS:
            self._ciphers.popitem(last=False)
