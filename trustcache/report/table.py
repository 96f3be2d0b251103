"""The one table model: every table of a report is a `Table`, and every renderer shows any of them.

An `Exhibit` gathers the tables and figures that answer one question, a `Section` the exhibits of one source.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from trustcache.report.charts import Chart

GAP = "□"
UNDEFINED = "–"
LEGEND = f"{GAP} is not run yet; {UNDEFINED} is a value that at least one seed leaves undefined"


@dataclass(frozen=True)
class Cell:
    """One value of a table: the mean over seeds and its sample standard deviation, None for one seed.

    mean: None where nothing was run (a gap), nan where the value is undefined. scale, digits, signed: how numbers are
    written; text replaces them. interval: its ends, in mean's unit. mark: a sign behind the value. best: emphasised.
    """

    mean: float | None
    std: float | None = None
    scale: float = 100.0
    digits: int = 2
    signed: bool = False
    interval: tuple[float, float] | None = None
    mark: str = ""
    best: bool = False
    text: str | None = None

    @property
    def missing(self) -> bool:
        return self.mean is None

    @property
    def undefined(self) -> bool:
        return self.mean is not None and math.isnan(self.mean)

    @property
    def lines(self) -> list[str]:
        """The value, and where it has one its interval."""
        if self.text is not None:
            return [self.text]
        if self.mean is None or self.undefined:
            return [GAP if self.mean is None else UNDEFINED]
        value = self._number(self.mean) + (f" ± {self._number(self.std)}" if self.std is not None else "")
        ends = [f"[{', '.join(map(self._number, self.interval))}]"] if self.interval else []
        return [f"{value} {self.mark}".strip(), *ends]

    def __str__(self) -> str:
        return " ".join(self.lines)

    def short(self, digits: int) -> list[str]:
        """Return `lines` with so many digits, if there are more, and nothing around the sign of the deviation."""
        return [line.replace(" ± ", "±") for line in replace(self, digits=min(digits, self.digits)).lines]

    def _number(self, value: float) -> str:
        return f"{self.scale * value:{'+' if self.signed else ''}.{self.digits}f}"


MISSING = Cell(None)


def averaged(values: Sequence[float], **written: Any) -> Cell:
    """Return the mean and sample standard deviation of the seeds' values; nan where any of them is not finite.

    written: fields of the cell that say how it is shown.
    """
    if not all(math.isfinite(value) for value in values):
        return Cell(math.nan, **written)
    mean = statistics.fmean(values)
    # `statistics.stdev` computes with fractions, a hundred times as long.
    squares = math.fsum((value - mean) ** 2 for value in values)
    return Cell(mean, math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else None, **written)


def best_cells(cells: Sequence[Cell], *, higher: bool) -> frozenset[int]:
    """Return the places of the best values; equal ones where the table shows them equal, none without a rival."""
    finite = {i: cell for i, cell in enumerate(cells) if cell.mean is not None and not cell.undefined}
    if len(finite) < 2:
        return frozenset()
    digits = min(cell.digits for cell in finite.values())
    shown = {i: round(cell.scale * (cell.mean or 0.0), digits) for i, cell in finite.items()}
    best = (max if higher else min)(shown.values())
    return frozenset(i for i, value in shown.items() if value == best)


@dataclass(frozen=True)
class Column:
    """A value column: its heading, its meaning, and its good end, "high" or "low".

    spare: above 0 where a narrow terminal may leave the column out, the highest first.
    """

    head: str
    meaning: str = ""
    good: str = "high"
    spare: int = 0


@dataclass(frozen=True)
class Row:
    """Labels, then one cell a value column.

    kind: "ours"; "published", a paper's figures; "setting", another setting of a row above; "reference", a row beside
    the table's own; "mean", over other rows; "baseline", what the others are compared with; "marked", emphasised whole.
    seeds: the number of seeds behind the cells. block: heading of the rows it stands among, for a terminal, which
    prints one label a row.
    """

    labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    kind: str = "ours"
    seeds: int = 0
    block: str = ""

    @property
    def missing(self) -> bool:
        return all(cell.missing for cell in self.cells)

    def emphasised(self, column: int) -> Row:
        """Return the row with the cell of one column emphasised."""
        cells = (replace(cell, best=cell.best or i == column) for i, cell in enumerate(self.cells))
        return replace(self, cells=tuple(cells))


@dataclass(frozen=True)
class Table:
    """A table with the text before and after it.

    labels: headings of the label columns. grouped: all labels but the last name a block of rows, and are shown once.
    notes: sentences below. commands: what fills its gaps. data: the data set. papers: False for one that is laid out as
    a paper's table and of another setting.
    """

    title: str
    facts: str
    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    grouped: bool = False
    data: str = ""
    papers: bool = True

    @property
    def heads(self) -> tuple[str, ...]:
        """The headings of the value columns."""
        return tuple(column.head for column in self.columns)

    @property
    def has_gaps(self) -> bool:
        return any(cell.missing for row in self.rows for cell in row.cells)

    def narrower(self) -> Iterator[Table]:
        """Yield the table, and then with fewer and fewer of the columns that a narrow terminal may leave out."""
        yield self
        for least in sorted({column.spare for column in self.columns} - {0}, reverse=True):
            kept = [i for i, column in enumerate(self.columns) if column.spare < least]
            rows = tuple(replace(row, cells=tuple(row.cells[i] for i in kept)) for row in self.rows)
            yield replace(self, columns=tuple(self.columns[i] for i in kept), rows=rows)

    def block(self, row: Row) -> str:
        """Return the heading of the block that a row stands in, "" where the table has no blocks."""
        return row.block or (" · ".join(filter(None, row.labels[:-1])) if self.grouped else "")

    def shown_labels(self) -> list[tuple[str, ...]]:
        """Return each row's labels, in a grouped table blank where the row above has the same."""
        shown: list[tuple[str, ...]] = []
        above: tuple[str, ...] = ()
        for row in self.rows:
            same = 0
            while self.grouped and same < min(len(above), len(row.labels) - 1) and above[same] == row.labels[same]:
                same += 1
            shown.append(("",) * same + row.labels[same:])
            above = row.labels
        return shown

    def texts(self, written: Callable[[str, bool], str]) -> Iterator[list[str]]:
        """Yield each row's labels and values; `written` makes text of one, and is told if it is emphasised."""
        for row, labels in zip(self.rows, self.shown_labels(), strict=True):
            marked = row.kind == "marked"
            values = (written(str(cell), cell.best or marked) for cell in row.cells)
            yield [*(written(label, marked) for label in labels), *values]

    def starts_block(self) -> list[bool]:
        """Return for each row whether it begins a new block below another one."""
        blocks = [self.block(row) for row in self.rows]
        return [i > 0 and block != blocks[i - 1] for i, block in enumerate(blocks)]


