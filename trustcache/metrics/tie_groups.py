"""Samples sorted by trust score, once, into tie groups: all that ranking metrics depend on.

Samples that share a score enter together: no number depends on the order of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Outcome = Literal["correct", "wrong"]


@dataclass(frozen=True)
class Ranking:
    """Samples sorted by score, most trusted first, one entry a tie group (a distinct score).

    scores: (G,) float64, strictly decreasing.
    correct, wrong: (G,) int64, how many samples of that outcome score at least `scores[g]`;
        the last entry counts them all.
    """

    scores: Floats
    correct: Counts
    wrong: Counts

    @cached_property
    def accepted(self) -> Counts:
        """(G,) int64: how many samples score at least `scores[g]`."""
        return self.correct + self.wrong

    @cached_property
    def group_correct(self) -> Counts:
        """(G,) int64: how many correct samples score exactly `scores[g]`."""
        return np.diff(self.correct, prepend=0)

    @cached_property
    def group_wrong(self) -> Counts:
        """(G,) int64: how many wrong samples score exactly `scores[g]`."""
        return np.diff(self.wrong, prepend=0)

    @cached_property
    def group_size(self) -> Counts:
        """(G,) int64: how many samples score exactly `scores[g]`."""
        return self.group_correct + self.group_wrong

    @cached_property
    def coverage(self) -> Floats:
        """(G,) float64 in (0, 1]: the share of samples accepted; the last entry is 1."""
        return self.accepted / self.accepted[-1]

    @cached_property
    def risk(self) -> Floats:
        """(G,) float64 in [0, 1]: the share of wrong samples among the accepted ones (selective risk)."""
        return self.wrong / self.accepted

    @cached_property
    def aurc(self) -> float:
        """The area under risk over coverage in trapezoids; at coverage 0, the risk is the first group's."""
        return float(twice_area(self.group_size, self.risk, start=self.risk[0]) / (2 * self.accepted[-1]))

    @property
    def absent(self) -> Outcome | None:
        """Outcome that no sample has, None if both occur."""
        if self.correct[-1] == 0:
            return "correct"
        return "wrong" if self.wrong[-1] == 0 else None


def rank(scores: npt.ArrayLike, correct: npt.ArrayLike) -> Ranking:
    """Sort samples by trust score and count right and wrong ones down the list: the only sort.

    scores: (N,) real numbers, higher = more trustworthy, ±inf allowed; compared as float64.
    correct: (N,) bool or 0/1, whether the classifier was right.
    Raises ValueError when either is not that, when their shapes differ, and when there are no samples.

    >>> ranking = rank([3.0, 1.0, 1.0], [True, False, True])
    >>> ranking.scores.tolist(), ranking.correct.tolist(), ranking.wrong.tolist()
    ([3.0, 1.0], [1, 2], [0, 1])
    """
    z, is_correct = _checked(np.asarray(scores), np.asarray(correct))
    order = np.argsort(z)[::-1]
    z = z[order]
    # Neighbours are compared, not subtracted: inf − inf would be nan.
    last_of_group = np.flatnonzero(np.append(z[1:] != z[:-1], True))
    n_correct = np.cumsum(is_correct[order], dtype=np.int64)[last_of_group]
    return Ranking(scores=z[last_of_group], correct=n_correct, wrong=last_of_group + 1 - n_correct)


def _checked(scores: npt.NDArray[np.generic], correct: npt.NDArray[np.generic]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    if scores.ndim != 1 or scores.shape != correct.shape:
        shapes = f"{scores.shape} and {correct.shape}"
        raise ValueError(f"Scores and correctness must be one-dimensional and of equal length, not of shapes {shapes}.")
    if scores.size == 0:
        raise ValueError("There are no samples to rank.")
    if scores.dtype.kind not in "biuf":
        raise ValueError(f"Scores must be real numbers, not {scores.dtype}.")
    z = scores.astype(np.float64, copy=False)
    if n_nan := np.count_nonzero(np.isnan(z)):
        raise ValueError(f"Scores must not be nan, but {n_nan} of {z.size} are.")
    if not np.all((correct == 0) | (correct == 1)):
        raise ValueError("Correctness must hold only True and False, or 1 and 0.")
    return z, correct.astype(np.bool_, copy=False)


def twice_area(widths: Counts, heights: npt.NDArray[Any], *, start: float) -> float:
    """Return twice the area of trapezoids whose right sides are `heights` and whose first left side is `start`.

    Twice, so that where heights are counts too the sum is one of integers, and exact.

    >>> twice_area(np.array([1, 2]), np.array([3, 4]), start=0)
    17.0
    """
    return float(widths[0] * start + dot(widths[1:], heights[:-1]) + dot(widths, heights))


def dot(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Any:
    """Return a · b without BLAS: its threads wait for cores that other work holds, 40 ms where 0.1 would do.

    >>> int(dot(np.array([1, 2]), np.array([3, 4])))
    11
    """
    return np.sum(a * b)
