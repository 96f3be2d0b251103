"""`trustcache report`: tables and figures from what the workspace holds."""

from __future__ import annotations

from typing import Annotated

import typer

from .program import Place, app, command, say
from .values import listed


@command(app, "report")
def report(
    place: Place,
    only: Annotated[
        str | None,
        typer.Option(help="Print the whole of these of the paper's tables and figures, as in table1,table-a1."),
    ] = None,
) -> None:
    """Every table and figure: on the terminal, as Markdown, LaTeX, CSV and JSON, and as one offline HTML page.

    The terminal shows the tables by data set (of many only those of clean data) and an overview of the paper's; the
    files hold all of both.
    """
    print_report(place, listed("--only", only, str) if only else [])


def print_report(place: Place, only: list[str] | None = None) -> None:
    """Write the report's files, then show its tables, or only some of the paper's, and where the files lie."""
    from rich.console import Console
    from rich.text import Text

    from trustcache.cache.workspace import Workspace
    from trustcache.errors import UsageError
    from trustcache.evaluate.sweep import saved_sweeps
    from trustcache.paper.artefacts import ARTEFACTS, paper
    from trustcache.paper.terminal import print_overview, print_shown
    from trustcache.progress import console
    from trustcache.report.collect import collect
    from trustcache.report.grids import print_grids
    from trustcache.report.intervals import compare, interval_grids, intervals_json
    from trustcache.report.resampled import Resampler
    from trustcache.report.selection import foreground
    from trustcache.report.sweeps import outcome_grid, outcomes
    from trustcache.report.tables import print_tables
    from trustcache.report.versions import made_with
    from trustcache.report.write import write_report

    if unknown := [key for key in only or [] if key not in ARTEFACTS]:
        raise UsageError(f"--only {unknown[0]}: is none of the paper's; one or several of {', '.join(ARTEFACTS)}")
    workspace = Workspace(place.workspace)
    scored, notes = collect(workspace, console)
    records = [one.record for one in scored]
    front = foreground(scored)
    compared = compare([r for r in records if r.dataset in front.detailed], Resampler(workspace, console))
    chosen, gone = outcomes(saved_sweeps(workspace), records)
    notes += gone
    grids = [*map(outcome_grid, chosen), *interval_grids(compared)]
    shown = paper(scored, workspace.caches(), place.given())
    files = {"intervals.json": intervals_json(compared)}
    written = write_report(workspace.report, scored, notes, made_with(), shown, grids, files)
    terminal = Console()
    if only:
        print_shown([one for one in shown if one.key in only], terminal)
        return
    print_tables([record for record in records if record.dataset in front.printed], terminal)
    print_grids([outcome_grid(one) for one in chosen if one.dataset in front.printed], terminal)
    print_grids(interval_grids([one for one in compared if one.table.dataset in front.printed]), terminal)
    if front.tables:
        terminal.print(Text(front.elsewhere(shown)), end="\n\n")
    print_overview(shown, terminal)
    for note in notes:
        say(f"note: {note}")
    for path in written:
        print(path)
