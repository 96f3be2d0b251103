"""The promises that Python code has made on a cache: each one that is tried on the same rows spends its confidence."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Hashable
from weakref import WeakKeyDictionary

from trustcache.deploy.goals import Calibration, Goal
from trustcache.deploy.labelled import Labelled

_WARNED = "warned"
_made: WeakKeyDictionary[object, dict[Hashable, tuple[str | None, int]]] = WeakKeyDictionary()
"""By cache object, each promise with the half and the seed of its rows; and `_WARNED`, once that is done."""


def warn_of_others(samples: Labelled, goal: Goal, calibration: Calibration) -> None:
    """Warn the caller of a public function under `in_python` of a second promise on rows of one cache object, once.

    It is one of another score or target, made in this process.

    >>> from trustcache.cache import CacheView
    >>> from trustcache.deploy.labelled import whole_cache
    >>> cache = CacheView.from_arrays([[2.0, 0.5], [0.1, 0.3]], [0, 0])
    >>> warn_of_others(whole_cache(cache, cache.logits[:, 0]), Goal("max-risk", 0.02, 0.001), Calibration())
    """
    if goal.delta is None:
        return
    rows = calibration.part, calibration.seed or 0
    promise = goal, calibration.by, tuple(calibration.worst_of), hashlib.sha256(samples.z.tobytes()).digest()
    before = _made.setdefault(samples.cache, {})
    others = [of for made, of in before.items() if made not in (promise, _WARNED) and not apart(of, rows)]
    if others and _WARNED not in before:
        before[_WARNED] = rows
        warnings.warn(
            f"calibrate: another score or target was promised on these rows of {samples.data} before, and a promise's "
            "confidence is spent once for each that is tried there; calibrate on other rows, or divide delta by their "
            "number",
            stacklevel=4,
        )
    before.setdefault(promise, rows)


def apart(one: tuple[str | None, int], other: tuple[str | None, int]) -> bool:
    """Return True if two choices of rows, each a half or None and its seed, are the two halves of one seed.

    >>> apart(("first-half", 0), ("second-half", 0)), apart((None, 0), ("first-half", 0))
    (True, False)
    """
    return None not in (one[0], other[0]) and one[0] != other[0] and one[1] == other[1]
