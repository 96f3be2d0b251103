"""Tables that compare losses: one row a method, one block a pair or a data set, one column a metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trustcache.metrics.separability import average_kl_divergence, bhattacharyya_distance
from trustcache.paper.commands import Need, commands
from trustcache.paper.evidence import SEEDS, Evidence, Found, Method, Stage, pair_name, trained_alike
from trustcache.paper.needs import needs_of
from trustcache.paper.published import DEFINITIONS, beside, mismatches, remark
from trustcache.paper.shown import MISSING, UNDEFINED, Line, PaperGrid, Value
from trustcache.protocols import PROTOCOLS
from trustcache.report.records import Scored
from trustcache.report.tables import averaged, method_label

Pair = tuple[str, str]

_MOST_REASONS = 3


@dataclass(frozen=True)
class Column:
    """One figure of a row: its heading and where it comes from; one that is not `learnt` is the classifier's own."""

    label: str
    of: Callable[[Scored], float]
    scale: float = 100.0
    learnt: bool = True


def _metric(key: str, label: str) -> tuple[str, Column]:
    return key, Column(label, lambda one: one.record.metrics.get(key, math.nan), learnt=key != "accuracy")


METRICS: dict[str, Column] = dict(
    [
        _metric("accuracy", "Acc"),
        _metric("fpr_at_95_tpr", "FPR@95 ↓"),
        _metric("aupr_error", "AUPR-Error"),
        _metric("aupr_success", "AUPR-Success ↑"),
        _metric("auc", "AUC ↑"),
        _metric("tpr", "TPR"),
        _metric("tnr", "TNR"),
    ]
)
"""The columns of the paper's tables, in its order. Which way AUPR-Error is better, the protocol decides."""


def _apart(distance: Callable[..., float]) -> Callable[[Scored], float]:
    def of(one: Scored) -> float:
        h = one.histogram
        return math.nan if h is None else distance(h["TP"] + h["FN"], h["FP"] + h["TN"])

    return of


DISTANCES: dict[str, Column] = {
    "kl": Column("average KL ↑", _apart(average_kl_divergence), 1.0),
    "bhattacharyya": Column("Bhattacharyya ↑", _apart(bhattacharyya_distance), 1.0),
}

MCP = Method("mcp, not in the paper's", score="mcp")


@dataclass(frozen=True)
class Comparison:
    """How a table is laid out: which methods, on which data sets of a stage, for which pairs, in which columns.

    sets: the data sets of a stage, each as a condition and a name, None where none is here. own: only the first pair of
    an oracle with itself, not all pairs. published: the table of the file whose figures these are. fits: whether the
    paper's table could be of a stage at all. notes: sentences for every grid.
    """

    methods: Sequence[Method]
    sets: Callable[[Evidence, Stage, str], list[tuple[str, str]]]
    own: bool = False
    columns: Mapping[str, Column] = field(default_factory=lambda: METRICS)
    published: str = ""
    fits: Callable[[Evidence, Stage], bool] = lambda evidence, stage: True
    notes: tuple[str, ...] = ()
    reference: Method | None = MCP

    def grids(self, evidence: Evidence) -> tuple[PaperGrid, ...]:
        """A grid for each stage that has at least one of the rows."""
        made = [self._grid(evidence, stage) for stage in evidence.stages() if self.fits(evidence, stage)]
        return tuple(grid for grid in made if any(line.kind == "ours" and not line.missing for line in grid.lines))

    def _grid(self, evidence: Evidence, stage: Stage) -> PaperGrid:
        pairs = [evidence.first_pair(stage)] if self.own else evidence.pairs(stage)
        known = PROTOCOLS[stage.protocol].losses
        methods = [method for method in self.methods if method.score or method.loss in known]
        table = _Table(self, evidence, stage)
        lines: list[Line] = []
        for pair in pairs:
            for condition, data in self.sets(evidence, stage, pair[1]):
                lines += table.block(pair, condition, data, methods)
                if self.reference and self.own:
                    lines += table.reference(pair, data, self.reference)
        if self.reference and not self.own:
            for classifier in dict.fromkeys(pair[1] for pair in pairs):
                for _, data in self.sets(evidence, stage, classifier):
                    lines += table.reference(("none", classifier), data, self.reference)
        if not self.own and len(evidence.classifiers(stage)) == 1:
            table.notes.append("One classifier is here, hence one pair; with a second one there are the paper's four.")
        return PaperGrid(
            str(stage),
            ("⟨oracle, classifier⟩", "data", "method"),
            tuple(heads(self.columns, stage.protocol)),
            tuple(lines),
            tuple(dict.fromkeys([*table.on_others(), *table.notes, *table.on_published(), *self.notes])),
            commands(table.needs, evidence.place),
        )


def heads(columns: Mapping[str, Column], protocol: str) -> Iterator[str]:
    """The columns' headings, with the direction that a protocol gives them."""
    for key, column in columns.items():
        yield column.label + ({"released": " ↓"}.get(protocol, " ↑") if key == "aupr_error" else "")