def grouped_table(
    title: str,
    labels: Sequence[str],
    heads: Iterable[str],
    rows: Iterable[Row],
    notes: Iterable[str] = (),
    commands: Iterable[str] = (),
) -> Table:
    """Return a table whose labels but the last name blocks of rows, as printed papers have them.

    In columns whose heading has an arrow, the best of our values in each block is emphasised.
    """
    columns, rows = tuple(map(Column, heads)), list(rows)
    ours = [i for i, row in enumerate(rows) if row.kind == "ours"]
    for _, block in groupby(ours, key=lambda i: rows[i].labels[:-1]):
        places = list(block)
        for column, head in enumerate(columns):
            if head.head[-1:] in ("↑", "↓"):
                for best in best_cells([rows[i].cells[column] for i in places], higher=head.head.endswith("↑")):
                    rows[places[best]] = rows[places[best]].emphasised(column)
    return Table(title, "", tuple(labels), columns, tuple(rows), tuple(notes), tuple(commands), grouped=True)


@dataclass(frozen=True)
class Figure:
    """One figure: the title it stands under, its chart, and a caption."""

    title: str
    chart: Chart
    caption: str = ""


@dataclass(frozen=True)
class Exhibit:
    """One numbered table or figure as far as the workspace makes it; `requires` says what it takes to have any of it.

    to_draw: the commands for what its figures lack. recipe: the command that makes all of it, "" for none.
    """

    key: str
    title: str
    requires: str
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    to_draw: tuple[str, ...] = ()
    recipe: str = ""

    @property
    def begun(self) -> bool:
        return bool(self.tables or self.figures)

    @property
    def has_gaps(self) -> bool:
        return bool(self.to_draw or any(table.commands for table in self.tables))

    def state(self) -> str:
        """Say how much of it there is, such as "3 of 4 rows, 2 figures"."""
        rows = [row for table in self.tables for row in table.rows if row.kind != "published"]
        there = sum(not row.missing for row in rows)
        words = []
        if rows:
            of = "" if there == len(rows) else f" of {len(rows)}"
            words.append(f"{there}{of} row" + ("s" if len(rows) > 1 else ""))
        if self.figures:
            words.append(f"{len(self.figures)} figure" + ("s" if len(self.figures) > 1 else ""))
        return ", ".join(words)


@dataclass(frozen=True)
class Section:
    """The exhibits of one source, such as a paper's. about: a sentence below its title. variants: keys of the exhibits
    that sum up many data sets."""

    key: str
    title: str
    about: str
    exhibits: tuple[Exhibit, ...]
    variants: tuple[str, ...] = ()

    @property
    def begun(self) -> list[Exhibit]:
        return [exhibit for exhibit in self.exhibits if exhibit.begun]

    @property
    def not_begun(self) -> list[Exhibit]:
        return [exhibit for exhibit in self.exhibits if not exhibit.begun]
