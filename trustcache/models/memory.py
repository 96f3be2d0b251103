"""Memory between two batches: kept by the process instead of returned to the system and requested again."""

from __future__ import annotations

import ctypes
import sys

# Parameter numbers of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Larger arrays are still returned at once.
KEPT_BELOW = 1 << 30


def keep_freed_memory() -> None:
    """Have glibc keep freed arrays below `KEPT_BELOW` bytes for the next ones; other C libraries are left alone.

    By default each batch's activations, of hundreds of MB, come as fresh pages that the kernel first fills with
    zeros, and go back afterwards: half of the processor time of a small network's forward pass.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt") and libc.mallopt(_MMAP_THRESHOLD, KEPT_BELOW):
            libc.mallopt(_TRIM_THRESHOLD, 2 * KEPT_BELOW - 1)