class _Table:
    """One grid in the making: its rows, and what is to be said under it."""

    def __init__(self, comparison: Comparison, evidence: Evidence, stage: Stage) -> None:
        self.comparison, self.evidence, self.stage = comparison, evidence, stage
        self.needs: list[Need] = []
        self.notes: list[str] = []
        self.others: list[str] = []
        self.apart: list[list[str]] = []
        self.alike = 0
        self.not_given: list[str] = []
        self.remarks: list[str] = []

    def block(self, pair: Pair, condition: str, data: str, methods: Sequence[Method]) -> Iterator[Line]:
        """The rows of one pair on one data set; one row for all methods where none of them has been run."""
        name = pair_name(pair)
        shown = data if self.evidence.cached(data, pair[1]) else condition
        gap = (MISSING,) * len(self.comparison.columns)
        rows = self._rows(pair, data, methods)
        for method, found in rows:
            self.needs += needs_of(self.evidence, self.stage, data, pair, method, found)
        if not any(found for _, found in rows):
            labels = [method.label for method in methods]
            yield Line((name, shown, ", ".join(labels) if len(labels) < 6 else f"all {len(labels)} methods"), gap)
            return
        for method, found in rows:
            if found is None:
                yield Line((name, shown, method.label), gap)
                continue
            label = row_label(method, found)
            yield Line((name, shown, label), values(self.comparison.columns, found), seeds=len(found.seeds))
            if found.others:
                self.others.append(label.partition(" (")[0])
            yield from self._published(name, shown, method, found)

    def _rows(self, pair: Pair, data: str, methods: Sequence[Method]) -> list[tuple[Method, Found | None]]:
        """What is there of each method; those of one loss trained alike where there are such runs, else said."""
        rows: list[tuple[Method, Found | None]] = []
        first: dict[str, int] = {}
        for place, method in enumerate(methods):
            loss = str(method.settings.get("base", method.loss))
            earlier, before = rows[first[loss]] if loss in first else (method, None)
            found = self.evidence.find(self.stage, data, pair, method, before)
            rows.append((method, found))
            if found and before and not trained_alike(found.first, before.first):
                again = self.evidence.find(self.stage, data, pair, earlier, found)
                assert again is not None
                rows[first[loss]] = earlier, again
                if not trained_alike(found.first, again.first):
                    names = f"{row_label(earlier, again, SEEDS)} and {row_label(method, found, SEEDS)}"
                    self.notes.append(f"{names}: trained with other settings each, so more than one thing differs.")
            elif found and method.loss:
                first.setdefault(loss, place)
        return rows

    def reference(self, pair: Pair, data: str, method: Method) -> Iterator[Line]:
        """A row that the paper does not have."""
        if found := self.evidence.find(self.stage, data, pair, method):
            cells = values(self.comparison.columns, found)
            yield Line((pair_name(pair), data, method.label), cells, "reference")

    def _published(self, pair: str, data: str, method: Method, found: Found) -> Iterator[Line]:
        table = self.comparison.published
        if not table:
            return
        apart = mismatches(self.evidence, DEFINITIONS[table], found, method.name)
        self.apart += [apart] if apart else []
        self.alike += not apart
        if not apart and (row := beside(table, found, method.name, self.comparison.columns)):
            cells = tuple(cell or Value(math.nan) for cell in row)
            yield Line((pair, data, "  published"), cells, "published")
            self.not_given += [key for key, cell in zip(self.comparison.columns, row, strict=True) if cell is None]
            self.remarks += [said] if (said := remark(table, found)) else []

    def on_others(self) -> Iterator[str]:
        """Which rows are not all that was run of their kind."""
        if self.others:
            names = ", ".join(dict.fromkeys(self.others))
            yield f"{names}: run with other settings too; the tables by data set show them all."

    def on_published(self) -> Iterator[str]:
        """Why no published figure stands beside some or all rows, in one line; and why one is lacking in a row."""
        for key in dict.fromkeys(self.not_given):
            unlike = DEFINITIONS[self.comparison.published].unlike.get(key)
            reason = unlike or f"the paper does not give {self.comparison.columns[key].label} in every row"
            yield f"Published {UNDEFINED}: {reason}."
        for said in dict.fromkeys(self.remarks):
            yield f"Published figures are of nearly the same training: {said}."
        if not self.apart:
            return
        fewest = min(self.apart, key=len)
        more = ", among other things" if len(fewest) > _MOST_REASONS else ""
        beginning = "Published figures stand beside none of these: they are"
        if self.alike:
            beginning = "Published figures stand beside those rows only that are defined alike; the others' are"
        yield f"{beginning} {'; '.join(fewest[:_MOST_REASONS])}{more}."


def row_label(method: Method, found: Found, seeds: int | None = None) -> str:
    """A row's method with the settings of what was found, and over how many seeds where they are fewer than three."""
    if method.score:
        return method.label
    record = found.first.record
    # The head's form is in the methods' own words, where it matters.
    label = method_label(replace(record, settings={k: v for k, v in record.settings.items() if k != "signed_distance"}))
    if method.signed_distance is not None:
        label += ", over ‖w‖" if method.signed_distance else ", not over ‖w‖"
    if method.start and found.first.config and found.first.config.start:
        label += f", from {method.start}"
    seeds = len(found.seeds) if seeds is None else seeds
    return label if seeds >= SEEDS else f"{label} ({seeds} seed{'s' if seeds > 1 else ''})"


def values(columns: Mapping[str, Column], found: Found) -> tuple[Value, ...]:
    """The cells of a row, averaged over its seeds."""
    return tuple(value([column.of(one) for one in found.scored], column) for column in columns.values())


def value(figures: Sequence[float], column: Column) -> Value:
    """One cell of the figures of all seeds."""
    cell = averaged(figures)
    return Value(cell.mean, cell.std if column.learnt else None, column.scale)
