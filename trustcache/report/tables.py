"""The comparison tables: records gathered over seeds into ordered rows, shown on a terminal or in Markdown."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from trustcache.losses import LOSSES, loss_settings
from trustcache.metrics.ranking import METRICS, table_columns
from trustcache.protocols import PROTOCOLS
from trustcache.report.records import Record
from trustcache.scores import POST_HOC

COLUMNS = table_columns()
# The others depend on where a method's threshold lies: TPR alone is best for a method that trusts everything.
RANKING = tuple(key for key in COLUMNS if not METRICS[key].at_threshold)

METHODS = {name: score.meaning for name, score in POST_HOC.items()} | {
    name: loss.meaning for name, loss in LOSSES.items()
}
SETTINGS = (
    {key: (setting.symbol or f"{key}=", setting.meaning) for key, setting in loss_settings().items() if key != "base"}
    | {
        "head": ("", "what the oracle is on top of the frozen model, and which of its outputs it looks at"),
        "rows": ("on its ", "scored on this half of the data only, since an oracle learnt from the other one"),
        "also": ("with ", "what the oracle learnt from beside its training data: the same images, changed"),
    }
    | {key: shown for score in POST_HOC.values() for key, shown in score.settings.items()}
)
TRAININGS = {
    None: "computed from the classifier's outputs; there is no oracle to train",
    "frozen": "only a head is trained, on cached features; the backbone stays as it was",
    "fine-tuned": "backbone and head are trained together, on images",
}
READING = (
    "All figures are percent. ↑ higher is better, ↓ lower is better. a ± b is mean and sample standard "
    "deviation over seeds. – is a value that at least one seed leaves undefined."
)
_PIPED_WIDTH = 120
_NARROWEST_LABEL = 10
_INDENT = " "

Setting = tuple[str, float | str]


@dataclass(frozen=True)
class Cell:
    """Mean and sample standard deviation over seeds, as fractions.

    `mean` is nan where any seed lacks the value; `std` is None where there is one seed only.
    """

    mean: float
    std: float | None

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "–"
        if self.std is None:
            return f"{100 * self.mean:.2f}"
        return f"{100 * self.mean:.1f} ± {100 * self.std:.1f}"


_ABSENT = Cell(math.nan, None)


@dataclass(frozen=True)
class Row:
    """One method, its records averaged over seeds; `cells` has every metric the records have."""

    oracle: str | None
    method: str
    training: str | None
    settings: tuple[Setting, ...]
    seeds: int
    cells: dict[str, Cell]
    meaning: str = ""


@dataclass(frozen=True)
class Table:
    """All methods on one data set of one classifier under one protocol.

    Protocols never share a table: they define AUPR-Error with opposite signs. `n` is the number of samples,
    the largest where records differ; `accuracy` is the classifier's.
    """

    dataset: str
    classifier: str
    protocol: str
    n: int
    accuracy: Cell
    rows: tuple[Row, ...]

    @property
    def facts(self) -> str:
        """Size, classifier, accuracy and protocol in one line."""
        return f"n {self.n:,} · classifier {self.classifier}, accuracy {self.accuracy} % · protocol {self.protocol}"


def table_key(record: Record) -> tuple[str, str, str]:
    """What the records of one table share: data set, classifier, protocol."""
    return record.dataset, record.classifier, record.protocol


def row_key(entry: Record | Row) -> tuple[str | None, str, str | None, tuple[Setting, ...]]:
    """What the records of one row share: everything but the seed and the run."""
    settings = entry.settings if isinstance(entry, Row) else tuple(sorted(entry.settings.items()))
    return entry.oracle, entry.method, entry.training, settings


class Labelled(Protocol):
    """What has a method and its settings: a record, a row, a sweep's candidate."""

    @property
    def method(self) -> str: ...
    @property
    def settings(self) -> Mapping[str, float | str] | tuple[Setting, ...]: ...


def method_label(entry: Labelled) -> str:
    """A method with its settings as people write them: "ss α⁺1 α⁻3", "class-balanced ce β0.999", "ce depth=2"."""
    texts = {name: v if isinstance(v, str) else f"{v:g}" for name, v in sorted(dict(entry.settings).items())}
    base = [texts.pop("base")] if "base" in texts else []
    known = [SETTINGS[name][0] + texts.pop(name) for name in SETTINGS if name in texts]
    return " ".join([entry.method, *base, *known, *(f"{name}={text}" for name, text in texts.items())])


