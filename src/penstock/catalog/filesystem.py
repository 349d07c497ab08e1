"""Which file systems SQLite must not live on."""

import ctypes
import sys
from pathlib import Path

from penstock.video.errors import ConfigurationError

# statfs(2) f_type of file systems shared between machines: their locks and shared memory do not do what SQLite's
# write-ahead log needs (https://www.sqlite.org/wal.html, "all processes must be on the same host").
_NETWORK = {
    0x00006969: "NFS",
    0x0000517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB",
    0x0000564C: "NCP",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
    0x73757245: "Coda",
    0x01021997: "9P",  # also a Windows drive seen from WSL2
    0x00C36400: "Ceph",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x01161970: "GFS2",
    0x7461636F: "OCFS2",
    0x19830326: "BeeGFS",
}


def kind(path: Path) -> int | None:
    """The ``f_type`` of the file system that ``path`` is on; None where the system has no such notion (not Linux)."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(
        256
    )  # struct statfs is 120 bytes on 64-bit Linux; f_type is its first word
    if libc.statfs(str(path).encode(), buffer) != 0:
        return None
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF


def refuse_network(path: Path) -> None:
    """Raises :class:`ConfigurationError` if ``path`` is on a network file system. FUSE is let through: it may be local."""
    name = _NETWORK.get(kind(path) or 0)
    if name:
        raise ConfigurationError(
            f"The SQLite database would be on a network file system ({name}), where it cannot lock safely. "
            "Put the data folder on a local disk, or use PostgreSQL.",
            code="catalog_on_network_file_system",
        )
