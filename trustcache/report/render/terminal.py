"""Tables and whole reports on a terminal, within its width; where output goes into a pipe, lines may be longer."""

from __future__ import annotations

import math
import sys
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.segment import Segments
from rich.table import Table as RichTable
from rich.text import Text

from trustcache.errors import visible
from trustcache.report.answer import Answer
from trustcache.report.comparison import READING, Comparison
from trustcache.report.contents import TO_DRAW, Contents
from trustcache.report.names import BASELINE
from trustcache.report.records import Record
from trustcache.report.table import LEGEND, Cell, Exhibit, Section, Table

_PIPED_WIDTH = 120
_NARROWEST_LABEL = 10
_LONGEST_HEAD = 11
_WIDEST_WORD = 24
_FEWER_DIGITS = (None, 2, 1)
_MOST_COMMANDS = 3
_FEW_ROWS = 5
_WHOLE: Any = {"break_on_hyphens": False, "break_long_words": False}  # or a path in a command could not be copied


def print_report(contents: Contents, console: Console, page: str = "", whole: bool = True) -> None:
    """Print the tables that the answers are of, what else there is and where, and last the answers. page: its place.

    whole: False leaves out what pushes the answers out of sight: all rows of a table but mcp's, the answer's and the
    best few of trained oracles, and the overview of the sections.
    """
    stated = {(answer.dataset, answer.classifier) for answer in contents.answers}
    printed = [one for one in contents.comparisons if not stated or (one.dataset, one.classifier) in stated]
    printed = [one for one in printed if one.dataset in contents.selection.printed] or printed[:1]
    short = not whole and bool(stated)
    chosen = [answer.record for answer in contents.answers]
    print_tables([_in_short(one, chosen) if short else one.table() for one in printed], console)
    if short:
        print_answers(contents.answers, console, page)
        return
    if printed:
        console.print(_text(_all_figures(_starred(console))))
    if left_out := len(contents.comparisons) - len(printed):
        console.print(_text(_elsewhere(left_out, contents.sections)))
    for section in contents.sections:
        _print_overview(section, console)
    print_answers(contents.answers, console, page)


def _in_short(comparison: Comparison, chosen: Collection[Record]) -> Table:
    """Return the table with few rows: mcp's, those of the answers' records `chosen`, and those of highest AUC."""
    auc = [row.cell("auc").mean for row in comparison.rows]
    best = sorted(range(len(auc)), key=lambda i: -math.inf if math.isnan(a := auc[i] or math.nan) else a, reverse=True)
    answered = [any(record in chosen for record in row.records) for row in comparison.rows]
    asked = [i for i, row in enumerate(comparison.rows) if answered[i] or row is comparison.baseline]
    kept = sorted(dict.fromkeys([*asked, *best][:_FEW_ROWS]))
    whole, few = comparison.table(), replace(comparison, rows=tuple(comparison.rows[i] for i in kept)).table()
    notes = few.notes
    if left_out := len(whole.rows) - len(kept):
        counted = f"of {comparison.methods} methods beside {BASELINE}, a row each, those of highest AUC"
        notes = (f"Percent; {counted}; {left_out} more row{'s' * (left_out > 1)} with -v, and on the page.", *notes)
    # The best of all rows, not of these few.
    return replace(whole, rows=tuple(whole.rows[i] for i in kept), notes=notes)


def print_answers(answers: Iterable[Answer], console: Console, page: str = "", more: Sequence[str] = ()) -> None:
    """Print what to trust of each classifier, in five lines each, and at most three commands that go on from there.

    page: the page's place, to stand between them. more: commands where an answer has fewer.
    """
    for answer in answers:
        console.print()
        for line in (*answer.lines(), *answer.notes):
            if console.is_terminal:
                _print_wrapped(console, "", line)
            else:
                console.print(_text(line), crop=False, soft_wrap=True)
        if page:
            console.print(_text(f"The page: {page}"), crop=False, soft_wrap=True)
        _print_commands([*answer.commands, *more][:_MOST_COMMANDS], console, "  ")


