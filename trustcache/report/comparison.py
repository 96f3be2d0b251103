"""The comparison tables: records averaged over seeds, one table a data set, classifier and protocol."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from trustcache.metrics.ranking import METRICS
from trustcache.protocols import PROTOCOLS
from trustcache.report.names import (
    BASELINE,
    TRAININGS,
    entry_name,
    method_label,
    method_meaning,
    methods,
    settings,
)
from trustcache.report.records import Record
from trustcache.report.table import UNDEFINED, Cell, Column, Row, Table, averaged, best_cells

_PLACES = {key: metric.column for key, metric in METRICS.items() if metric.column is not None}
COLUMNS = tuple(sorted(_PLACES, key=_PLACES.__getitem__))
# The others depend on where a method's threshold lies: TPR alone is best for a method that trusts everything.
RANKING = tuple(key for key in COLUMNS if not METRICS[key].at_threshold)
READING = (
    "All figures are percent. ↑ higher is better, ↓ lower is better. a ± b is mean and sample standard "
    f"deviation over seeds. {UNDEFINED} is a value that at least one seed leaves undefined."
)

Setting = tuple[str, float | str]
RowKey = tuple[str | None, str, str | None, tuple[Setting, ...]]
_UNDEFINED = Cell(math.nan)


@dataclass(frozen=True)
class Average:
    """The records of one method, averaged over seeds; `cells` has every metric the records have."""

    oracle: str | None
    method: str
    training: str | None
    settings: tuple[Setting, ...]
    seeds: int
    cells: dict[str, Cell]
    meaning: str = ""

    @property
    def key(self) -> RowKey:
        return self.oracle, self.method, self.training, self.settings

    def cell(self, metric: str) -> Cell:
        return self.cells.get(metric, _UNDEFINED)


@dataclass(frozen=True)
class Comparison:
    """All methods on one data set of one classifier under one protocol.

    Protocols never share a table: they define AUPR-Error with opposite signs. n: the number of samples, the largest
    where records differ. accuracy: the classifier's.
    """

    dataset: str
    classifier: str
    protocol: str
    n: int
    accuracy: Cell
    rows: tuple[Average, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.dataset, self.classifier, self.protocol

    @property
    def facts(self) -> str:
        """Size, classifier, accuracy and protocol in one line."""
        return f"n {self.n:,} · classifier {self.classifier}, accuracy {self.accuracy} % · protocol {self.protocol}"

    @property
    def baseline(self) -> Average | None:
        return next((row for row in self.rows if row.method == BASELINE), None)

    @property
    def several_oracles(self) -> bool:
        return len({row.oracle for row in self.rows if row.oracle}) > 1

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
        names = " and ".join(entry_name(row, with_oracle=self.several_oracles) for row in leaders[:2])
        by = names if len(leaders) < 3 else f"{len(leaders)} methods alike"
        text = f"Highest AUC: {leaders[0].cell('auc')}, by {by}."
        if baseline in leaders:
            return f"{text} No trained method ranks better than the classifier’s own confidence ({BASELINE})."
        if baseline:
            text += f" The classifier’s own confidence ({BASELINE}) reaches {baseline.cell('auc')}."
        return text

    def table(self) -> Table:
        best = {key: self.best(key) for key in COLUMNS}
        rows = tuple(
            Row(
                (method_label(row), row.oracle or "none", row.training or "none", str(row.seeds)),
                tuple(replace(row.cell(key), best=i in best[key]) for key in COLUMNS),
                "baseline" if row.method == BASELINE else "ours",
                row.seeds,
                self._block(row),
            )
            for i, row in enumerate(self.rows)
        )
        columns = tuple(column(key, self.protocol) for key in COLUMNS)
        labels = ("Method", "Oracle", "Training", "Seeds")
        return Table(self.dataset, self.facts, labels, columns, rows, data=self.dataset)

    def _block(self, row: Average) -> str:
        if row.training is None:
            return "no training"
        seeds = {other.seeds for other in self.rows if (other.oracle, other.training) == (row.oracle, row.training)}
        counted = "1 seed" if seeds == {1} else "–".join(map(str, sorted({min(seeds), max(seeds)}))) + " seeds"
        return f"{row.training}, oracle {row.oracle}, {counted}"


def table_key(record: Record) -> tuple[str, str, str]:
    """Return what the records of one table share: data set, classifier, protocol."""
    return record.dataset, record.classifier, record.protocol


def row_key(record: Record) -> RowKey:
    """Return what the records of one row share: everything but the seed and the run."""
    return record.oracle, record.method, record.training, tuple(sorted(record.settings.items()))


def compare_methods(records: Iterable[Record]) -> list[Comparison]:
    """Average records over seeds; tables by name, rows from no training over frozen to fine-tuned.

    Members of a family (`cifar10-c/fog/3`), of which there may be a hundred, come after the other data sets.
    """
    by_table: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        by_table.setdefault(table_key(record), []).append(record)
    return [_comparison(by_table[key]) for key in sorted(by_table, key=lambda key: ("/" in key[0], key))]


def _comparison(records: list[Record]) -> Comparison:
    by_row: dict[RowKey, list[Record]] = {}
    for record in records:
        by_row.setdefault(row_key(record), []).append(record)
    order = list(settings()), methods()
    rows = sorted((_average(group) for group in by_row.values()), key=lambda row: _row_order(row, *order))
    largest = max(records, key=lambda record: record.n)
    accuracy = Cell(largest.metrics.get("accuracy", math.nan))
    return Comparison(*table_key(largest), n=largest.n, accuracy=accuracy, rows=tuple(rows))


def _average(records: list[Record]) -> Average:
    keys = dict.fromkeys(key for record in records for key in record.metrics)
    digits = 1 if len(records) > 1 else 2
    cells = {key: averaged([r.metrics.get(key, math.nan) for r in records], digits=digits) for key in keys}
    return Average(*row_key(records[0]), len(records), cells, records[0].meaning)


def _row_order(row: Average, known: list[str], methods: list[str]) -> tuple[object, ...]:
    trainings, given = list(TRAININGS), dict(row.settings)
    names = [*(name for name in known if name in given), *sorted(given.keys() - {*known})]
    return (
        trainings.index(row.training) if row.training in trainings else len(trainings),
        row.training or "",
        row.oracle or "",
        methods.index(row.method) if row.method in methods else len(methods),
        row.method,
        [(name, isinstance(given[name], str), given[name]) for name in names],
    )


def higher_is_better(key: str, protocol: str) -> bool | None:
    """Return the good direction of a metric under a protocol; None where neither end is good."""
    if key == "aupr_error" and protocol == "released":
        return False
    return METRICS[key].higher_is_better if key in METRICS else None


def heading(key: str, protocol: str) -> str:
    """Return a metric's label with the arrow of its good direction, such as "FPR@95 ↓"."""
    arrow = {True: " ↑", False: " ↓", None: ""}[higher_is_better(key, protocol)]
    return f"{METRICS[key].label if key in METRICS else key}{arrow}"


def column(key: str, protocol: str, prefix: str = "", suffix: str = "") -> Column:
    """Return the column of a metric, with words before and after its heading."""
    good = "low" if higher_is_better(key, protocol) is False else "high"
    return Column(f"{prefix}{heading(key, protocol)}{suffix}", METRICS[key].meaning, good)


def legend(comparisons: Sequence[Comparison]) -> dict[str, list[tuple[str, str]]]:
    """Return the terms of some comparisons with their meanings, by group; no group is empty."""
    rows = [row for comparison in comparisons for row in comparison.rows]
    used = {name for row in rows for name, _ in row.settings}
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
