"""`compare`: methods side by side on one cache, as a table for notebooks, papers and programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trustcache.cache import CacheView
from trustcache.errors import UsageError, in_python
from trustcache.oracles.runs import Run
from trustcache.protocols import negative_threshold
from trustcache.report.comparison import Average, Comparison, compare_methods
from trustcache.report.figures import risk_coverage_chart
from trustcache.report.intervals import Compared, Estimate, difference_cell
from trustcache.report.intervals import compare as with_intervals
from trustcache.report.kept import Kept
from trustcache.report.measured import Measurer
from trustcache.report.names import BASELINE, Settings, entry_name, run_labels
from trustcache.report.records import Record, Scored
from trustcache.report.resampled import ResamplerInMemory
from trustcache.report.samples import Samples
from trustcache.report.table import Cell, Column, Table
from trustcache.scores.methods import AnyMethod, Method, methods_of
from trustcache.scores.stored import StoredScore

if TYPE_CHECKING:
    import altair
    import pandas
    from rich.console import Console, ConsoleOptions
_SIZE = 560, 340
"""Pixels of a chart."""
_LEGEND = "Percent; the best of a column is bold or has a *."
_OF_DIFFERENCES = f" ▲ better than {BASELINE}, ▼ worse, ○ undecided by the 95 % interval in brackets."
_WITH_INTERVALS = ("auc", "aurc")
"""Metrics whose intervals stand in a data frame."""


@in_python()
def compare(
    methods: Sequence[AnyMethod], test: CacheView, *, training: CacheView | None = None, intervals: bool = True
) -> MethodTable:
    """Return a table of how well methods tell a classifier's right answers from its wrong ones, on one cache.

    methods: fitted oracles, post-hoc scores by name ("mcp", "delta-knn"), functions of columns (`logits`, `features`,
    `predictions`) and classes of your own, and {name: array (N,)} of scores that you have. Oracles that differ in their
    seed only become one row; rows stand as given. Scores within [0, 1] are no log-odds, and have no TPR and TNR.
    training: what scores that learn do so from; without it, the cache that the first oracle has learnt from. intervals:
    by the bootstrap.
    Raises UsageError for an unknown method, and where one cannot be computed on this cache.

    >>> cache = CacheView.from_arrays([[2.0, 0.5], [0.1, 0.3], [3.0, 0.0]], [0, 0, 0])
    >>> table = compare(["mcp", lambda logits: logits.max(axis=1)], cache, intervals=False)
    >>> [round(row.value("auc"), 2) for row in table.comparison.rows]
    [1.0, 1.0]
    """
    if isinstance(methods, (str, Mapping)) or not isinstance(methods, Sequence):
        raise UsageError(f"compare: takes a list of methods, not {methods!r:.60}; put it into [ ]")
    if not methods:
        raise UsageError("compare: no method is given; name one, as in compare([oracle, 'mcp'], test)")
    found = methods_of(methods, training)
    runs = {
        method.name: Run(Path(method.name), c) for method in found if (c := getattr(method.scorer, "config_", None))
    }
    if twice := next((name for name, run in runs.items() if _names(runs).count(run.name) > 1), None):
        raise UsageError(f"{twice}: is given twice, under another name; leave one out")
    labels = run_labels(list(runs.values()))
    scored = [_scored(method, test, runs.get(method.name), labels) for method in found]
    samples = {one.record: samples for one, samples in scored}
    comparisons = compare_methods(list(samples))
    if len(comparisons) > 1:
        raise UsageError(
            "compare: the oracles are of several protocols, whose figures share no table; compare each alone"
        )
    learnt = [
        f"{method.name} has learnt from {rows:,} of these {len(test):,} rows, so its figures say nothing of other data."
        for method in found
        if (rows := method.learnt_rows(test))
    ]
    ordered = replace(comparisons[0], rows=tuple(sorted(comparisons[0].rows, key=_place([*samples]))))
    return MethodTable(ordered, [one for one, _ in scored], samples if intervals else {}, learnt)


def _place(records: Sequence[Record]) -> Callable[[Average], int]:
    """Return the key that sorts rows as their methods were given, several seeds by the first."""
    places = {record: place for place, record in enumerate(records)}
    return lambda row: min(places[record] for record in row.records)


def _names(runs: Mapping[str, Run]) -> list[str]:
    return [run.name for run in runs.values()]


def _scored(
    method: Method, cache: CacheView, run: Run | None, labels: Mapping[str, Settings]
) -> tuple[Scored, Samples]:
    """Return the record of a method on a cache, with its curve, and the samples behind it."""
    z, rows = method.scores(cache), np.ones(len(cache), dtype=bool)
    measurer, negative = Measurer(cache, Kept(None)), None
    if run:
        negative = negative_threshold(run.config.loss.name, cache.classes)
        made = measurer.run(run, labels[run.name], z, rows, 0)
    else:
        made = measurer.post_hoc(method.name, StoredScore(z, method.about()), "equations")
    return made, Samples(z, cache.correct, rows, cache, negative)


@dataclass(frozen=True)
class MethodTable:
    """Methods on one cache: shown by a notebook, `print` and rich; the numbers are `trust_metrics`'.

    comparison: the rows, each the mean over seeds. scored: the methods, each with its risk-coverage curve. samples:
    those behind the intervals, {} for none. notes: sentences on what the figures cannot tell.
    """

    comparison: Comparison
    scored: Sequence[Scored]
    samples: dict[Record, Samples]
    notes: Sequence[str] = ()

    @cached_property
    def compared(self) -> list[Compared]:
        """The rows with their intervals, [] where none were asked for."""
        found = with_intervals(list(self.samples), ResamplerInMemory(self.samples)) if self.samples else []
        place = _place([*self.samples])
        return sorted(found, key=lambda one: place(one.row))

    @cached_property
    def table(self) -> Table:
        """The table as reports show it, with the difference in AUC to mcp, if that is among the methods."""
        shown = self.comparison.table()
        names = [self._name(row) for row in self.comparison.rows]
        rows = [replace(row, labels=(name,), block="") for row, name in zip(shown.rows, names, strict=True)]
        columns = shown.columns
        if self.compared and self.comparison.baseline:
            ends = [
                difference_cell(one, "auc") if one.differences else Cell(math.nan, text="") for one in self.compared
            ]
            rows = [replace(row, cells=(*row.cells, end)) for row, end in zip(rows, ends, strict=True)]
            columns = (*columns, Column(f"Δ AUC to {BASELINE}", "Difference in AUC with its 95 % interval."))
        notes = _LEGEND + (_OF_DIFFERENCES if len(columns) > len(shown.columns) else ""), *self.notes, *shown.notes
        return replace(shown, labels=("Method",), rows=tuple(rows), columns=columns, notes=notes)

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas data frame: a row a method, metrics as fractions, seeds' means.

        With intervals there are also `auc_low`, `auc_high`, `aurc_low` and `aurc_high`, and with mcp `auc_gain`,
        `auc_gain_low`, `auc_gain_high`. Raises UsageError without pandas.
        """
        pandas = _needs("pandas")
        # Nothing is held out in arrays, so no temperature is fitted and what it would scale is undefined.
        rows = {
            self._name(row): {key: row.value(key) for key in row.cells if not key.endswith("_scaled")}
            for row in self.comparison.rows
        }
        for one in self.compared:
            found = rows[self._name(one.row)]
            for key in _WITH_INTERVALS:
                found |= _ends(key, one.figures[key])
            if gain := one.differences.get("auc"):
                found |= {"auc_gain": gain.value} | _ends("auc_gain", gain)
        return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("method")

    def to_latex(self) -> str:
        """Return the table for a paper, by booktabs."""
        from trustcache.report.render.latex import table_latex

        return table_latex(self.table)

    def plot(self) -> altair.LayerChart:
        """Return the risk-coverage curves, of each method's first seed, as an Altair chart.

        Raises UsageError without Altair.
        """
        first = {row.record for row in self.comparison.rows}
        chart = risk_coverage_chart([one for one in self.scored if one.record in first])
        spec = chart.sized(*_SIZE)
        # None, the page's own, is no colour to Altair.
        config = {key: value for key, value in spec["config"].items() if key != "background"}
        return _needs("altair").Chart.from_dict({**spec, "config": config})

    def __str__(self) -> str:
        return self._printed(color_system=None)

    __repr__ = __str__

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        from rich.text import Text

        yield Text.from_ansi(self._printed(width=options.max_width, force_terminal=True))

    def _repr_html_(self) -> str:
        from trustcache.report.render.templates import render

        return render("method-table.html", {}, table=self.table)

    def _printed(self, **how: Any) -> str:
        from io import StringIO

        from rich.console import Console

        from trustcache.report.render.terminal import print_tables

        text = StringIO()
        # In a notebook rich would show each line as an output of its own, and write none.
        print_tables([self.table], Console(file=text, force_jupyter=False, **how))
        return text.getvalue().rstrip()

    def _name(self, row: Average) -> str:
        return entry_name(row.record, with_oracle=self.comparison.several_oracles)


def _ends(name: str, estimate: Estimate) -> dict[str, float]:
    return {f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _needs(library: str) -> Any:
    """Import a library that trustcache does not install by itself."""
    from importlib import import_module

    try:
        return import_module(library)
    except ImportError:
        raise UsageError(f"this needs {library}; install it with pip install 'trustcache[notebook]'") from None
