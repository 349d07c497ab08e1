"""Digests of a table: equal tables are recognised by 8 bytes, and a difference is found in one of 256 buckets.

A digest is the exclusive or of one hash per record, kept up to date with each change, so that comparing costs nothing.
"""

import hashlib
import struct

from penstock.membership.members import NodeId, Record

BUCKETS = 256
_LAYOUT = struct.Struct(">16sQQBQQQQ")


def fingerprint(record: Record) -> int:
    """64 bits of everything about the record that two tables should agree upon: not when it was learned."""
    packed = _LAYOUT.pack(
        record.node, *record.order, record.state, *record.contact.order, *record.metadata.order
    )
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest())


def bucket_of(node: NodeId) -> int:
    """Ids are random, so their last byte spreads them evenly."""
    return node[-1]


class TableDigest:
    """Digests of 256 buckets and of the whole."""

    def __init__(self) -> None:
        self.buckets = [0] * BUCKETS
        self.root = 0

    def copy(self) -> "TableDigest":
        """Another one, of an equal table."""
        made = TableDigest()
        made.buckets, made.root = self.buckets.copy(), self.root
        return made

    def replace(self, node: NodeId, before: Record | None, after: Record | None) -> None:
        """Follows one change of the table."""
        delta = (fingerprint(before) if before else 0) ^ (fingerprint(after) if after else 0)
        self.buckets[bucket_of(node)] ^= delta
        self.root ^= delta
