"""Evidence that a classifier has learnt from the images of a training cache: it is right there far more often."""

from __future__ import annotations

import math
from collections.abc import Iterable

from trustcache.cache.index import Index, judged_fingerprint
from trustcache.cache.view import open_cache
from trustcache.errors import percent

# Chance reaches three standard errors once in 700 times; three points are what other images of a kind may differ by.
_ERRORS = 3
_POINTS = 0.03


def is_surer(right: int, n: int, new_right: int, new: int) -> bool:
    """Return True if the accuracy on n images exceeds that on `new` others beyond chance, and by 3 points.

    >>> is_surer(756, 1000, 646, 1000), is_surer(38, 50, 32, 50), is_surer(99_000, 100_000, 97_000, 100_000)
    (True, False, False)
    """
    first, second = right / n, new_right / new
    error = math.sqrt(first * (1 - first) / n + second * (1 - second) / new)
    return first - second > max(_ERRORS * error, _POINTS)


def trained_on(training: Index, caches: Iterable[Index]) -> str:
    """Return a sentence where a classifier has probably learnt from the images of its training cache, else "".

    It must be right there more often than on each clean evaluation cache of the same classes in `caches`. Raises
    TrustcacheError for a damaged cache.

    >>> trained_on(demo_workspace.find_cache("test"), demo_workspace.caches())
    ''
    """
    if not _whole(training, "train"):
        return ""
    judged, classes = judged_fingerprint(training), training.made_from.classes
    others = [
        (float(correct.mean()), int(correct.sum()), len(correct), index.data)
        for index in caches
        if _whole(index, "test") and index.made_from.classes == classes and judged_fingerprint(index) == judged
        for correct in [open_cache(index.folder).correct]
    ]
    if not others:
        return ""
    correct, (accuracy, right, n, data) = open_cache(training.folder).correct, max(others)
    if not is_surer(int(correct.sum()), len(correct), right, n):
        return ""
    return (
        f"{training.classifier} is right on {percent(correct.mean(), 1)} of {training.data} and on "
        f"{percent(accuracy, 1)} of {data}: it has probably learnt from the former, so oracles and choices made there "
        "may not hold on new images; see docs/which-oracle.md"
    )


def _whole(index: Index, role: str) -> bool:
    """Return True for a finished cache of a role, of unchanged images of all its classes."""
    one = index.manifest
    return index.role == role and not (one.variant_of or one.condition or one.subset) and index.finished()
