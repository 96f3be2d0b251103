"""Tables that compare losses: one row a method, one block a pair or a data set, one column a metric."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trustcache.command_lines import Command, command_line, merged
from trustcache.metrics.ranking import METRICS
from trustcache.metrics.separability import average_kl_divergence, bhattacharyya_distance
from trustcache.paper.gaps import fill, no_dropout, reproduce_options
from trustcache.paper.paper_index import (
    LEAST_VALUES,
    SEEDS,
    Found,
    Method,
    PaperIndex,
    Setup,
    is_papers,
    pair_name,
    sweep_key,
    trained_alike,
)
from trustcache.paper.published import DEFINITIONS, beside, mismatches, remark
from trustcache.protocols import PROTOCOLS
from trustcache.report.comparison import RANKING, heading
from trustcache.report.footnotes import footnotes
from trustcache.report.names import method_label
from trustcache.report.records import Scored
from trustcache.report.table import MISSING, UNDEFINED, Cell, Row, Table, averaged, grouped_table

Pair = tuple[str, str]
Quantities = Mapping[str, "Quantity"]

LABELS = ("⟨oracle, classifier⟩", "data", "method")
_PAPERS = {
    True: "The paper's own setting: fine-tuned, protocol released.",
    False: "Not the paper's own setting, which is fine-tuned by protocol released.",
}
_MOST_REASONS = 3
_MOST_SETTINGS = 3
"""More settings of one loss than these make way: first those of a sweep, which Figure 4b-c shows."""


@dataclass(frozen=True)
class Quantity:
    """One figure of a row: its heading and value; `learnt` is False for the classifier's own, which has no seeds."""

    label: str
    of: Callable[[Scored], float]
    scale: float = 100.0
    learnt: bool = True

    def cell(self, values: Sequence[float]) -> Cell:
        """Return the cell of the seeds' values."""
        found = averaged(values, scale=self.scale)
        return found if self.learnt else replace(found, std=None)


def metric(key: str, label: str = "") -> Quantity:
    """Return a metric of the records."""
    return Quantity(
        label or METRICS[key].label, lambda one: one.record.metrics.get(key, math.nan), learnt=key != "accuracy"
    )


COLUMNS = {"accuracy": metric("accuracy", "Acc")} | {
    key: metric(key) for key in ("fpr_at_95_tpr", "aupr_error", "aupr_success", "auc", "tpr", "tnr")
}
"""The columns of the paper's tables, in its order."""


def _apart(distance: Callable[..., float]) -> Callable[[Scored], float]:
    def of(one: Scored) -> float:
        h = one.histogram
        return math.nan if h is None else distance(h["TP"] + h["FN"], h["FP"] + h["TN"])

    return of


DISTANCES: dict[str, Quantity] = {
    "kl": Quantity("average KL ↑", _apart(average_kl_divergence), 1.0),
    "bhattacharyya": Quantity("Bhattacharyya ↑", _apart(bhattacharyya_distance), 1.0),
}

MCP = Method("mcp, not in the paper's", score="mcp")


@dataclass(frozen=True)
class Layout:
    """The layout of a table: methods, data sets of a setup as condition and name, pairs, and columns.

    own: only the first pair of a model with itself, not all pairs. published: the table of the file whose figures these
    are. settings: below a row, also those that differ from it in the settings of its loss alone. fits: returns True for
    a setup that the paper's table could be of. notes: sentences for every table.
    """

    methods: Sequence[Method]
    sets: Callable[[PaperIndex, Setup], list[tuple[str, str]]]
    own: bool = False
    columns: Quantities = field(default_factory=lambda: COLUMNS)
    published: str = ""
    settings: bool = False
    fits: Callable[[PaperIndex, Setup], bool] = lambda paper, setup: True
    notes: tuple[str, ...] = ()
    reference: Method | None = MCP

    def tables(self, paper: PaperIndex) -> tuple[Table, ...]:
        """Return a table for each setup that has at least one of the rows."""
        return begun(_Draft(self, paper, setup).table() for setup in paper.setups() if self.fits(paper, setup))


