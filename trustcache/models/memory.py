"""Memory: what is freed is kept for the next batch, instead of going back to the system; and a GPU's may be full."""

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


def memory_is_full(error: BaseException) -> bool:
    """Return True for torch's error of a GPU whose memory is full; that of Apple's is a plain RuntimeError.

    >>> memory_is_full(RuntimeError("MPS backend out of memory (MPS allocated: 8.9 GiB)")), memory_is_full(KeyError())
    (True, False)
    """
    import torch

    plain = isinstance(error, RuntimeError) and str(error).startswith("MPS backend out of memory")
    return plain or isinstance(error, torch.OutOfMemoryError)
