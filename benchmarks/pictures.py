"""Photographs to measure with: JPEGs whose decoding takes what that of real ones does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_photographs(folder: Path, count: int, side: int, coarse: int) -> None:
    """Write so many JPEGs of `side` x `side` pixels, of two classes; smooth between `coarse` x `coarse` random ones."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / str(number % 2) / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = Image.fromarray(rng.integers(0, 256, (coarse, coarse, 3), dtype=np.uint8))
        drawn.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)