def begun(tables: Iterable[Table]) -> tuple[Table, ...]:
    """Return the tables that have at least one row of ours."""
    return tuple(table for table in tables if any(row.kind == "ours" and not row.missing for row in table.rows))


def heads(columns: Quantities, protocol: str) -> Iterator[str]:
    """Yield the columns' headings; those of ranking metrics have the direction that a protocol gives them."""
    for key, column in columns.items():
        yield heading(key, protocol) if key in RANKING else column.label


class _Draft:
    """One table in the making: its rows, and the notes and commands below it."""

    def __init__(self, layout: Layout, paper: PaperIndex, setup: Setup) -> None:
        self.layout, self.paper, self.setup = layout, paper, setup
        self.commands: list[Command] = []
        self.notes: list[str] = []
        self.others: list[str] = []
        self.in_sweeps: list[str] = []
        self.apart: list[list[str]] = []
        self.alike = 0
        self.not_given: list[str] = []
        self.remarks: list[str] = []
        self.founds: list[Found] = []

    def table(self) -> Table:
        layout, paper, setup = self.layout, self.paper, self.setup
        pairs = [paper.first_pair(setup)] if layout.own else paper.pairs(setup)
        sets = layout.sets(paper, setup)
        known = PROTOCOLS[setup.protocol].losses
        methods = [method for method in layout.methods if method.score or method.loss in known]
        rows: list[Row] = []
        for pair in pairs:
            for condition, data in sets:
                rows += self._block(pair, condition, data, methods)
                rows += self._reference(pair, data) if layout.own else ()
        if not layout.own:
            for classifier in dict.fromkeys(pair[1] for pair in pairs):
                rows += [row for _, data in sets for row in self._reference(("none", classifier), data)]
            if len(paper.classifiers(setup)) == 1:
                self.notes.append(
                    "One classifier is here, hence one pair; with a second one there are the paper's four."
                )
        beside = [row.labels[-1].partition(",")[0] for row in rows if row.kind == "reference"][:1]
        beside += ["other settings of a loss"] if any(row.kind == "setting" for row in rows) else []
        reading = key_to_figures(self.founds, ", ".join(beside))
        told = footnotes([one.record for found in self.founds for one in found.scored], layout.columns)
        said = (*self._on_others(), *self.notes, *told, *self._on_published(), *layout.notes, *self._papers_setting())
        notes = dict.fromkeys([reading, *said])
        columns = heads(layout.columns, setup.protocol)
        table = grouped_table(str(setup), LABELS, columns, rows, notes, merged(self.commands, paper.place))
        papers = not layout.published or is_papers(setup, DEFINITIONS[layout.published].protocol)
        return replace(table, papers=papers, facts=_PAPERS[papers] if layout.settings else "")

    def _papers_setting(self) -> Iterator[str]:
        """Give the command for the paper's own setting below the first Table 1 of a data set that has none of it."""
        setups = [setup for setup in self.paper.setups() if setup.data == self.setup.data]
        if self.layout.settings and self.setup == setups[0] and not any(map(is_papers, setups)):
            options = reproduce_options(self.paper, self.setup)
            if options is not None:
                yield f"The paper's setting: {command_line('reproduce', self.layout.published, *options)}"

    def _block(self, pair: Pair, condition: str, data: str, methods: Sequence[Method]) -> Iterator[Row]:
        """Yield the rows of one pair on one data set; one row for all methods where none of them has been run."""
        columns = self.layout.columns
        labels = pair_name(pair), data if self.paper.cached(data, pair[1]) else condition
        rows = self._rows(pair, data, methods)
        self.founds += [found for _, found in rows if found]
        for method, found in rows:
            self.commands += fill(self.paper, self.setup, data, pair, method, found)
            if method.score == "mc-dropout" and not found and no_dropout(self.paper, pair[1]):
                self.notes.append(f"No command fills the row {method.label}: {pair[1]} has no dropout.")
        if not any(found for _, found in rows):
            names = [method.label for method in methods]
            every = ", ".join(names) if len(names) < 6 else f"all {len(names)} methods"
            yield table_row(labels, Method(every), None, columns)
            return
        for method, found in rows:
            yield table_row(labels, method, found, columns)
            if not found:
                continue
            yield from self._published(labels, method, found) if self.layout.published else ()
            shown = other_settings(found) if self.layout.settings else []
            self.founds += shown
            yield from (table_row(labels, method, other, columns, "setting") for other in shown)
            if len(found.others) > len(shown):
                swept = self.layout.settings and any(group[0] in _swept(found) for group in found.others)
                (self.in_sweeps if swept else self.others).append(row_label(method, found, SEEDS))

    def _rows(self, pair: Pair, data: str, methods: Sequence[Method]) -> list[tuple[Method, Found | None]]:
        """Find the records of each method; those of one loss trained alike where there are such runs, else noted."""
        rows: list[tuple[Method, Found | None]] = []
        first: dict[str, int] = {}
        for place, method in enumerate(methods):
            earlier, before = rows[first[method.base]] if method.base in first else (method, None)
            found = self.paper.find(self.setup, data, pair, method, before)
            rows.append((method, found))
            if found and before and not trained_alike(found.first, before.first):
                again = self.paper.find(self.setup, data, pair, earlier, found)
                assert again is not None
                rows[first[method.base]] = earlier, again
                if not trained_alike(found.first, again.first):
                    names = f"{row_label(earlier, again, SEEDS)} and {row_label(method, found, SEEDS)}"
                    self.notes.append(f"{names}: trained with other settings each, so more than one thing differs.")
            elif found and method.loss:
                first.setdefault(method.base, place)
        return rows

    def _reference(self, pair: Pair, data: str) -> Iterator[Row]:
        """Yield the row that the paper does not have, where the layout has one and it is scored."""
        method = self.layout.reference
        if method and (found := self.paper.find(self.setup, data, pair, method)):
            yield table_row((pair_name(pair), data), method, found, self.layout.columns, "reference")

    def _published(self, labels: tuple[str, str], method: Method, found: Found) -> Iterator[Row]:
        table = self.layout.published
        apart = mismatches(self.paper, DEFINITIONS[table], found, method.name)
        self.apart += [apart] if apart else []
        self.alike += not apart
        if not apart and (row := beside(table, found, method.name, self.layout.columns)):
            yield Row((*labels, "  published"), tuple(cell or Cell(math.nan) for cell in row), "published")
            self.not_given += [key for key, cell in zip(self.layout.columns, row, strict=True) if cell is None]
            self.remarks += [text] if (text := remark(table, found)) else []

    def _on_others(self) -> Iterator[str]:
        """Name the rows that are not all that was run of their kind."""
        every = "the tables by data set show them all"
        if self.others:
            yield f"{', '.join(dict.fromkeys(self.others))}: run with other settings too; {every}."
        if self.in_sweeps:
            names = ", ".join(dict.fromkeys(self.in_sweeps))
            yield f"{names}: run with other settings too; Figure 4b-c has those of a sweep over α⁻, {every}."

    def _on_published(self) -> Iterator[str]:
        """Say why a published figure is lacking in a row, and why none stand beside some or all rows."""
        for key in dict.fromkeys(self.not_given):
            unlike = DEFINITIONS[self.layout.published].unlike.get(key)
            reason = unlike or f"the paper does not give {self.layout.columns[key].label} in every row"
            yield f"Published {UNDEFINED}: {reason}."
        for text in dict.fromkeys(self.remarks):
            yield f"Published figures are of nearly the same training: {text}."
        if not self.apart:
            return
        fewest = min(self.apart, key=len)
        more = ", among other things" if len(fewest) > _MOST_REASONS else ""
        beginning = "Published figures stand beside none of these: they are"
        if self.alike:
            beginning = "Published figures stand beside those rows only that are defined alike; the others' are"
        yield f"{beginning} {'; '.join(fewest[:_MOST_REASONS])}{more}."


