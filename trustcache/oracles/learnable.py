"""What a classifier's right and wrong answers leave to learn from: nothing, little, or enough."""

from __future__ import annotations

import numpy as np

from trustcache.errors import UsageError

_LEAST_ERRORS = 30


def few_errors(data: str, correct: np.ndarray) -> str:
    """Say that an oracle has hardly any errors of the classifier to learn from, "" where it has. correct: bool (N,).

    >>> few_errors("birds", np.arange(1000) > 19)[:59]
    'the classifier is wrong on 20 of the 1,000 samples of birds'
    """
    if not 0 < (wrong := int(np.count_nonzero(~correct))) < _LEAST_ERRORS:
        return ""
    return (
        f"the classifier is wrong on {wrong} of the {len(correct):,} samples of {data}, and an oracle learns from "
        f"errors; with fewer than some {_LEAST_ERRORS} the classifier's own confidence, mcp, may well rank better: "
        "compare them, or learn from images that the classifier has not learnt from"
    )


def require_both_outcomes(data: str, classifier: str, correct: np.ndarray) -> None:
    """Raise UsageError where a classifier is always or never right on what an oracle is to learn from, bool (N,).

    >>> require_both_outcomes("birds", "net", np.array([True, False]))
    """
    wrong = len(correct) - int(correct.sum())
    if not 0 < wrong < len(correct):
        raise UsageError(
            f"{data}: {classifier} is {'never' if wrong else 'always'} right on its {len(correct)} samples, so there "
            "is nothing to tell apart; train on data where it is sometimes wrong"
        )
