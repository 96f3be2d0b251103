"""Figures 2b, 3, D, 4a and E: each as drawings, and as tables of what is drawn for formats that have no drawings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trustcache.paper.commands import Need, commands
from trustcache.paper.comparisons import MCP, row_label
from trustcache.paper.drawings import half_title, loss_curves, losses_over
from trustcache.paper.evidence import SEEDS, Evidence, Found, Method, Stage, pair_name
from trustcache.paper.needs import needs_of
from trustcache.paper.shown import Chart, Line, PaperGrid, Value
from trustcache.report.figures import GROUPS, confidence_histogram, risk_coverage_chart
from trustcache.report.records import Scored

FOUR = tuple(Method(name, loss=name) for name in ("ce", "focal", "tcp", "ss"))
"""The losses that the paper compares."""
Drawn = tuple[tuple[str, str], str]
"""A pair and a data set."""
Which = Callable[[Evidence, Stage], list[Drawn]]

_COVERAGES = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
_OUTPUTS = (-10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10)


@dataclass(frozen=True)
class Figure:
    """A figure of the four losses, of the first seed of each.

    which: the pairs and data sets of a stage. draw: the drawings of one pair on one data set, given what they are of.
    heads, numbers: what a table says of each score. reference: a score that needs no training, beside the others.
    """

    which: Which
    draw: Callable[[str, Sequence[Scored]], Iterator[Chart]]
    heads: tuple[str, ...]
    numbers: Callable[[Scored], tuple[Value, ...]]
    note: str
    reference: Method | None = None

    def charts(self, evidence: Evidence) -> tuple[Chart, ...]:
        """All drawings."""
        charts: list[Chart] = []
        for stage in evidence.stages():
            for (pair, data), rows in self._rows(evidence, stage):
                subject = f"{replace(stage, data=data)} · {pair_name(pair)}"
                charts += self.draw(subject, [found.first for _, found in rows])
        return tuple(charts)

    def grids(self, evidence: Evidence) -> tuple[PaperGrid, ...]:
        """A table a stage, with a row for each score that is drawn."""
        made = []
        for stage in evidence.stages():
            lines = [
                Line(
                    (pair_name(pair), data, row_label(method, found, SEEDS)),
                    self.numbers(found.first),
                    "reference" if method == self.reference else "ours",
                )
                for (pair, data), rows in self._rows(evidence, stage)
                for method, found in rows
            ]
            if lines:
                labels = ("⟨oracle, classifier⟩", "data", "method")
                made.append(PaperGrid(str(stage), labels, self.heads, tuple(lines), (self.note,)))
        return tuple(made)

    def to_draw(self, evidence: Evidence) -> tuple[str, ...]:
        """The commands for the losses and data sets that are not drawn."""
        needs: list[Need] = []
        for stage in evidence.stages():
            for pair, data in self.which(evidence, stage):
                for method in FOUR:
                    if not (found := evidence.find(stage, data, pair, method)):
                        needs += needs_of(evidence, stage, data, pair, method, found)
        return commands(needs, evidence.place)

    def _rows(self, evidence: Evidence, stage: Stage) -> Iterator[tuple[Drawn, list[tuple[Method, Found]]]]:
        """What there is to draw of each pair and data set, where any loss is there."""
        methods = [*([self.reference] if self.reference else []), *FOUR]
        for pair, data in self.which(evidence, stage):
            rows = [(m, found) for m in methods if (found := evidence.find(stage, data, pair, m))]
            if any(method.loss for method, _ in rows):
                yield (pair, data), rows


def histograms(which: Which) -> Figure:
    """Fig. 3 and D: where the confidences of right and wrong answers lie, a histogram a loss."""
    note = "Right and wrong answers, trusted (TP, FP) and not (FN, TN), of each loss's first seed."
    return Figure(which, _histograms, tuple(GROUPS), _counts, note)


def _histograms(subject: str, shown: Sequence[Scored]) -> Iterator[Chart]:
    for one in shown:
        if one.histogram is not None:
            yield Chart(subject, confidence_histogram(one))


def _counts(one: Scored) -> tuple[Value, ...]:
    histogram = one.histogram or dict.fromkeys(GROUPS, np.array(math.nan))
    return tuple(Value(float(histogram[group].sum()), scale=1, digits=0) for group in GROUPS)


def risks(which: Which) -> Figure:
    """Fig. 4a and E: the error rate over the share accepted, a curve a loss."""
    heads = tuple(f"{coverage:.0%}" for coverage in _COVERAGES)
    note = "The error rate (%) among the most trusted share of the samples, of each loss's first seed. Lower is better."
    return Figure(which, _risk_curves, heads, _risks, note, MCP)


def _risk_curves(subject: str, shown: Sequence[Scored]) -> Iterator[Chart]:
    yield Chart(subject, risk_coverage_chart(shown), "Lower is better.")


def _risks(one: Scored) -> tuple[Value, ...]:
    """The risk at the first point of the curve that covers as much: samples that tie are accepted together."""
    points = np.searchsorted(one.coverage, np.array(_COVERAGES) - 1e-9)
    return tuple(Value(float(one.risk[point])) for point in points)


def loss_charts(evidence: Evidence) -> tuple[Chart, ...]:
    """Fig. 2b."""
    caption = (
        "Each loss by its equation. ss is bounded, at most e^α − e^(−α) far on the wrong side, and steep near 0; "
        "α⁻ = 5 goes on to 148.4, beyond the axis. The released code's ce and focal are not these."
    )
    return (Chart("equations", loss_curves(), caption),)


def loss_grids(evidence: Evidence) -> tuple[PaperGrid, ...]:
    """The losses of Fig. 2b at some outputs z, for right and for wrong answers."""
    grids = []
    for right in (True, False):
        curves = losses_over(np.array(_OUTPUTS, dtype=float), right)
        lines = tuple(
            Line((f"{z:g}",), tuple(Value(float(curve[row]), scale=1) for curve in curves.values()))
            for row, z in enumerate(_OUTPUTS)
        )
        grids.append(PaperGrid(half_title(right), ("z",), tuple(curves), lines))
    return tuple(grids)
