"""`trustcache report`: tables and figures from what the workspace holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .from_dataclass import listed
from .program import Output, Place, command, console, is_verbose, print_line, say, terminal

if TYPE_CHECKING:
    from trustcache.report.build import Report


@command("report")
def report(
    place: Place,
    data: Annotated[
        str | None,
        typer.Option(
            help="The data set that the answer is stated on; without it, of the clean ones that set no threshold the "
            "one that was extracted first."
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="Print these of the paper's tables and figures alone, as in table1,table-a1, and where they stand in "
            "the files, which hold all of them whatever is printed."
        ),
    ] = None,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Show examples of failures as small images on the page.")
    ] = True,
) -> Output:
    """Every table and figure: on the terminal, as Markdown, LaTeX, CSV and JSON, and as one offline HTML page.

    The terminal shows the answer below the best rows of its table; -v, and a pipe, the tables by data set (of many only
    those of clean data) and an overview of the paper's. The files hold all of both.
    """
    from trustcache.cache.workspace import Workspace

    workspace = Workspace(place.workspace)
    workspace.reportable(workspace.caches())  # where there is nothing, that is said before all the rest is imported
    from trustcache.paper.artefacts import PAPER
    from trustcache.report.build import report
    from trustcache.report.document import document

    keys = listed("--only", only, str) if only else []
    root = place.data_root if images else None
    made = report(workspace, [PAPER], keys, place.given(), console, root, order=[data] if data else [])
    page = workspace.report / "index.html"
    return Output(document(made), lambda: _show(made, keys, str(page)))


def _show(made: Report, only: list[str], page: str) -> None:
    from trustcache.report.render.terminal import print_exhibits, print_report

    if only:
        print_exhibits(made.exhibits, terminal())
        for place in made.places():
            say(place)
        return
    for note in made.contents.notes:
        say(f"note: {note}")
    screen = terminal()
    whole = is_verbose() or not screen.is_terminal
    for path in made.paths if whole else ():
        print_line(path)
    print_report(made.contents, screen, page, whole)
