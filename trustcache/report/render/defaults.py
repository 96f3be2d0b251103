"""The page before its script runs, without one, and in print: at the answer's threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from trustcache.metrics.calibration import wilson
from trustcache.report.charts import page_height
from trustcache.report.intervals import Estimate
from trustcache.report.render.drawing import inline
from trustcache.report.unit_charts import chosen_steps, unit_charts
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


def point(unit: Unit) -> Point:
    steps, k = chosen_steps(unit)
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


def drawings(unit: Unit, kept: Path | None) -> dict[str, Markup]:
    """Return the charts as they are before the script draws them, and where there is none; kept: as of `inline`."""
    charts = {name: chart for name, chart in unit_charts(unit).items() if name != "heat"}
    names = {
        name: len({row[key] for row in c.rows for key in ("m", "what") if key in row}) for name, c in charts.items()
    }
    return inline({name: chart.sized(480, page_height(names[name])) for name, chart in charts.items()}, kept)