def key_to_figures(founds: Sequence[Found], reference: str = "") -> str:
    """Return a sentence to read a table by: its images, its seeds, and its signs.

    reference: names of rows beside the table's own, which the best are not chosen from.
    """
    every = [one for found in founds for one in found.scored]
    tests, trained = ({one.record.n for one in every}, {one.learnt_from for one in every if one.learnt_from})
    seeds = {len(found.seeds) for found in founds if found.seeds}
    parts = [f"{_span(tests)} test images a row"] if tests else []
    held_out = any(one.run and one.config.val_fraction for one in every)
    included = ", those held out for validation included" if held_out else ""
    parts += [f"oracles learn from {_span(trained)} images{included}"] if trained else []
    parts += (
        [f"{_span(seeds)} seeds, and a ± b is their mean and sample standard deviation"]
        if max(seeds, default=0) > 1
        else []
    )
    best = (
        "bold, or * where nothing is bold, marks the best of a block in columns with ↑ (higher is better) or ↓ (lower)"
    )
    parts.append(f"{best}; not counted: {reference}" if reference else best)
    return f"{'; '.join(parts)}."


def _span(numbers: Iterable[int]) -> str:
    return " to ".join(f"{number:,}" for number in dict.fromkeys((min(numbers), max(numbers))))


