"""Tables and whole reports on a terminal, within its width; where output goes into a pipe, lines may be longer."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from trustcache.report.comparison import READING, Comparison, legend
from trustcache.report.contents import TO_DRAW, Contents
from trustcache.report.selection import Selection
from trustcache.report.table import LEGEND, Cell, Exhibit, Row, Section, Table

_PIPED_WIDTH = 120
_NARROWEST_LABEL, _NARROWEST_VALUE = 10, 8
_LONGEST_HEAD = 11


def print_report(contents: Contents, selection: Selection, console: Console) -> None:
    """Print the tables of the selected data sets, one legend to them, and an overview of each section."""
    print_comparisons([one for one in contents.comparisons if one.dataset in selection.printed], console)
    print_tables([table for table in contents.tables if table.data in selection.printed], console)
    if selection.left_out:
        console.print(Text(_elsewhere(selection.left_out, contents.sections)), end="\n\n")
    for section in contents.sections:
        _print_overview(section, console)


def print_comparisons(comparisons: Sequence[Comparison], console: Console) -> None:
    """Print comparisons, and one legend to them all."""
    print_tables([one.table() for one in comparisons], console)
    if comparisons:
        best = "starred" if _starred(console) else "bold"
        console.print(Text(f"{READING} The best of each ranking column is {best}."))
        _print_legend(legend(comparisons), console)


def print_exhibits(exhibits: Iterable[Exhibit], console: Console) -> None:
    """Print the whole of some exhibits, with what they lack and the commands that fill it."""
    for one in exhibits:
        console.print(Text(one.title, style="bold"))
        if not one.begun:
            _print_wrapped(console, "  ", f"not run yet: takes {one.requires}" + ("; made by" if one.recipe else ""))
            _print_commands([one.recipe] if one.recipe else [], console)
        print_tables(one.tables, console)
        for title, count in Counter(figure.title for figure in one.figures).items():
            _print_wrapped(console, "  ", f"{count} figure{'s' if count > 1 else ''} in index.html: {title}")
        if one.begun and one.to_draw:
            _print_wrapped(console, "  ", f"{TO_DRAW}:")
            _print_commands(one.to_draw, console)
        console.print()


def print_tables(tables: Iterable[Table], console: Console) -> None:
    """Print tables with their notes and commands; the best values are bold, or starred where nothing can be bold."""
    for table in tables:
        console.print(Text(table.title, style="bold"), crop=False, soft_wrap=True)
        if table.facts:
            console.print(Text(table.facts))
        for line in _lines(table, _room(console), _starred(console)):
            console.print(line, crop=False, soft_wrap=True)
        for note in [*([f"{LEGEND}."] if table.has_gaps else []), *table.notes]:
            _print_wrapped(console, "  ", note)
        _print_commands(table.commands, console)
        console.print()


def _room(console: Console) -> int:
    return console.width if console.is_terminal else max(console.width, _PIPED_WIDTH)


def _starred(console: Console) -> bool:
    return console.color_system is None


@dataclass(frozen=True)
class _Column:
    """A column as lines of text: its heading's two, then those of each row; figures stand to the right."""

    head: tuple[str, str]
    cells: list[list[str]]
    figures: bool = True

    @property
    def width(self) -> int:
        lines = [*self.head, *(line for cell in self.cells for line in cell)]
        return max(map(cell_len, lines), default=0) + self.figures

    def wrapped(self, width: int) -> _Column:
        """Return the column with no line wider than `width` less the space between columns."""
        room, indent = (width - 1, "") if self.figures else (width, "    ")
        cells = [[part for line in cell for part in _wrap(line, room, indent)] for cell in self.cells]
        return _Column(self.head, cells, self.figures)


def _lines(table: Table, room: int, starred: bool) -> Iterator[Text]:
    columns, widths = _columns(table, room, starred)
    for half in (0, 1):
        if any(column.head[half] for column in columns):
            yield _row([[column.head[half]] for column in columns], columns, widths)[0]
    yield Text("─" * sum(widths), style="dim")
    above = ""
    for i, row in enumerate(table.rows):
        if (block := table.block(row)) != above:
            yield Text(block, style="italic")
            above = block
        bold = [row.kind == "marked"] * (len(columns) - len(row.cells)) + [_bold(row, cell) for cell in row.cells]
        styles = ["bold" if so and not starred else "" for so in bold]
        yield from _row([column.cells[i] for column in columns], columns, widths, styles)


def _bold(row: Row, cell: Cell) -> bool:
    return cell.best or row.kind == "marked"


def _columns(table: Table, room: int, starred: bool) -> tuple[list[_Column], list[int]]:
    """Return label and value columns with widths that fit; in a table of blocks a row has one label, its name."""
    blocks = [table.block(row) for row in table.rows]
    labels = [_label_column(table, place) for place in range(len(table.labels))]
    if any(blocks):
        named = _label_column(table, len(table.labels) - 1 if table.grouped else 0)
        labels = [_Column(("", ""), named.cells, figures=False)]
    values = [_value_column(table, i, starred, short=False) for i in range(len(table.columns))]
    if sum(column.width for column in (*labels, *values)) > room:
        values = [_value_column(table, i, starred, short=True) for i in range(len(table.columns))]
    columns = [*labels, *values]
    widths = _fitted([column.width for column in columns], len(labels), room)
    return [column.wrapped(width) for column, width in zip(columns, widths, strict=True)], widths