def entry_name(entry: Record | Row, *, with_oracle: bool) -> str:
    """A method with its settings and training, and where asked its oracle: "ss α⁺1 α⁻3, frozen, vit"."""
    words = [method_label(entry), entry.training, entry.oracle if with_oracle else None]
    return ", ".join(word for word in words if word)


def build_tables(records: Iterable[Record]) -> list[Table]:
    """Average `records` over seeds; tables by name, rows from no training over frozen to fine-tuned.

    Members of a family (`cifar10-c/fog/3`), of which there may be a hundred, come after the other data sets.
    """
    by_table: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        by_table.setdefault(table_key(record), []).append(record)
    return [_table(by_table[key]) for key in sorted(by_table, key=lambda key: ("/" in key[0], key))]


def _table(records: list[Record]) -> Table:
    by_row: dict[object, list[Record]] = {}
    for record in records:
        by_row.setdefault(row_key(record), []).append(record)
    rows = sorted((_row(group) for group in by_row.values()), key=_row_order)
    largest = max(records, key=lambda record: record.n)
    accuracy = Cell(largest.metrics.get("accuracy", math.nan), None)
    return Table(*table_key(largest), n=largest.n, accuracy=accuracy, rows=tuple(rows))


def _row(records: list[Record]) -> Row:
    oracle, method, training, settings = row_key(records[0])
    keys = dict.fromkeys(key for record in records for key in record.metrics)
    cells = {key: averaged([record.metrics.get(key, math.nan) for record in records]) for key in keys}
    return Row(oracle, method, training, settings, len(records), cells, records[0].meaning)


