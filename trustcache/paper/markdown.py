"""The paper's tables and figures as GitHub-flavoured Markdown: what follows the general tables in report.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trustcache.paper.shown import LEGEND, TO_DRAW, Chart, PaperGrid, Shown
from trustcache.report.markdown import escaped


def paper_markdown(shown: Sequence[Shown], files: Sequence[tuple[str, Chart]]) -> str:
    """All that has been begun, then what has not, with the command that makes it.

    files: the charts with the paths of their files.
    """
    begun, rest = [one for one in shown if one.begun], [one for one in shown if not one.begun]
    parts = ["# The paper's tables and figures"]
    if any(cell.missing for one in begun for grid in one.grids for line in grid.lines for cell in line.cells):
        parts.append(f"{LEGEND}. Commands below a table fill its gaps.")
    for one in begun:
        parts.append(f"## {escaped(one.title)}")
        for name, chart in files:
            if chart in one.charts:
                parts.append(f"![{escaped(chart.subject)}]({name})")
                parts += [escaped(chart.caption)] if chart.caption else []
        for grid in one.grids:
            parts += list(_grid(grid))
        if one.to_draw:
            parts += [f"{TO_DRAW}:", _commands(one.to_draw)]
    if rest:
        lines = [
            f"- `{one.key}`: takes {escaped(one.needs)}" + (f"; `{one.recipe}`" if one.recipe else "") for one in rest
        ]
        parts.append("## Not run yet\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _grid(grid: PaperGrid) -> Iterator[str]:
    yield f"### {escaped(grid.subject)}"
    heads = [*grid.label_heads, *grid.heads]
    rule = ["---"] * len(grid.label_heads) + ["---:"] * len(grid.heads)
    lines = [list(map(escaped, heads)), rule]
    for line, labels in zip(grid.lines, grid.shown_labels(), strict=True):
        lines.append([*map(escaped, labels), *(escaped(str(cell)) for cell in line.cells)])
    yield "\n".join(f"| {' | '.join(line)} |" for line in lines)
    for note in grid.notes:
        yield escaped(note)
    if grid.commands:
        yield _commands(grid.commands)


def _commands(commands: Sequence[str]) -> str:
    return "```sh\n" + "\n".join(commands) + "\n```"