def _label_column(table: Table, place: int) -> _Column:
    return _Column(("", " " + table.labels[place]), [[" " + row.labels[place]] for row in table.rows], figures=False)


def _value_column(table: Table, place: int, starred: bool, *, short: bool) -> _Column:
    cells = [row.cells[place] for row in table.rows]
    lines = [cell.short() if short else cell.lines for cell in cells]
    if starred and any(cell.best for cell in cells):
        lines = [
            [f"{first}{'*' if cell.best else ' '}", *more] for cell, (first, *more) in zip(cells, lines, strict=True)
        ]
    if all(len(cell) == 1 for cell in lines):
        # Decimal points stand below one another, whether a standard deviation follows them or not.
        tails = [len(text) - text.index(".") if "." in text else 0 for (text,) in lines]
        lines = [[text + " " * (max(tails) - tail)] for (text,), tail in zip(lines, tails, strict=True)]
    return _Column(_halves(table.columns[place].head), lines)


def _halves(head: str) -> tuple[str, str]:
    """Break a heading in two, at its hyphen, or before its last word where it is long."""
    first, dash, second = head.rpartition("-")
    if dash:
        return first + dash, second
    if len(head) > _LONGEST_HEAD and " " in head:
        first, _, second = head.rpartition(" ")
        return first, second
    return "", head


def _fitted(widths: list[int], labels: int, room: int) -> list[int]:
    """Return widths that fit: the widest label shrinks first, then the widest columns of figures."""
    widths = [*widths]
    for places, least in ((range(labels), _NARROWEST_LABEL), (range(labels, len(widths)), _NARROWEST_VALUE)):
        while sum(widths) > room and places and max(widths[i] for i in places) > least:
            widths[max(places, key=lambda i: widths[i])] -= 1
    return widths


def _row(
    cells: Sequence[Sequence[str]], columns: Sequence[_Column], widths: Sequence[int], styles: Sequence[str] = ()
) -> list[Text]:
    lines = []
    for parts in zip_longest(*cells, fillvalue=""):
        line = Text()
        for i, (part, column, width) in enumerate(zip(parts, columns, widths, strict=True)):
            pad = " " * (width - cell_len(part))
            line.append(pad + part if column.figures else part + pad, style=styles[i] if styles else "")
        lines.append(line)
    return lines


def _wrap(text: str, width: int, indent: str) -> list[str]:
    if cell_len(text) <= width:
        return [text]
    return textwrap.wrap(text, width, subsequent_indent=indent) or [text]


def _print_legend(groups: Mapping[str, Sequence[tuple[str, str]]], console: Console) -> None:
    for title, entries in groups.items():
        console.print(Text(title, style="bold"))
        grid = RichTable.grid(padding=(0, 2))
        for term, meaning in entries:
            grid.add_row(Text("  " + term, no_wrap=True), Text(meaning))
        console.print(grid)
    console.print()


def _elsewhere(left_out: int, sections: Sequence[Section]) -> str:
    told = f"{left_out:,} more tables, of variants, are in report.md and index.html, and all figures in results.csv"
    keys = [one.key for section in sections for one in section.begun if one.key in section.variants]
    return f"{told}. In short: trustcache report --only {','.join(keys)}" if keys else f"{told}."


def _print_overview(section: Section, console: Console) -> None:
    """Print a line for each exhibit begun, and what those not begun take."""
    console.print(Text(section.title, style="bold"))
    for one in section.begun:
        gaps = ", with gaps" if one.has_gaps else ""
        _print_wrapped(console, f"  {one.key:<11}", f"{one.title.partition(': ')[2]} ({one.state()}{gaps})")
    _print_wrapped(console, "  ", "One of them, with the commands that fill its gaps: trustcache report --only KEY")
    if not section.not_begun:
        return
    console.print(Text("Not run yet", style="bold"))
    by_requirement: dict[str, list[str]] = {}
    for one in section.not_begun:
        by_requirement.setdefault(one.requires, []).append(one.key)
    for requirement, keys in by_requirement.items():
        _print_wrapped(console, "  ", f"{', '.join(keys)}: takes {requirement}")
    first = section.not_begun[0]
    if first.recipe:
        _print_commands([f"To make one: {first.recipe.replace(first.key, 'KEY', 1)}"], console, "  ")


def _print_commands(commands: Iterable[str], console: Console, indent: str = "    ") -> None:
    """Print commands, which are for copying: they are never broken into lines."""
    for command in commands:
        console.print(Text(f"{indent}{command}"), crop=False, soft_wrap=True)


def _print_wrapped(console: Console, start: str, text: str) -> None:
    indent = " " * len(start)
    filled = textwrap.fill(start + text, max(console.width, 40), subsequent_indent=indent, break_on_hyphens=False)
    console.print(Text(filled), crop=False)
