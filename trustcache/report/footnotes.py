"""Sentences below a table on figures that it leaves open or that few samples decide, each where it occurs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence

from trustcache.losses import LOSSES
from trustcache.report.records import Record
from trustcache.report.table import UNDEFINED

FEW = 10
"""Right or wrong samples below which a figure that compares both is little more than chance."""


def footnotes(records: Sequence[Record], keys: Collection[str]) -> Iterator[str]:
    """Yield what a table of records says below itself. keys: the metrics that it shows.

    >>> few = Record("d", "net", "mcp", "equations", 20, {}, {"auc": 1.0, "accuracy": 0.95})
    >>> print(*footnotes([few], ["auc"]))
    Only 1 of 20 answers is wrong: figures that set right against wrong, even perfect ones, may be chance.
    """
    # Of one-class data all figures are undefined, which the last sentence says.
    ranked = [one for one in records if math.isfinite(one.metrics.get("auc", math.nan))]
    if "tnr" in keys and any(_undefined(one, "tnr") for one in ranked):
        yield f"TPR and TNR {UNDEFINED}: the score orders answers and has no threshold of its own; calibrate sets one."
    if "fpr_at_95_tpr" in keys and any(_undefined(one, "fpr_at_95_tpr") for one in ranked):
        yield f"FPR@95 {UNDEFINED}: none of the released code's 10,000 thresholds comes close to a TPR of 95 %."
    if "tnr" in keys:
        yield from two_thresholds(one.method for one in records if one.run)
        yield from _constant_sides([one for one in records if one.run])
    counts = {found for one in records if (found := _counts(one))}
    yield from few_samples(*min(counts, key=min, default=(FEW, FEW)), " of one row" if len(counts) > 1 else "")


def two_thresholds(losses: Iterable[str]) -> Iterator[str]:
    """Yield how those of some losses are counted that regress the true class's probability, nothing without any.

    >>> list(two_thresholds(["ce", "ss"]))
    []
    """
    if names := _of_two_thresholds(losses):
        yield (
            f"{', '.join(names)}: trusted is above one half, not trusted only below chance, 1 / classes, as its paper "
            "has it; what lies between counts in neither TPR nor TNR: as FN where it is right, as FP where it is wrong."
        )


def few_samples(right: int, wrong: int, of: str = "") -> Iterator[str]:
    """Yield the caution that a table of so few right or wrong answers needs, nothing where there are enough.

    of: words that say whose they are.

    >>> list(few_samples(200, 10))
    []
    """
    fewer, kind = min((right, "right"), (wrong, "wrong"))
    if not fewer:
        yield f"None of {right + wrong:,} answers{of} is {kind}: there is nothing to tell apart."
    elif fewer < FEW:
        are = "is" if fewer == 1 else "are"
        yield (
            f"Only {fewer} of {right + wrong:,} answers{of} {are} {kind}: figures that set right against wrong, even "
            "perfect ones, may be chance."
        )


def _constant_sides(trained: Sequence[Record]) -> Iterator[str]:
    """Yield which oracles put all answers on one side of their threshold, as two digits show it."""
    sides: dict[tuple[str, float, float], None] = {}
    for one in trained:
        sides[one.method, round(one.metrics.get("tpr", math.nan), 4), round(one.metrics.get("tnr", math.nan), 4)] = None
    # With TNR 0 one of two thresholds may still trust some answers only.
    every = [name for name, tpr, tnr in sides if (tpr, tnr) == (1, 0) and not _of_two_thresholds([name])]
    none = [name for name, tpr, tnr in sides if (tpr, tnr) == (0, 1)]
    found = [f"{what} by {', '.join(names)}" for what, names in (("every answer", every), ("none", none)) if names]
    if found:
        yield (
            f"Trusted at z = 0: {'; '.join(found)}. There such an oracle is a constant, often after too few steps; "
            "only its order (AUC) tells answers apart, and calibrate sets a threshold."
        )


def _undefined(record: Record, key: str) -> bool:
    return math.isnan(record.metrics.get(key, 0.0))


def _of_two_thresholds(methods: Iterable[str]) -> list[str]:
    """Return those of some losses that regress the true class's probability, as `negative_threshold` tells them."""
    return [name for name in dict.fromkeys(methods) if (loss := LOSSES.get(name)) and loss.target == "true_class_prob"]


def _counts(record: Record) -> tuple[int, int] | None:
    """Return the numbers of right and wrong answers, None where the accuracy is not known."""
    accuracy = record.metrics.get("accuracy", math.nan)
    right = 0 if math.isnan(accuracy) else round(record.n * accuracy)
    return None if math.isnan(accuracy) or not record.n else (right, record.n - right)
