"""The number of images a forward pass takes: found on a GPU, kept with a cache, and halved where memory runs out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from trustcache.cache.index import read_index
from trustcache.errors import TrustcacheError
from trustcache.models.memory import memory_is_full

if TYPE_CHECKING:
    import torch

USUAL = 64
_LARGEST = 1024
# A larger batch has to be faster by this factor.
_GAIN = 1.05
# Trying a size takes two batches; it is tried where so many are to come.
_PAYS = 64


def kept_batch_size(folder: Path) -> int | None:
    """Return the batch size that the cache in a folder was made with last, None without a cache that can be read."""
    try:
        return read_index(folder).made_from.batch_size
    except TrustcacheError:
        return None


def found_batch_size(forward: Callable[[int], object], images: int, device: torch.device) -> int:
    """Return the batch size at which a GPU shows so many images to a model fastest, from `USUAL` on by doubling.

    forward: runs the model on a batch of a size. On the CPU, and where memory runs out at once, it is `USUAL`.
    """
    best, fastest = USUAL, 0.0
    size = USUAL
    while device.type != "cpu" and size <= min(_LARGEST, images // _PAYS):
        try:
            rate = size / _seconds(forward, size, device)
        except RuntimeError as error:
            if not memory_is_full(error):
                raise
            break
        if rate < fastest * _GAIN:
            break
        best, fastest = size, rate
        size *= 2
    return best


def _seconds(forward: Callable[[int], object], size: int, device: torch.device) -> float:
    """Time a second pass: the first one makes memory and chooses algorithms."""
    import torch

    forward(size)
    torch.accelerator.synchronize(device)
    began = time.perf_counter()
    forward(size)
    torch.accelerator.synchronize(device)
    return time.perf_counter() - began
