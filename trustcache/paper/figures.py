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
from trustcache.report.footnotes import two_thresholds
from trustcache.report.measured import EXACT_COVERAGES, covering
from trustcache.report.records import Scored
from trustcache.report.table import Cell, Figure, Row, Table, grouped_table

FOUR = tuple(Method(name, loss=name) for name in ("ce", "focal", "tcp", "ss"))
"""The losses that the paper compares."""
Subject = tuple[Pair, str]
"""A pair and a data set."""
Subjects = Callable[[PaperIndex, Setup], list[Subject]]


@dataclass(frozen=True)
class FigureLayout:
    """A figure of the four losses, of the first seed of each.

    subjects: the pairs and data sets of a setup. draw: returns the figures of one of them, given its title. heads,
    numbers: the columns of a table and a score's cells. notes: yields what the table of some scores says below itself.
    reference: a score that needs no training, beside the others.
    """

    subjects: Subjects
    draw: Callable[[str, Sequence[Scored]], Iterator[Figure]]
    heads: tuple[str, ...]
    numbers: Callable[[Scored], tuple[Cell, ...]]
    notes: Callable[[Sequence[Scored]], Iterator[str]]
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
            rows, shown = [], []
            for (pair, data), drawn in self._rows(paper, setup):
                for method, found in drawn:
                    labels = pair_name(pair), data, row_label(method, found, SEEDS)
                    kind = "reference" if method == self.reference else "ours"
                    rows.append(Row(labels, self.numbers(found.first), kind))
                    shown.append(found.first)
            made += [grouped_table(str(setup), LABELS, self.heads, rows, self.notes(shown))] if rows else []
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
    return FigureLayout(subjects, _histograms, tuple(GROUPS), _counts, _on_counts)


def _on_counts(shown: Sequence[Scored]) -> Iterator[str]:
    yield "Right and wrong answers, trusted (TP, FP) and not (FN, TN), of each loss's first seed."
    yield from two_thresholds(one.record.method for one in shown)


def _histograms(title: str, shown: Sequence[Scored]) -> Iterator[Figure]:
    for one in shown:
        if one.histogram is not None:
            yield Figure(title, confidence_histogram(one), " ".join(two_thresholds([one.record.method])))


def _counts(one: Scored) -> tuple[Cell, ...]:
    histogram = one.histogram or dict.fromkeys(GROUPS, np.array(math.nan))
    return tuple(Cell(float(histogram[group].sum()), scale=1, digits=0) for group in GROUPS)


def risks(subjects: Subjects) -> FigureLayout:
    """Fig. 4a and E: the error rate over the share accepted, a curve a loss."""
    heads = tuple(percent(coverage, 0) for coverage in EXACT_COVERAGES)
    return FigureLayout(subjects, _risk_curves, heads, _risks, _on_risks, MCP)


def _on_risks(shown: Sequence[Scored]) -> Iterator[str]:
    yield "The error rate (%) among the most trusted share of the samples, of each loss's first seed. Lower is better."
    tied = {one.record.method: more for one in shown if (more := _accepted_beyond(one))}
    if tied:
        samples = "; ".join(f"{name} by up to {more:,}" for name, more in tied.items())
        yield f"Samples that tie are accepted together, beyond the share of a column: {samples} samples."


def _accepted_beyond(one: Scored) -> int:
    """Return by how many samples, at most, ties make a column of the table of risks exceed its share."""
    share = one.coverage[covering(one.coverage, EXACT_COVERAGES)]
    wanted = np.ceil(one.record.n * np.array(EXACT_COVERAGES) - 1e-6)
    return int(np.max(np.round(one.record.n * share) - wanted, initial=0))


def _risk_curves(title: str, shown: Sequence[Scored]) -> Iterator[Figure]:
    yield Figure(title, risk_coverage_chart(shown), "Lower is better.")


def _risks(one: Scored) -> tuple[Cell, ...]:
    """Return the risk at the first point of the curve that covers as much: samples that tie are accepted together."""
    return tuple(Cell(float(one.risk[point])) for point in covering(one.coverage, EXACT_COVERAGES))
