"""Class names, and the check that each label that is stored as a number has one."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np

from trustcache.errors import UsageError


def normal_form(name: str) -> str:
    """Return a class name in Unicode's composed form; folders from a Mac are named in the decomposed one."""
    return unicodedata.normalize("NFC", name)


def class_names(classes: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the manifest's class names, else the ten digits."""
    return classes or tuple(str(digit) for digit in range(10))


def checked_labels(labels: np.ndarray, classes: tuple[str, ...], path: Path) -> np.ndarray:
    """Return `labels` (N,). Raises UsageError naming the file where one is not the number of a class."""
    if labels.size and not 0 <= labels.min() <= labels.max() < len(classes):
        raise UsageError(
            f"{path}: has labels from {labels.min()} to {labels.max()} for {len(classes)} classes; "
            "use this data set's file, or name all 'classes' in its manifest"
        )
    return labels