def averaged(values: Sequence[float]) -> Cell:
    """Mean and sample standard deviation; nan where any value is not finite, and no deviation of one value."""
    if not all(math.isfinite(value) for value in values):
        return Cell(math.nan, None)
    return Cell(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def _row_order(row: Row) -> tuple[object, ...]:
    trainings, methods, settings = list(TRAININGS), list(METHODS), dict(row.settings)
    names = [*(name for name in SETTINGS if name in settings), *sorted(settings.keys() - SETTINGS.keys())]
    return (
        trainings.index(row.training) if row.training in trainings else len(trainings),
        row.training or "",
        row.oracle or "",
        methods.index(row.method) if row.method in methods else len(methods),
        row.method,
        [(name, isinstance(settings[name], str), settings[name]) for name in names],
    )


def higher_is_better(key: str, protocol: str) -> bool | None:
    """The good direction of a metric under a protocol; None where neither end is good."""
    if key == "aupr_error" and protocol == "released":
        return False
    return METRICS[key].higher_is_better if key in METRICS else None


def best_rows(table: Table, key: str) -> frozenset[int]:
    """Indices of the rows with the best value of a ranking column, none for other columns.

    Values count as equal where the table shows them equal. A value without a rival is not called best.
    """
    cells = [row.cells.get(key, _ABSENT) for row in table.rows]
    digits = 3 if any(cell.std is not None for cell in cells) else 4
    shown = {i: round(cell.mean, digits) for i, cell in enumerate(cells) if math.isfinite(cell.mean)}
    higher = higher_is_better(key, table.protocol)
    if key not in RANKING or higher is None or len(shown) < 2:
        return frozenset()
    best = max(shown.values()) if higher else min(shown.values())
    return frozenset(i for i, value in shown.items() if value == best)


def heading(key: str, protocol: str) -> str:
    """A column's label with the arrow of its good direction, such as "FPR@95 ↓"."""
    arrow = {True: " ↑", False: " ↓", None: ""}[higher_is_better(key, protocol)]
    return f"{METRICS[key].label if key in METRICS else key}{arrow}"


def legend(tables: Sequence[Table]) -> dict[str, list[tuple[str, str]]]:
    """What the columns and all names in these tables mean: terms with their meanings, by group; no group is empty."""
    rows = [row for table in tables for row in table.rows]
    methods, trainings = {row.method for row in rows}, {row.training for row in rows}
    settings = {name for row in rows for name, _ in row.settings}
    own = {row.method: row.meaning for row in rows if row.method not in METHODS}
    protocols = {table.protocol for table in tables}
    groups = {
        "Columns": [(METRICS[key].label, METRICS[key].meaning) for key in COLUMNS],
        "Methods": [(name, text) for name, text in (METHODS | own).items() if name in methods],
        "Settings": [shown for name, shown in SETTINGS.items() if name in settings],
        "Training": [(name or "none", text) for name, text in TRAININGS.items() if name in trainings],
        "Protocol": [(name, protocol.meaning) for name, protocol in PROTOCOLS.items() if name in protocols],
    }
    return {title: entries for title, entries in groups.items() if entries}


def print_tables(records: Iterable[Record], console: Console) -> None:
    """Print every table, and one legend to them all, on `console`.

    On a terminal they fit its width, down to 80 columns, and the best values are bold. Where nothing can be
    bold (a pipe, a file, a dumb terminal) the best values carry a star; a pipe's lines may be longer than 80.
    """
    width = console.width if console.is_terminal else max(console.width, _PIPED_WIDTH)
    starred = console.color_system is None
    tables = build_tables(records)
    for table in tables:
        console.print(Text(table.dataset, style="bold"))
        console.print(Text(table.facts))
        for part in _terminal_parts(table, width, starred):
            console.print(part, crop=False)
    if tables:
        best = "starred" if starred else "bold"
        console.print(Text(f"{READING} The best of each ranking column is {best}."))
        for title, entries in legend(tables).items():
            console.print(Text(title, style="bold"))
            grid = RichTable.grid(padding=(0, 2))
            for term, meaning in entries:
                grid.add_row(Text("  " + term, no_wrap=True), Text(meaning))
            console.print(grid)


def _terminal_parts(table: Table, width: int, starred: bool) -> Iterator[RichTable | Text]:
    longest = len(_INDENT) + max(cell_len(method_label(row)) for row in table.rows)
    for plus_minus in (" ± ", "±"):
        columns = [_column(table, key, plus_minus, starred) for key in COLUMNS]
        taken = sum(len(column[0]) for column in columns)
        if longest + taken <= width:
            break
    widths = [max(min(longest, width - taken), _NARROWEST_LABEL), *(len(column[0]) for column in columns)]
    best = [best_rows(table, key) for key in COLUMNS]

    def grid(lines: Iterable[list[Text]]) -> RichTable:
        made = RichTable(box=None, show_header=False, padding=0, width=sum(widths))
        for column_width in widths:
            made.add_column(width=column_width, overflow="fold")
        for line in lines:
            made.add_row(*line)
        return made

    def line(i: int) -> list[Text]:
        label = textwrap.wrap(method_label(table.rows[i]), widths[0], initial_indent=_INDENT, subsequent_indent="    ")
        cells = [Text(c[2 + i], style="bold" if i in b else "") for c, b in zip(columns, best, strict=True)]
        return [Text("\n".join(label)), *cells]

    heads = [[Text(), *(Text(column[k]) for column in columns)] for k in (0, 1)]
    yield grid([*heads, [Text("─" * n, style="dim") for n in widths]])
    for title, members in groupby(range(len(table.rows)), key=lambda i: _group_title(table, table.rows[i])):
        yield Text(title, style="italic")
        yield grid(map(line, members))
    yield Text()


def _column(table: Table, key: str, plus_minus: str, starred: bool) -> list[str]:
    """A head of two lines, then a cell a row, all padded to one width."""
    first, dash, second = heading(key, table.protocol).rpartition("-")
    best = best_rows(table, key)
    texts = [str(row.cells.get(key, _ABSENT)).replace(" ± ", plus_minus) for row in table.rows]
    if starred and best:
        texts = [text + ("*" if i in best else " ") for i, text in enumerate(texts)]
    # Decimal points stand below one another, whether a standard deviation follows them or not.
    tails = [len(text) - text.index(".") if "." in text else 0 for text in texts]
    lines = [text + " " * (max(tails) - tail) for text, tail in zip(texts, tails, strict=True)]
    lines = [first + dash, second, *lines]
    width = 1 + max(map(len, lines))
    return [line.rjust(width) for line in lines]


def _group_title(table: Table, row: Row) -> str:
    if row.training is None:
        return "no training"
    seeds = {r.seeds for r in table.rows if (r.oracle, r.training) == (row.oracle, row.training)}
    counted = "1 seed" if seeds == {1} else "–".join(map(str, sorted({min(seeds), max(seeds)}))) + " seeds"
    return f"{row.training}, oracle {row.oracle}, {counted}"
