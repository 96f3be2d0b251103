"""scikit-learn's handwritten digits, which it installs with itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trustcache.data.layouts.numbers import class_names
from trustcache.data.samples import ArraySamples


def read_digits(data_root: Path, classes: tuple[str, ...] | None) -> ArraySamples:
    """Read 1,797 grey images of 8 x 8 pixels from the installed package."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Grey values run from 0 to 16.
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    ids = [f"{row:04d}" for row in range(len(pixels))]
    return ArraySamples(pixels, ids, digits.target, class_names(classes))
