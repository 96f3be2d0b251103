"""Figures 3, D, 4a and E: each as figures, and as tables of what is drawn for formats that have no figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trustcache.command_lines import merged
from trustcache.errors import percent
from trustcache.paper.comparisons import LABELS, MCP, Pair, row_label
from trustcache.paper.gaps import fill
from trustcache.paper.paper_index import SEEDS, Found, Method, PaperIndex, Setup, pair_name
from trustcache.report.charts import GROUPS
from trustcache.report.figures import confidence_histogram, risk_coverage_chart
from trustcache.report.records import Scored
from trustcache.report.table import Cell, Figure, Row, Table, grouped_table

FOUR = tuple(Method(name, loss=name) for name in ("ce", "focal", "tcp", "ss"))
"""The losses that the paper compares."""
Subject = tuple[Pair, str]
"""A pair and a data set."""
Subjects = Callable[[PaperIndex, Setup], list[Subject]]

_COVERAGES = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class FigureLayout:
    """A figure of the four losses, of the first seed of each.

    subjects: the pairs and data sets of a setup. draw: returns the figures of one of them, given its title. heads,
    numbers: the columns of a table and a score's cells. reference: a score that needs no training, beside the others.
    """

    subjects: Subjects
    draw: Callable[[str, Sequence[Scored]], Iterator[Figure]]
    heads: tuple[str, ...]
    numbers: Callable[[Scored], tuple[Cell, ...]]
    note: str
    reference: Method | None = None

    def figures(self, paper: PaperIndex) -> tuple[Figure, ...]:
        """Return all figures."""
        figures: list[Figure] = []
        for setup in paper.setups():
            for (pair, data), rows in self._rows(paper, setup):
                title = f"{replace(setup, data=data)} · {pair_name(pair)}"
                figures += self.draw(title, [found.first for _, found in rows])
        return tuple(figures)

    def tables(self, paper: PaperIndex) -> tuple[Table, ...]:
        """Return a table a setup, with a row for each score that is drawn."""
        made = []
        for setup in paper.setups():
            rows = [
                Row(
                    (pair_name(pair), data, row_label(method, found, SEEDS)),
                    self.numbers(found.first),
                    "reference" if method == self.reference else "ours",
                )
                for (pair, data), drawn in self._rows(paper, setup)
                for method, found in drawn
            ]
            made += [grouped_table(str(setup), LABELS, self.heads, rows, (self.note,))] if rows else []
        return tuple(made)

    def to_draw(self, paper: PaperIndex) -> tuple[str, ...]:
        """Return the commands for the losses and data sets that are not drawn."""
        commands = [
            command
            for setup in paper.setups()
            for pair, data in self.subjects(paper, setup)
            for method in FOUR
            if not paper.find(setup, data, pair, method)
            for command in fill(paper, setup, data, pair, method, None)
        ]
        return merged(commands, paper.place)

    def _rows(self, paper: PaperIndex, setup: Setup) -> Iterator[tuple[Subject, list[tuple[Method, Found]]]]:
        """Yield what there is to draw of each subject that any loss is there for."""
        methods = [*([self.reference] if self.reference else []), *FOUR]
        for pair, data in self.subjects(paper, setup):
            rows = [(m, found) for m in methods if (found := paper.find(setup, data, pair, m))]
            if any(method.loss for method, _ in rows):
                yield (pair, data), rows


def histograms(subjects: Subjects) -> FigureLayout:
    """Fig. 3 and D: the confidences of right and wrong answers, a histogram a loss."""
    note = "Right and wrong answers, trusted (TP, FP) and not (FN, TN), of each loss's first seed."
    return FigureLayout(subjects, _histograms, tuple(GROUPS), _counts, note)


def _histograms(title: str, shown: Sequence[Scored]) -> Iterator[Figure]:
    return (Figure(title, confidence_histogram(one)) for one in shown if one.histogram is not None)


def _counts(one: Scored) -> tuple[Cell, ...]:
    histogram = one.histogram or dict.fromkeys(GROUPS, np.array(math.nan))
    return tuple(Cell(float(histogram[group].sum()), scale=1, digits=0) for group in GROUPS)


def risks(subjects: Subjects) -> FigureLayout:
    """Fig. 4a and E: the error rate over the share accepted, a curve a loss."""
    heads = tuple(percent(coverage, 0) for coverage in _COVERAGES)
    note = "The error rate (%) among the most trusted share of the samples, of each loss's first seed. Lower is better."
    return FigureLayout(subjects, _risk_curves, heads, _risks, note, MCP)


def _risk_curves(title: str, shown: Sequence[Scored]) -> Iterator[Figure]:
    yield Figure(title, risk_coverage_chart(shown), "Lower is better.")


def _risks(one: Scored) -> tuple[Cell, ...]:
    """Return the risk at the first point of the curve that covers as much: samples that tie are accepted together."""
    points = np.searchsorted(one.coverage, np.array(_COVERAGES) - 1e-9)
    return tuple(Cell(float(one.risk[point])) for point in points)
