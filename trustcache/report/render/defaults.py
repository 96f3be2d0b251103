"""What the page shows before its script runs, without one, and where it is printed: the answer's threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from trustcache.metrics.calibration import wilson
from trustcache.report.charts import (
    IDEAL,
    Chart,
    curve_rows,
    ideal_rows,
    reliability,
    risk_coverage,
    roc,
    score_histogram,
)
from trustcache.report.explorer import BINS, Steps
from trustcache.report.intervals import Estimate
from trustcache.report.render.drawing import inline
from trustcache.report.units import Unit


@dataclass(frozen=True)
class Point:
    """The counts at the answer's threshold. mine: coverage, risk, TPR, TNR; mcp: the same at its coverage, or none."""

    tp: int
    fp: int
    fn: int
    tn: int
    mine: Sequence[Estimate]
    mcp: Sequence[Estimate]

    @property
    def n(self) -> int:
        return self.tp + self.fp + self.fn + self.tn


def _chosen(unit: Unit) -> tuple[Steps, int]:
    """Return the counts of the answer's oracle on its data, and the step of its threshold."""
    one = unit.methods[unit.chosen].explored
    return one.steps[unit.answer.dataset], int(np.argmin(np.abs(one.thresholds - unit.answer.threshold)))


def point(unit: Unit) -> Point:
    steps, k = _chosen(unit)
    n, bad = int(steps.trusted[-1]), int(steps.wrong[-1])

    def shares(trusted: int, wrong: int) -> list[Estimate]:
        pairs = (trusted, n), (wrong, trusted), (trusted - wrong, n - bad), (bad - wrong, bad)
        return [Estimate(a / b if b else math.nan, *map(float, wilson(a, b))) for a, b in pairs]

    trusted, wrong = int(steps.trusted[k]), int(steps.wrong[k])
    mcp: list[Estimate] = []
    if steps.mcp_trusted is not None and steps.mcp_wrong is not None and not unit.methods[unit.chosen].baseline:
        mcp = shares(int(steps.mcp_trusted[k]), int(steps.mcp_wrong[k]))
    right = trusted - wrong
    return Point(right, wrong, n - bad - right, bad - wrong, shares(trusted, wrong), mcp)


def drawings(unit: Unit) -> dict[str, Markup]:
    """Return the charts as they are before the script draws them, and where there is none."""
    steps, k = _chosen(unit)
    picked = [method for method in unit.methods if method.picked and unit.answer.dataset in method.explored.steps]
    risks: list[dict[str, Any]] = []
    rates: list[dict[str, Any]] = []
    for method in picked:
        one = method.explored.steps[unit.answer.dataset]
        c, w, n, bad = one.trusted, one.wrong, one.trusted[-1], one.wrong[-1]
        some = c > 0
        risks += curve_rows(method.name, coverage=100 * c[some] / n, risk=100 * w[some] / c[some])
        rates += curve_rows(method.name, fpr=100 * w / max(bad, 1), tpr=100 * (c - w) / max(n - bad, 1))
    n, bad = steps.trusted[-1], steps.wrong[-1]
    names = [method.name for method in picked]
    threshold = unit.answer.threshold
    low, high = unit.methods[unit.chosen].explored.edges
    edges = np.linspace(low, high, BINS + 1)
    bars = [
        {"lo": edges[i], "hi": edges[i + 1], "share": sign * 100 * int(count) / max(1, int(counts.sum())), "what": what}
        for what, sign, counts in (("right", 1, steps.right_bins), ("wrong", -1, steps.wrong_bins))
        for i, count in enumerate(counts)
        if count
    ]
    c, w = steps.trusted[k], steps.wrong[k]
    now = {"coverage": 100 * c / n, "risk": 100 * w / max(c, 1), "threshold": min(max(threshold, low), high)}
    now |= {"fpr": 100 * w / max(bad, 1), "tpr": 100 * (c - w) / max(n - bad, 1)}
    two = [method for i, method in enumerate(unit.methods) if method.baseline or i == unit.chosen]
    bins = [
        {"m": method.name, "confidence": 100 * b.confidence, "accuracy": 100 * b.accuracy}
        | {"low": 100 * b.low, "high": 100 * b.high}
        for method in two
        if unit.answer.dataset in method.explored.steps
        for b in method.explored.steps[unit.answer.dataset].reliability
    ]
    here = {key: float(value) for key, value in now.items()}
    charts = {
        "risk": Chart(risk_coverage([*names, IDEAL], now=True), [*risks, *ideal_rows(bad / n)], here),
        "roc": Chart(roc(names), rates, here),
        "histogram": Chart(score_histogram(), bars, here),
        "reliability": Chart(reliability([method.name for method in two]), bins),
    }
    return {name: inline(chart.sized(480, 300)) for name, chart in charts.items()}
