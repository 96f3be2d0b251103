"""The paper's tables on a terminal: a line each where all are listed, the whole of those asked for by key."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from trustcache.paper.shown import LEGEND, TO_DRAW, Line, PaperGrid, Shown, Value

_LEAST_WIDTH = 120
"""Where output goes into a pipe, lines may be this long."""


def print_overview(shown: Sequence[Shown], console: Console) -> None:
    """Which of the paper's tables and figures there are and how far, a line each, and what those not begun take."""
    begun, rest = [one for one in shown if one.begun], [one for one in shown if not one.begun]
    console.print(Text("The paper's tables and figures", style="bold"))
    for one in begun:
        gaps = ", with gaps" if one.commands else ""
        _wrapped(console, f"  {one.key:<11}", f"{one.title.partition(': ')[2]} ({one.state()}{gaps})")
    _wrapped(console, "  ", "One of them, with the commands that fill its gaps: trustcache report --only KEY")
    if rest:
        console.print(Text("Not run yet", style="bold"))
        for needs, keys in _by_needs(rest).items():
            _wrapped(console, "  ", f"{', '.join(keys)}: takes {needs}")
        if recipe := rest[0].recipe:
            # A command is for copying: it is never broken into lines.
            console.print(Text(f"  To make one: {recipe.replace(rest[0].key, 'KEY', 1)}"), crop=False, soft_wrap=True)


def _by_needs(shown: Sequence[Shown]) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for one in shown:
        keys.setdefault(one.needs, []).append(one.key)
    return keys


def _wrapped(console: Console, start: str, text: str) -> None:
    indent = " " * len(start)
    filled = textwrap.fill(start + text, max(console.width, 40), subsequent_indent=indent, break_on_hyphens=False)
    console.print(Text(filled), crop=False)


def print_shown(shown: Iterable[Shown], console: Console) -> None:
    """The whole of some tables, with what is missing and the commands that fill it."""
    for one in shown:
        console.print(Text(one.title, style="bold"))
        if not one.begun:
            _wrapped(console, "  ", f"not run yet: takes {one.needs}" + ("; made by" if one.recipe else ""))
            _print_commands([one.recipe] if one.recipe else [], console)
        for grid in one.grids:
            _print_grid(grid, console)
        for subject, drawings in Counter(chart.subject for chart in one.charts).items():
            _wrapped(console, "  ", f"{drawings} drawing{'s' if drawings > 1 else ''} in index.html: {subject}")
        if one.begun and one.to_draw:
            _wrapped(console, "  ", TO_DRAW)
            _print_commands(one.to_draw, console)
        console.print()


def _print_grid(grid: PaperGrid, console: Console) -> None:
    room = console.width if console.is_terminal else max(console.width, _LEAST_WIDTH)
    texts = [[str(cell) for cell in line.cells] for line in grid.lines]
    longest = max(cell_len(_name(line)) for line in grid.lines)
    if longest + sum(_widths(grid.heads, texts)) > room:
        texts = [[_short(cell) for cell in line.cells] for line in grid.lines]
    widths = _widths(grid.heads, texts)
    name = max(min(longest, room - sum(widths)), 12)
    console.print(Text(grid.subject, style="italic"), crop=False, soft_wrap=True)
    for half in (0, 1):
        halves = [_right(_halves(head)[half], width) for head, width in zip(grid.heads, widths, strict=True)]
        if any(text.strip() for text in halves):
            console.print(Text(" " * name + "".join(halves)), crop=False, soft_wrap=True)
    rows = zip(grid.lines, texts, strict=True)
    for block, members in groupby(rows, key=lambda row: row[0].labels[:-1]):
        if heading := " · ".join(label for label in block if label):
            console.print(Text(heading, style="dim"), crop=False, soft_wrap=True)
        for line, cells in members:
            first, *more = textwrap.wrap(_name(line), name, drop_whitespace=False) or [""]
            values = "".join(_right(cell, width) for cell, width in zip(cells, widths, strict=True))
            console.print(Text(first.ljust(name) + values), crop=False, soft_wrap=True)
            for part in more:
                console.print(Text("   " + part), crop=False)
    if any(cell.missing for line in grid.lines for cell in line.cells):
        _wrapped(console, "  ", LEGEND + ".")
    for note in grid.notes:
        _wrapped(console, "  ", note)
    _print_commands(grid.commands, console)


def _print_commands(commands: Sequence[str], console: Console) -> None:
    """Commands are for copying: they are never broken into lines."""
    for command in commands:
        console.print(Text(f"    {command}"), crop=False, soft_wrap=True)


def _name(line: Line) -> str:
    return " " + line.labels[-1]


def _right(text: str, width: int) -> str:
    return " " * (width - cell_len(text)) + text


def _short(cell: Value) -> str:
    if cell.std is None or cell.text:
        return str(cell)
    return f"{cell.scale * (cell.mean or 0):.1f}±{cell.scale * cell.std:.1f}"


def _halves(head: str) -> tuple[str, str]:
    first, dash, second = head.rpartition("-")
    return (first + dash, second) if dash else ("", head)


def _widths(heads: Sequence[str], texts: Sequence[Sequence[str]]) -> list[int]:
    return [
        1 + max(cell_len(text) for text in (*_halves(head), *column))
        for head, column in zip(heads, zip(*texts, strict=True), strict=True)
    ]
