"""Standard error of how far one score's AURC is from another's on the same samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trustcache.metrics.tie_groups import Floats, rank

GROUPS = 20


def aurc_difference_error(z: Floats, other: Floats, correct: npt.NDArray[np.bool_], groups: int = GROUPS) -> float:
    """Return the standard error of AURC(z) - AURC(other) over draws of the samples.

    Delete-a-group jackknife (Shao and Tu, The Jackknife and Bootstrap, 1995, eq. 2.37): the difference is taken anew
    without each of `groups` random parts of the samples. It takes `groups` sortings, where a bootstrap takes a
    thousand. z, other, correct: (N,), of at least two samples.

    >>> z = np.array([0.9, 0.4, 0.7, 0.2])
    >>> aurc_difference_error(z, 2 * z, np.array([True, False, True, True]))  # the same order
    0.0
    """
    groups = min(groups, len(z))
    group = np.random.default_rng(0).permutation(len(z)) % groups
    kept = (group != one for one in range(groups))
    without = np.array([rank(z[rows], correct[rows]).aurc - rank(other[rows], correct[rows]).aurc for rows in kept])
    return float(np.sqrt((groups - 1) * without.var()))
