"""The paper's tables and figures as GitHub-flavoured Markdown: what follows the general tables in report.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from trustcache.report.paper.shown import LEGEND, Chart, Grid, Shown

Escape = Callable[[str], str]


def paper_markdown(shown: Sequence[Shown], escape: Escape, files: Sequence[tuple[str, Chart]]) -> str:
    """All that has been begun, then what has not, with the command that makes it.

    `escape` turns text into Markdown that shows it; `files` are the charts with the paths of their files.
    """
    begun, rest = [one for one in shown if one.begun], [one for one in shown if not one.begun]
    parts = ["# The paper's tables and figures"]
    if any(cell.missing for one in begun for grid in one.grids for line in grid.lines for cell in line.cells):
        parts.append(f"{LEGEND}. Commands below a table fill its gaps.")
    for one in begun:
        parts.append(f"## {escape(one.title)}")
        for grid in one.grids:
            parts += list(_grid(grid, escape))
        for name, chart in files:
            if chart in one.charts:
                parts.append(f"![{escape(chart.subject)}]({name})")
                parts += [escape(chart.caption)] if chart.caption else []
    if rest:
        lines = [f"- `{one.key}`: takes {escape(one.needs)}; `trustcache reproduce {one.key}`" for one in rest]
        parts.append("## Not run yet\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _grid(grid: Grid, escape: Escape) -> Iterator[str]:
    yield f"### {escape(grid.subject)}"
    heads = [*grid.label_heads, *grid.heads]
    rule = ["---"] * len(grid.label_heads) + ["---:"] * len(grid.heads)
    lines = [list(map(escape, heads)), rule]
    for line, labels in zip(grid.lines, grid.shown_labels(), strict=True):
        lines.append([*map(escape, labels), *(escape(str(cell)) for cell in line.cells)])
    yield "\n".join(f"| {' | '.join(line)} |" for line in lines)
    for note in grid.notes:
        yield escape(note)
    if grid.commands:
        yield "```sh\n" + "\n".join(grid.commands) + "\n```"
