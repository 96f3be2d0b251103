"""Memory between two batches: kept by the process instead of given back to the system and asked for again."""

from __future__ import annotations

import ctypes
import sys

# mallopt's numbers for them, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Arrays larger than this are still given back at once.
KEPT_BELOW = 1 << 30


def keep_freed_memory() -> None:
    """Have glibc keep freed arrays of less than a GiB for the next ones; nothing where the C library is another.

    By default each batch's activations, of hundreds of MB, come as fresh pages that the kernel first fills with
    zeros, and go back afterwards: half of the processor time of a small network's forward pass.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt") and libc.mallopt(_MMAP_THRESHOLD, KEPT_BELOW):
            libc.mallopt(_TRIM_THRESHOLD, 2 * KEPT_BELOW - 1)
