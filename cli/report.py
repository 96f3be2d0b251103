"""`trustcache report`: tables and figures from what the workspace holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .program import Place, app, command, say

if TYPE_CHECKING:
    from trustcache.workspace import Workspace


@command(app, "report")
def report(place: Place) -> None:
    """Every table and figure: on the terminal, as Markdown, CSV and JSON, and as one offline HTML page."""
    from trustcache.workspace import Workspace

    print_report(Workspace(place.workspace))


def print_report(workspace: Workspace) -> None:
    """Write the report's files, then show its tables and where the files lie."""
    from rich.console import Console

    from trustcache.choice import saved_sweeps
    from trustcache.progress import console
    from trustcache.report.collect import collect
    from trustcache.report.grids import print_grids
    from trustcache.report.intervals import compare, interval_grids, intervals_json
    from trustcache.report.made import made_with
    from trustcache.report.resampled import Resampler
    from trustcache.report.sweeps import outcome_grid, outcomes
    from trustcache.report.tables import print_tables
    from trustcache.report.write import write_report

    scored, notes = collect(workspace, console)
    records = [one.record for one in scored]
    compared = compare(records, Resampler(workspace, console))
    chosen, gone = outcomes(saved_sweeps(workspace), records)
    notes += gone
    grids = [*map(outcome_grid, chosen), *interval_grids(compared)]
    files = {"intervals.json": intervals_json(compared)}
    written = write_report(workspace.report, scored, notes, made_with(), grids, files)
    print_tables(records, Console())
    print_grids(grids, Console())
    for note in notes:
        say(f"note: {note}")
    for path in written:
        print(path)
