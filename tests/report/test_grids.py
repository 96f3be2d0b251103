"""Grids: one plain table, the same on a terminal, in Markdown and on the page."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trustcache.report.grids import Grid, grid_html, grid_markdown, print_grids

GRID = Grid(
    title="Fruit <1>",
    facts="n 3 · a|b",
    heads=("Name", "", "Weight"),
    rows=(("apple", "red", "1.5\n[1.0, 2.0]"), ("pear", "", "–")),
    names=2,
    marked=frozenset({1}),
    said=("Pears are *light*.",),
)


def printed(grid: Grid, width: int = 80, terminal: bool = False) -> str:
    file = io.StringIO()
    print_grids([grid], Console(file=file, width=width, force_terminal=terminal, color_system=None))
    return file.getvalue()


def test_markdown_has_every_cell_on_one_line_and_marks_in_bold() -> None:
    lines = grid_markdown(GRID).splitlines()
    assert lines[0] == r"## Fruit \<1\>"
    assert r"n 3 · a\|b" in lines
    table = [line for line in lines if line.startswith("|")]
    assert table == [
        "| Name |  | Weight |",
        "| --- | --- | ---: |",
        r"| apple | red | 1.5 \[1.0, 2.0\] |",
        "| **pear** |  | **–** |",
    ]
    assert lines[-1] == r"Pears are \*light\*."


def test_the_page_has_every_cell_and_no_markup_from_data() -> None:
    html = grid_html(GRID)
    assert "Fruit &lt;1&gt;" in html
    assert "<1>" not in html
    assert html.count("<tr") == 3
    assert '<tr class="baseline"><td class="name">pear</td>' in html
    assert '<td class="number">–</td>' in html
    assert "Pears are *light*." in html


def test_a_terminal_shows_the_lines_of_a_cell_one_below_the_other() -> None:
    lines = printed(GRID).splitlines()
    (first,) = [i for i, line in enumerate(lines) if "apple" in line]
    assert "1.5" in lines[first]
    assert "[1.0, 2.0]" in lines[first + 1]
    assert "[1.0, 2.0]" not in lines[first]


@pytest.mark.parametrize(("terminal", "longest"), [(True, 60), (False, 120)])
def test_a_terminal_is_kept_to_its_width_and_a_pipe_gets_room(terminal: bool, longest: int) -> None:
    wide = Grid("T", "f", tuple("abcdef"), (("word " * 4,) * 6,))
    widths = [len(line) for line in printed(wide, 60, terminal).splitlines()]
    assert max(widths) <= longest
    assert max(widths) > 60 or terminal
