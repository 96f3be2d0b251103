"""The comparison tables: records averaged over seeds, one table a data set, classifier and protocol."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from trustcache.metrics.ranking import METRICS
from trustcache.protocols import PROTOCOLS
from trustcache.report.footnotes import footnotes
from trustcache.report.names import BASELINE, TRAININGS, entry_name, method_label, method_meaning, methods, settings
from trustcache.report.records import Record
from trustcache.report.table import UNDEFINED, Cell, Column, Row, Table, averaged, best_cells

_PLACES = {key: metric.column for key, metric in METRICS.items() if metric.column is not None}
COLUMNS = tuple(sorted(_PLACES, key=_PLACES.__getitem__))
# The others depend on where a method's threshold lies: TPR alone is best for a method that trusts everything.
RANKING = tuple(key for key in COLUMNS if not METRICS[key].at_threshold)
# The least told of beside AUC and AURC; a narrow terminal leaves these out, the highest first.
_SPARE = {"aupr_error": 2, "aupr_success": 2, "tpr": 1, "tnr": 1}
READING = (
    "All figures are percent. ↑ higher is better, ↓ lower is better. a ± b is mean and sample standard "
    f"deviation over seeds. {UNDEFINED} is a value that at least one seed leaves undefined."
)

_UNDEFINED = Cell(math.nan)


@dataclass(frozen=True)
class Average:
    """The records of one method, averaged over seeds; `cells` has every metric the records have."""

    records: tuple[Record, ...]
    cells: dict[str, Cell]

    @property
    def record(self) -> Record:
        """The record of the first seed."""
        return min(self.records, key=lambda record: record.seed or 0)

    @property
    def seeds(self) -> int:
        return len(self.records)

    def cell(self, metric: str) -> Cell:
        return self.cells.get(metric, _UNDEFINED)

    def value(self, metric: str) -> float:
        """Return a metric's mean, nan where it is undefined."""
        mean = self.cell(metric).mean
        return math.nan if mean is None else mean


@dataclass(frozen=True)
class Comparison:
    """All methods on one data set of one classifier under one protocol.

    Protocols never share a table: they define AUPR-Error with opposite signs. n: the number of samples, the largest
    where records differ. accuracy: the classifier's. title: the data set, with whatever tells it from the others of it.
    """

    dataset: str
    classifier: str
    protocol: str
    n: int
    accuracy: Cell
    rows: tuple[Average, ...]
    title: str

    @property
    def facts(self) -> str:
        """Size, classifier, accuracy and protocol in one line."""
        return f"n {self.n:,} · classifier {self.classifier}, accuracy {self.accuracy} % · protocol {self.protocol}"

    @property
    def baseline(self) -> Average | None:
        return next((row for row in self.rows if row.record.method == BASELINE), None)

    @property
    def methods(self) -> int:
        """The number of methods that stand beside mcp, a row each with all its seeds."""
        return sum(row.record.method != BASELINE for row in self.rows)

    @property
    def several_oracles(self) -> bool:
        return len({row.record.oracle for row in self.rows if row.record.oracle}) > 1

    def best(self, metric: str) -> frozenset[int]:
        """Return the rows with the best value of a ranking metric, none for other metrics."""
        higher = higher_is_better(metric, self.protocol)
        if metric not in RANKING or higher is None:
            return frozenset()
        return best_cells([row.cell(metric) for row in self.rows], higher=higher)

    def leaders(self) -> list[Average]:
        """Return the rows of highest AUC."""
        return [self.rows[i] for i in sorted(self.best("auc"))]

    def finding(self) -> str:
        """Say which method ranks best, beside the one that costs nothing; "" where no AUC has a rival."""
        leaders, baseline = self.leaders(), self.baseline
        if not leaders:
            return ""
        names = " and ".join(entry_name(row.record, with_oracle=self.several_oracles) for row in leaders[:2])
        by = names if len(leaders) < 3 else f"{len(leaders)} methods alike"
        text = f"Highest AUC: {leaders[0].cell('auc')}, by {by}."
        if baseline in leaders:
            return f"{text} No trained method ranks better than the classifier’s own confidence ({BASELINE})."
        if baseline:
            text += f" The classifier’s own confidence ({BASELINE}) reaches {baseline.cell('auc')}."
        return text

    def table(self) -> Table:
        best, rows = {key: self.best(key) for key in COLUMNS}, []
        for i, row in enumerate(self.rows):
            one = row.record
            labels = method_label(one), one.oracle or "none", one.training or "none", str(row.seeds)
            cells = tuple(replace(row.cell(key), best=i in best[key]) for key in COLUMNS)
            kind = "baseline" if one.method == BASELINE else "ours"
            rows.append(Row(labels, cells, kind, row.seeds, self._block(one)))
        columns = tuple(column(key, self.protocol) for key in COLUMNS)
        heads = ("Method", "Oracle", "Training", "Seeds")
        notes = tuple(footnotes([record for row in self.rows for record in row.records], COLUMNS))
        return Table(self.title, self.facts, heads, columns, tuple(rows), notes, data=self.dataset)

    def _block(self, one: Record) -> str:
        if one.training is None:
            return "no training"
        made = one.oracle, one.training
        seeds = {row.seeds for row in self.rows if (row.record.oracle, row.record.training) == made}
        counted = "1 seed" if seeds == {1} else "–".join(map(str, sorted({min(seeds), max(seeds)}))) + " seeds"
        return f"{one.training}, oracle {one.oracle}, {counted}"


