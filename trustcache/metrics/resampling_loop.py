"""The loops over N x R counts that sum what metrics need of every resample, compiled."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

# Ranks whose terms are summed in the narrower dtype first; float32 then loses less by it than in the quotients.
_RANKS = 16


@numba.njit(cache=True, nogil=True)
def totals(rows: Any, wrong: Any) -> Any:  # pragma: no cover
    """Return the sums of counts (N, R), of all samples and of those that are wrong (N,), int32 (2, R)."""
    count = rows.shape[1]
    sums, of_wrong = np.zeros((2, count), np.int32)
    for i in range(len(rows)):
        row = rows[i]
        for r in range(count):
            sums[r] += row[r]
        if wrong[i]:
            for r in range(count):
                of_wrong[r] += row[r]
    return np.stack((sums, of_wrong))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sum_down(
    rows: Any, order: Any, wrong: Any, last: Any, cuts: Any, n: Any, n_wrong: Any, enough: Any, one: Any
) -> Any:  # pragma: no cover
    """Return float64 (8, R): the fields of `Resamples` from `risk` on, but twice_won with its pairs of two wrong ones.

    rows: counts (N, R) uint8, a sample a row. order: the samples (N,), most trusted first; wrong, last (N,) bool, in
    that order: whether the classifier is wrong, and whether the sample is the last of its tie group. cuts: how many
    samples lie above each of the two cutoffs. n, n_wrong: of each resample (R,); enough: how many right samples are a
    TPR of 95 %. one: [1], whose dtype all are computed in. The inner loops run over resamples, and are vectorised.
    """
    number = one.dtype.type
    count = rows.shape[1]
    sums = np.zeros((8, count))
    size, bad, above, wrong_above, before, risks, risks_before = np.zeros((7, count), one.dtype)
    simple = True  # the group has no wrong samples and nothing of it was taken in before
    for i in range(len(order)):
        row = rows[order[i]]
        if simple and last[i] and not wrong[i]:
            for r in range(count):
                drawn = number(row[r])
                accepted = above[r] + drawn
                risk = wrong_above[r] / max(accepted, number(1))
                risks[r] += drawn * risk
                risks_before[r] += drawn * before[r]
                before[r] = risk
                above[r] = accepted
        else:
            simple = False
            for r in range(count):
                size[r] += number(row[r])
                bad[r] += number(row[r]) if wrong[i] else number(0)
            if last[i]:
                simple = True
                for r in range(count):
                    own = np.float64(bad[r])
                    accepted = above[r] + size[r]
                    risk = (wrong_above[r] + bad[r]) / max(accepted, number(1))
                    risks[r] += size[r] * risk
                    first = number(0) if above[r] else number(1)
                    risks_before[r] += size[r] * before[r] + bad[r] * first
                    below = (n_wrong[r] - wrong_above[r]) / max(n[r] - above[r], 1.0)
                    sums[1, r] += own * risk
                    sums[3, r] += own * (above[r] + accepted)
                    sums[4, r] += own * below
                    short = 1.0 if above[r] - wrong_above[r] < enough[r] else 0.0
                    sums[5, r] += own * short
                    before[r] = risk
                    above[r] = accepted
                    wrong_above[r] += bad[r]
                    size[r] = bad[r] = 0
        if i % _RANKS == 0:
            sums[0] += risks
            sums[2] += risks_before
            risks[:] = risks_before[:] = 0
        if i + 1 == cuts[0]:
            sums[6] = above - wrong_above
        if i + 1 == cuts[1]:
            sums[7] = wrong_above
    sums[0] += risks
    sums[2] += risks_before
    return sums