def print_exhibits(exhibits: Iterable[Exhibit], console: Console) -> None:
    """Print the whole of some exhibits, with what they lack and the commands that fill it."""
    for one in exhibits:
        console.print(_text(one.title, style="bold"))
        if not one.begun:
            _print_wrapped(console, "  ", f"not run yet: takes {one.requires}" + ("; made by" if one.recipe else ""))
            _print_commands([one.recipe] if one.recipe else [], console)
        print_tables(one.tables, console)
        for title, count in Counter(figure.title for figure in one.figures).items():
            _print_wrapped(console, "  ", f"{count} figure{'s' if count > 1 else ''} in paper.html: {title}")
        if one.begun and one.to_draw:
            _print_wrapped(console, "  ", f"{TO_DRAW}:")
            _print_commands(one.to_draw, console)
        console.print()


def print_tables(tables: Iterable[Table], console: Console) -> None:
    """Print tables with their notes and commands; the best values are bold, or starred where nothing can be bold."""
    for table in tables:
        console.print(_text(table.title, style="bold"), crop=False, soft_wrap=True)
        if table.facts:
            console.print(_text(table.facts))
        _print_grid(table, console)
        for note in [*([f"{LEGEND}."] if table.has_gaps else []), *table.notes]:
            _print_wrapped(console, "  ", note)
        _print_commands(table.commands, console)
        console.print()


def _starred(console: Console) -> bool:
    return console.color_system is None


def _print_grid(table: Table, console: Console) -> None:
    """Print a table's heads and rows, with fewer digits and columns where all do not fit.

    A block stands under its name.
    """
    blocks = [table.block(row) for row in table.rows]
    grid, width, fitting = _fitting(table, blocks, console)
    bounded = console.options.update(max_width=width)
    names = (name for name, _ in groupby(blocks) if name)
    for line in console.render_lines(grid, bounded, pad=False, new_lines=True):
        empty = not "".join(segment.text for segment in line).strip()
        shown = _text(next(names), style="italic").append("\n") if empty else Segments(line)
        console.print(shown, end="", crop=False, soft_wrap=True)
    if left_out := [head for head in table.heads if head not in fitting.heads]:
        _print_wrapped(console, "  ", f"Not shown, as the terminal is too narrow: {', '.join(left_out)}.")


def _fitting(table: Table, blocks: Sequence[str], console: Console) -> tuple[RichTable, int, Table]:
    """Return a table's grid, the width to render it in, and the table with the columns that fit.

    Digits go before columns, and labels and texts are broken before a number is: a line is rather too long.
    """
    room = console.width if console.is_terminal else max(console.width, _PIPED_WIDTH)
    unbounded = console.options.update(max_width=sys.maxsize)
    for narrower in table.narrower():
        for digits in _FEWER_DIGITS:
            grid, slack = _grid(narrower, blocks, _starred(console), digits)
            width = console.measure(grid, options=unbounded).maximum
            if width <= room:
                return grid, room, narrower
        if width - slack <= room:
            break
    return grid, max(width - slack, room), narrower


def _grid(table: Table, blocks: Sequence[str], starred: bool, digits: int | None) -> tuple[RichTable, int]:
    """Return heads and rows, and by how much labels and texts may be broken to make them narrower.

    In a table of blocks an empty row begins each, and a row has one label. digits: shorten the values to so many.
    """
    grid = RichTable(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0, header_style="")
    labels = slice(None)
    if any(blocks):
        labels = slice(-1, None) if table.grouped else slice(1)
    heads = [_two_lines(head) for head in table.heads]
    above = "\n" if any("\n" in head for head in heads) else ""
    slack = 0
    for place, name in [*enumerate(table.labels)][labels]:
        widest = max((cell_len(row.labels[place]) + 1 for row in table.rows), default=0)
        word = max((cell_len(word) + 1 for row in table.rows for word in row.labels[place].split()), default=0)
        least = min(widest, max(_NARROWEST_LABEL, min(word, _WIDEST_WORD)))
        slack += widest - least
        grid.add_column("" if any(blocks) else f"{above} {name}", overflow="fold", min_width=least)
    columns = []
    for place, head in enumerate(heads):
        cells = [row.cells[place] for row in table.rows]
        worded, head = any(cell.text for cell in cells), head if "\n" in head else above + head
        grid.add_column(
            _text(head, kept="\n", justify="right"), justify="right" if worded else "left", no_wrap=not worded
        )
        columns.append(_aligned(head, cells, starred, digits))
        if worded:
            lines = "\n".join(columns[-1]).split("\n")
            slack += max(map(cell_len, lines)) - max(
                (cell_len(word) for line in lines for word in line.split()), default=0
            )
    for i, row in enumerate(table.rows):
        if blocks[i] and (i == 0 or blocks[i] != blocks[i - 1]):
            grid.add_row()
        names = [_text(label, _style(row.kind == "marked", starred)) for label in row.labels[labels]]
        styles = [_style(cell.best or row.kind == "marked", starred) for cell in row.cells]
        values = [_text(column[i], style, kept="\n") for column, style in zip(columns, styles, strict=True)]
        grid.add_row(*(Padding(name, (0, 0, 0, 1)) for name in names), *values)
    return grid, slack


