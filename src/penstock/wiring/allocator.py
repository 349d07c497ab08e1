"""How this process takes memory from the system and gives it back: one setting of glibc's allocator.

Left alone, glibc learns from the first large buffer that is freed to keep its like for later, up to 32 MiB each and in
every thread's own arena. A service whose uploads come and go in buffers of mebibytes then keeps several times what it uses.
"""

import ctypes

LARGE = 1024 * 1024  # bytes; what is larger is mapped by itself, and gone from the process once it is freed

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD in malloc.h


def return_large_buffers() -> bool:
    """Makes freed buffers above :data:`LARGE` leave the process at once. False where another allocator is at work."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_THRESHOLD, LARGE))
