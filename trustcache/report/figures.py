"""The figures of scored methods: where the trust confidences lie, and what error rate each coverage costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trustcache.report.charts import IDEAL, Chart, confidences, curve_rows, ideal_rows, risk_coverage
from trustcache.report.names import BASELINE, entry_name
from trustcache.report.records import Scored

MAX_CURVES = 12


def confidence_histogram(scored: Scored) -> Chart:
    """Return a histogram of the trust confidences of right (up) and wrong (down) answers, as shares of each.

    Raises ValueError unless the histogram has TP, FP, TN and FN in the same bins.
    """
    return confidences(scored.histogram or {})


def risk_coverage_chart(scored: Sequence[Scored]) -> Chart:
    """Return the error rate among accepted images over the share accepted, a curve each, and a perfect ranking's.

    Beyond `MAX_CURVES` only the first and those of lowest AURC are drawn. Points that are not finite are left out.
    Raises ValueError on no curves.
    """
    if not scored:
        raise ValueError("There is no risk-coverage curve to draw.")
    kept = {scored[0], *sorted(scored[1:], key=_aurc)[: MAX_CURVES - 1]}
    drawn = sorted(kept, key=_aurc)
    several = len({one.record.oracle for one in drawn if one.record.oracle}) > 1
    names = [
        BASELINE if r.method == BASELINE else entry_name(r, with_oracle=several) for r in (o.record for o in drawn)
    ]
    rows = []
    for name, one in zip(names, drawn, strict=True):
        finite = np.isfinite(one.coverage) & np.isfinite(one.risk)
        rows += curve_rows(name, coverage=100 * one.coverage[finite], risk=100 * one.risk[finite])
    error = 1 - scored[0].record.metrics.get("accuracy", math.nan)
    ideal = ideal_rows(error) if math.isfinite(error) else []
    return Chart(risk_coverage([*names, *([IDEAL] if ideal else [])], rows), [*rows, *ideal])


def _aurc(scored: Scored) -> float:
    aurc = scored.record.metrics.get("aurc", math.inf)
    return aurc if math.isfinite(aurc) else math.inf
