"""`trustcache report`: tables and figures from what the workspace holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .from_dataclass import listed
from .program import Place, command, print_line, say

if TYPE_CHECKING:
    from trustcache.report.build import Report


@command("report")
def report(
    place: Place,
    only: Annotated[
        str | None,
        typer.Option(help="Print the whole of these of the paper's tables and figures, as in table1,table-a1."),
    ] = None,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Show examples of failures as small images on the page.")
    ] = True,
) -> None:
    """Every table and figure: on the terminal, as Markdown, LaTeX, CSV and JSON, and as one offline HTML page.

    The terminal shows the tables by data set (of many only those of clean data) and an overview of the paper's; the
    files hold all of both.
    """
    write_and_print(place, listed("--only", only, str) if only else [], images)


def write_and_print(place: Place, only: list[str], images: bool = True) -> None:
    """Write the report's files, then show its tables and where the files lie, or only some of the paper's."""
    from trustcache.cache.workspace import Workspace
    from trustcache.paper.artefacts import PAPER
    from trustcache.progress import console
    from trustcache.report.build import report

    root = place.data_root if images else None
    _show(report(Workspace(place.workspace), [PAPER], only, place.given(), console, root), only)


def _show(made: Report, only: list[str]) -> None:
    from rich.console import Console

    from trustcache.report.render.terminal import print_exhibits, print_report

    if only:
        print_exhibits(made.exhibits, Console())
        return
    for note in made.contents.notes:
        say(f"note: {note}")
    for path in made.paths:
        print_line(path)
    print_report(made.contents, Console())