def table_key(record: Record) -> tuple[str, str, str]:
    """Return what the records of one table share: data set, classifier, protocol."""
    return record.dataset, record.classifier, record.protocol


def _row_key(record: Record) -> tuple[object, ...]:
    """Return what the records of one row share: everything but the seed and the run."""
    return record.oracle, record.method, record.training, tuple(sorted(record.settings.items()))


def compare_methods(records: Iterable[Record]) -> list[Comparison]:
    """Average records over seeds; tables by name, rows from no training over frozen to fine-tuned.

    Members of a family (`cifar10-c/fog/3`), of which there may be a hundred, come after the other data sets.
    """
    by_table: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        by_table.setdefault(table_key(record), []).append(record)
    alike: dict[str, list[tuple[str, ...]]] = {}
    for dataset, *others in by_table:
        alike.setdefault(dataset, []).append(tuple(others))
    titles = {key: _title(*key, *map(set, zip(*alike[key[0]], strict=True))) for key in by_table}
    ordered = sorted(by_table, key=lambda key: ("/" in key[0], key))
    return [_comparison(by_table[key], titles[key]) for key in ordered]


def _title(dataset: str, classifier: str, protocol: str, classifiers: set[str], protocols: set[str]) -> str:
    """Return a data set's name, with the classifier and the protocol where tables of others of it are there."""
    parts = [dataset, *([classifier] if len(classifiers) > 1 else [])]
    return " · ".join([*parts, *([f"protocol {protocol}"] if len(protocols) > 1 else [])])


def _comparison(records: list[Record], title: str) -> Comparison:
    by_row: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        by_row.setdefault(_row_key(record), []).append(record)
    order = list(settings()), methods()
    rows = sorted((_average(group) for group in by_row.values()), key=lambda row: _row_order(row.record, *order))
    largest = max(records, key=lambda record: record.n)
    accuracy = Cell(largest.metrics.get("accuracy", math.nan))
    return Comparison(*table_key(largest), n=largest.n, accuracy=accuracy, rows=tuple(rows), title=title)


def _average(records: list[Record]) -> Average:
    keys = dict.fromkeys(key for record in records for key in record.metrics)
    cells = {key: averaged([r.metrics.get(key, math.nan) for r in records]) for key in keys}
    return Average(tuple(records), cells)


def _row_order(one: Record, known: list[str], methods: list[str]) -> tuple[object, ...]:
    trainings, given = list(TRAININGS), one.settings
    names = [*(name for name in known if name in given), *sorted(given.keys() - {*known})]
    return (
        trainings.index(one.training) if one.training in trainings else len(trainings),
        one.training or "",
        one.oracle or "",
        methods.index(one.method) if one.method in methods else len(methods),
        one.method,
        [(name, isinstance(given[name], str), given[name]) for name in names],
    )


def higher_is_better(key: str, protocol: str) -> bool | None:
    """Return the good direction of a metric under a protocol; None where neither end is good."""
    if protocol in PROTOCOLS and key in PROTOCOLS[protocol].lower_is_better:
        return False
    return METRICS[key].higher_is_better if key in METRICS else None


def heading(key: str, protocol: str) -> str:
    """Return a metric's label with the arrow of its good direction, such as "FPR@95 ↓"."""
    arrow = {True: " ↑", False: " ↓", None: ""}[higher_is_better(key, protocol)]
    return f"{METRICS[key].label if key in METRICS else key}{arrow}"


def column(key: str, protocol: str, prefix: str = "", suffix: str = "") -> Column:
    """Return the column of a metric, with words before and after its heading."""
    good = "low" if higher_is_better(key, protocol) is False else "high"
    return Column(f"{prefix}{heading(key, protocol)}{suffix}", METRICS[key].meaning, good, _SPARE.get(key, 0))


def legend(comparisons: Sequence[Comparison]) -> dict[str, list[tuple[str, str]]]:
    """Return the terms of some comparisons with their meanings, by group; no group is empty."""
    rows = [row.record for comparison in comparisons for row in comparison.rows]
    used = {name for row in rows for name in row.settings}
    order = methods()
    # Scores of the user's own keep their meaning with their numbers.
    meanings = {row.method: row.meaning or method_meaning(row.method) for row in rows}
    named = sorted(meanings, key=lambda m: (order.index(m) if m in order else len(order), m))
    trainings, protocols = {row.training for row in rows}, {comparison.protocol for comparison in comparisons}
    groups = {
        "Columns": [(METRICS[key].label, METRICS[key].meaning) for key in COLUMNS] if rows else [],
        "Methods": [(method, meanings[method]) for method in named if meanings[method]],
        "Settings": [(prefix, meaning) for name, (prefix, meaning) in settings().items() if name in used],
        "Training": [(name or "none", text) for name, text in TRAININGS.items() if name in trainings],
        "Protocol": [(name, protocol.meaning) for name, protocol in PROTOCOLS.items() if name in protocols],
    }
    return {title: entries for title, entries in groups.items() if entries}
