"""The charts of one classifier at its answer's threshold, as they stand before a reader moves anything."""

from __future__ import annotations

from typing import Any

import numpy as np

from trustcache.report.charts import (
    IDEAL,
    Chart,
    curve_rows,
    heat_map,
    ideal_rows,
    reliability,
    risk_coverage,
    roc,
    score_histogram,
)
from trustcache.report.explorer import BINS, Steps
from trustcache.report.units import Unit


def chosen_steps(unit: Unit) -> tuple[Steps, int]:
    """Return the counts of the answer's oracle on its data, and the step of its threshold."""
    one = unit.methods[unit.chosen].explored
    return one.steps[unit.answer.dataset], unit.step


def unit_charts(unit: Unit) -> dict[str, Chart]:
    """Return the charts on the answer's data set by name, and where there are others the heat map of the risk."""
    now, (risks, rates, names) = _now(unit), _curves(unit)
    steps, _ = chosen_steps(unit)
    ideal = ideal_rows(steps.wrong[-1] / steps.trusted[-1])
    charts = {
        "risk": Chart(risk_coverage([*names, IDEAL], risks, now=True), [*risks, *ideal], now),
        "roc": Chart(roc(names), rates, now),
        "histogram": Chart(score_histogram(), _bars(unit), now),
        "reliability": _reliability(unit),
    }
    places = {data.name: data for data in unit.data}
    found = {one.name: round(100 * one.risk, 2) for one in unit.failures() if np.isfinite(one.risk)}
    cells = [
        {"row": places[name].row, "column": places[name].column or unit.no_severity, "value": risk}
        for name, risk in found.items()
    ]
    heat = Chart(heat_map(f"risk (%) at {unit.answer.threshold:.4g}", [*found.values()]), cells)
    return charts | ({"heat": heat} if len(cells) > 1 else {})


def _now(unit: Unit) -> dict[str, float]:
    steps, k = chosen_steps(unit)
    low, high = unit.methods[unit.chosen].explored.edges
    n, bad, c, w = (float(value) for value in (steps.trusted[-1], steps.wrong[-1], steps.trusted[k], steps.wrong[k]))
    return {
        "coverage": 100 * c / n,
        "risk": 100 * w / max(c, 1),
        "fpr": 100 * w / max(bad, 1),
        "tpr": 100 * (c - w) / max(n - bad, 1),
        "threshold": min(max(unit.answer.threshold, low), high),
    }


def _curves(unit: Unit) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """Return the rows of risk over coverage and of the ROC, and the names of the methods that have them."""
    risks: list[dict[str, Any]] = []
    rates: list[dict[str, Any]] = []
    names = []
    for method in unit.methods:
        one = method.explored.steps.get(unit.answer.dataset)
        if one is None or not method.picked:
            continue
        names.append(method.name)
        c, w, n, bad = one.trusted, one.wrong, one.trusted[-1], one.wrong[-1]
        some = c > 0
        risks += curve_rows(method.name, coverage=100 * c[some] / n, risk=100 * w[some] / c[some])
        rates += curve_rows(method.name, fpr=100 * w / max(bad, 1), tpr=100 * (c - w) / max(n - bad, 1))
    return risks, rates, names


def _bars(unit: Unit) -> list[dict[str, Any]]:
    steps, _ = chosen_steps(unit)
    edges = np.linspace(*unit.methods[unit.chosen].explored.edges, BINS + 1)
    return [
        {"lo": edges[i], "hi": edges[i + 1], "share": sign * 100 * count / max(1, int(counts.sum())), "count": count}
        | {"what": what}
        for what, sign, counts in (("right", 1, steps.right_bins), ("wrong", -1, steps.wrong_bins))
        for i, count in enumerate(counts.tolist())
        if count
    ]


def _reliability(unit: Unit) -> Chart:
    bins = {
        method.name: method.explored.steps[unit.answer.dataset].reliability
        for i, method in enumerate(unit.methods)
        if (method.baseline or i == unit.chosen) and unit.answer.dataset in method.explored.steps
    }
    rows = [
        {"m": name, "confidence": 100 * b.confidence, "accuracy": 100 * b.accuracy}
        | {"low": 100 * b.low, "high": 100 * b.high}
        for name, some in bins.items()
        for b in some
    ]
    return Chart(reliability([name for name, some in bins.items() if some]), rows)
