"""A classifier no better than chance: its images are prepared otherwise than in training, or its classes mixed up."""

from __future__ import annotations

import math

from trustcache.cache.view import CacheView
from trustcache.cache.workspace import Workspace

# Of fewer images a good classifier may err on most.
_FEWEST = 20


def is_chance(right: int, images: int, classes: int) -> bool:
    """Return True if so many right answers lie at most two standard deviations above those of guesses.

    Fewer than 20 images prove nothing.

    >>> is_chance(103, 1000, 10), is_chance(239, 1000, 10), is_chance(2, 4, 10)
    (True, False, False)
    """
    expected = images / classes
    return images >= _FEWEST and right <= expected + 2 * math.sqrt(expected * (1 - 1 / classes))


def chance_warning(cache: CacheView, workspace: Workspace) -> str:
    """Return a warning that names the remedy where a classifier is no better than chance, "" where it is.

    Changed images, and the hard ones of a few of its classes, may bring a good classifier as low.
    """
    index, classes = cache.index, len(cache.index.made_from.classes)
    if index.manifest.condition or index.manifest.subset or not is_chance(cache.correct.sum(), len(cache), classes):
        return ""
    return (
        f"warning: {index.classifier} is no better on {index.data} than guesses among {classes} classes; say by "
        "--preprocess how it saw images in training, or by --classes in which order it knows the classes, and extract "
        f"again after {workspace.removal_line([index])}"
    )
