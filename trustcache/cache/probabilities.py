"""Logits or probabilities: what a classifier's outputs look like, and the logits of either."""

from __future__ import annotations

import numpy as np

from trustcache.errors import UsageError

KINDS = ("logits", "probabilities")
"""Kinds of a classifier's outputs; probabilities are stored as their logarithms."""
SUM_APART = 5e-3
"""Rows of softmax outputs in float16 sum to one no better than this."""


def are_probabilities(outputs: np.ndarray) -> bool:
    """Return True if outputs (N, K) look like probabilities: none is negative, and each row sums to one.

    >>> are_probabilities(np.array([[0.2, 0.8], [1, 0]])), are_probabilities(np.array([[0.2, 0.8], [3, 0]]))
    (True, False)
    """
    apart = np.abs(outputs.sum(axis=1, dtype=np.float64) - 1)
    return bool((apart <= SUM_APART).all() and outputs.min(initial=0) >= 0)


def as_logits(given: np.ndarray, kind: str, where: str) -> np.ndarray:
    """Return logits (N, K) in the dtype that outputs of a kind are given in.

    kind: one of `KINDS`. where: the file or argument that an error names. Raises UsageError for another kind, and where
    the outputs look like none of theirs.

    >>> as_logits(np.array([[0.5, 0.5]]), "probabilities", "logits").round(2)
    array([[-0.69, -0.69]])
    """
    if kind not in KINDS:
        raise UsageError(f"outputs {kind}: unknown; one of {', '.join(KINDS)}")
    probabilities = are_probabilities(given)
    if kind == "logits" and probabilities:
        raise UsageError(
            f"{where}: its rows sum to one, so these are probabilities and no logits; add --outputs probabilities "
            "(in Python, outputs='probabilities')"
        )
    if kind == "logits":
        return given
    if not probabilities:
        sums = given.sum(axis=1, dtype=np.float64)
        row = int((np.abs(sums - 1) > SUM_APART).argmax()) if given.min() >= 0 else int(given.min(axis=1).argmin())
        raise UsageError(
            f"{where}: row {row} (the first is 0) sums to {sums[row]:.4g} with a least of {given[row].min():.4g}, so "
            "these are no probabilities; leave out --outputs"
        )
    # A probability of zero has no logarithm; the least that the dtype tells from it stands in.
    return np.log(np.maximum(given, np.finfo(given.dtype).tiny), dtype=given.dtype)