def other_settings(found: Found) -> list[Found]:
    """Return the rows that differ from a found one in the settings of its loss alone.

    Where they are too many, those of a sweep are left out, then those of the fewest seeds.
    """
    config = found.first.config if found.first.run else None
    alike = [
        Found(group)
        for group in found.others
        if config
        and group[0].config.loss != config.loss
        and all(getattr(group[0].config, key) == getattr(config, key) for key in ("optimiser", "val_fraction"))
    ]
    if len(alike) > _MOST_SETTINGS:
        swept = _swept(found)
        alike = [other for other in alike if other.first not in swept]
    return alike[:_MOST_SETTINGS]


def _swept(found: Found) -> set[Scored]:
    """Return the runs of a row and its other settings that belong to a sweep over alpha-."""
    sweeps: dict[str, list[Scored]] = {}
    for one in itertools.chain(found.scored, *found.others):
        if one.run and (key := sweep_key(one)):
            sweeps.setdefault(key, []).append(one)
    values = (({one.config.loss.settings["alpha_neg"] for one in ones}, ones) for ones in sweeps.values())
    return {one for alphas, ones in values if len(alphas) >= LEAST_VALUES for one in ones}


def row_label(method: Method, found: Found, seeds: int | None = None) -> str:
    """Return a row's method with the settings that were found, and the number of seeds where it is below three."""
    if method.score:
        return method.label
    record = found.first.record
    # The head's form is in the methods' own words, where it matters.
    label = method_label(replace(record, settings={k: v for k, v in record.settings.items() if k != "signed_distance"}))
    if method.signed_distance is not None:
        label += ", over ‖w‖" if method.signed_distance else ", not over ‖w‖"
    if method.start and found.first.config.start:
        label += f", from {method.start}"
    seeds = len(found.seeds) if seeds is None else seeds
    return label if seeds >= SEEDS else f"{label} ({seeds} seed{'s' if seeds > 1 else ''})"


def table_row(
    labels: Sequence[str], method: Method, found: Found | None, columns: Quantities, kind: str = "ours"
) -> Row:
    """Return a method's row, averaged over its seeds; a row of gaps where there is nothing."""
    if found is None:
        return Row((*labels, method.label), (MISSING,) * len(columns), kind)
    cells = tuple(column.cell([column.of(one) for one in found.scored]) for column in columns.values())
    return Row((*labels, row_label(method, found)), cells, kind, len(found.seeds))
