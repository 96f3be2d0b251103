"""Grids: plain tables of finished text, shown alike on a terminal, in Markdown and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from trustcache.report.markdown import escaped

_PIPED_WIDTH = 120


@dataclass(frozen=True)
class Grid:
    """A table with what is said before and after it.

    rows: cells of text, as many as `heads`, whose lines stand one below the other on a terminal. The first `names`
    columns are names, the others figures. marked: the rows that stand out.
    """

    title: str
    facts: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1
    marked: frozenset[int] = frozenset()
    said: tuple[str, ...] = ()


def grid_markdown(grid: Grid) -> str:
    """A grid as a section of GitHub-flavoured Markdown, marked rows in bold."""
    lines = [[escaped(head) for head in grid.heads]]
    lines.append(["---"] * grid.names + ["---:"] * (len(grid.heads) - grid.names))
    for i, row in enumerate(grid.rows):
        cells = [escaped(cell) for cell in row]
        lines.append([f"**{cell}**" if cell else "" for cell in cells] if i in grid.marked else cells)
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([f"## {escaped(grid.title)}", escaped(grid.facts), table, *map(escaped, grid.said)])


def grid_html(grid: Grid) -> str:
    """A grid as a section of the page, in its style sheet's classes; all text is escaped."""
    kinds = ["name" if i < grid.names else "number" for i in range(len(grid.heads))]
    heads = "".join(f'<th scope="col" class="{k}">{escape(h)}</th>' for k, h in zip(kinds, grid.heads, strict=True))
    rows = []
    for i, row in enumerate(grid.rows):
        cells = "".join(f'<td class="{k}">{escape(c)}</td>' for k, c in zip(kinds, row, strict=True))
        rows.append(f'<tr class="{"baseline" if i in grid.marked else ""}">{cells}</tr>')
    table = f'<div class="wide"><table><thead><tr>{heads}</tr></thead>\n<tbody>{"".join(rows)}</tbody></table></div>'
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in grid.said)
    facts = f'<p class="facts">{escape(grid.facts)}</p>'
    return f"<section>\n<h2>{escape(grid.title)}</h2>\n{facts}\n{table}\n{said}</section>"


def print_grids(grids: Sequence[Grid], console: Console) -> None:
    """Print grids on a terminal, within its width; a pipe's lines may be longer than 80."""
    if not console.is_terminal:
        console.width = max(console.width, _PIPED_WIDTH)
    for grid in grids:
        table = RichTable(box=None, padding=(0, 1))
        for i, head in enumerate(grid.heads):
            table.add_column(head, justify="left" if i < grid.names else "right", overflow="fold")
        for i, row in enumerate(grid.rows):
            table.add_row(*map(Text, row), style="bold" if i in grid.marked else "")
        console.print(Text(grid.title, style="bold"))
        console.print(Text(grid.facts), table, *map(Text, grid.said), sep="\n", end="\n\n")
