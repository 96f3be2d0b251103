"""Labels that come as numbers: the class names behind them, and whether they fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trustcache.data.manifest import Manifest
from trustcache.errors import UsageError


def class_names(manifest: Manifest) -> tuple[str, ...]:
    """The class names of a layout that has none of its own."""
    return manifest.classes or tuple(str(digit) for digit in range(10))


def checked_labels(labels: np.ndarray, classes: tuple[str, ...], path: Path) -> np.ndarray:
    """`labels` (N,), where each is a class's number. Raises UsageError naming the file otherwise."""
    if labels.size and not 0 <= labels.min() <= labels.max() < len(classes):
        raise UsageError(
            f"{path}: has labels from {labels.min()} to {labels.max()} where there are {len(classes)} classes; "
            "it is another data set's, or its manifest must name all its 'classes'"
        )
    return labels