def _style(bold: bool, starred: bool) -> str:
    return "bold" if bold and not starred else ""


def _two_lines(head: str) -> str:
    """Break a heading in two: at its hyphen, or before its last word where it is long."""
    first, dash, second = head.rpartition("-")
    if not dash and len(head) > _LONGEST_HEAD:
        first, _, second = head.rpartition(" ")
    return f"{first}{dash}\n{second}" if first else head


def _aligned(head: str, cells: Sequence[Cell], starred: bool, digits: int | None) -> list[str]:
    """Return a column as wide as its heading, with its decimal points below one another."""
    lines = [cell.lines if digits is None else cell.short(digits) for cell in cells]
    if starred and any(cell.best for cell in cells):
        lines = [[first + "* "[not cell.best], *more] for cell, (first, *more) in zip(cells, lines, strict=True)]
    if all(len(cell) == 1 for cell in lines):
        tails = [len(text) - text.index(".") if "." in text else 0 for (text,) in lines]
        lines = [[text + " " * (max(tails) - tail)] for (text,), tail in zip(lines, tails, strict=True)]
    width = max(map(cell_len, [*head.split("\n"), *(line for cell in lines for line in cell)]))
    return ["\n".join(" " * (width - cell_len(line)) + line for line in cell) for cell in lines]


def _all_figures(starred: bool) -> str:
    return f"{READING} The best of each ranking column is {'starred' if starred else 'bold'}."


def _elsewhere(left_out: int, sections: Sequence[Section]) -> str:
    several = "s" if left_out > 1 else ""
    told = f"{left_out:,} more table{several} in report.md and paper.html, and all figures in results.csv"
    keys = [one.key for section in sections for one in section.begun if one.key in section.variants]
    return f"{told}. In short: trustcache report --only {','.join(keys)}" if keys else f"{told}."


def _print_overview(section: Section, console: Console) -> None:
    """Name the exhibits begun and those not begun, with the commands that print one and make one."""
    name = section.title[:1].upper() + section.title[1:]
    if begun := [one.key + (" (with gaps)" if one.has_gaps else "") for one in section.begun]:
        told = f"{name}: {', '.join(begun)}. One of them: trustcache report --only KEY"
        _print_wrapped(console, "", told)
    made = [one for one in section.not_begun if one.recipe] or section.not_begun
    if made:
        recipe = made[0].recipe.replace(made[0].key, "KEY", 1)
        told = f"Not run yet: {', '.join(one.key for one in made)}"
        _print_wrapped(console, "", f"{told}; to make one: {recipe}" if recipe else told)
    for one in section.not_begun:
        if one not in made:
            _print_wrapped(console, "", f"Not run yet: {one.key}, which takes {one.requires}")


def _text(text: str, style: str = "", kept: str = "", **options: Any) -> Text:
    """Return text for the terminal, whose names from files move no cursor, but for `kept` line ends of its own."""
    return Text(visible(text, kept), style, **options)


def _print_commands(commands: Iterable[str], console: Console, indent: str = "    ") -> None:
    """Print commands, which are for copying: they are never broken into lines."""
    for command in commands:
        console.print(_text(f"{indent}{command}"), crop=False, soft_wrap=True)


def _print_wrapped(console: Console, start: str, text: str) -> None:
    indent = " " * len(start)
    filled = textwrap.fill(start + text, max(console.width, 40), subsequent_indent=indent, **_WHOLE)
    console.print(_text(filled, kept="\n"), crop=False, soft_wrap=True)
