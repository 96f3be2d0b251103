"""The report of a workspace: gathered, compared, resampled and written by one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trustcache.cache.index import Index
from trustcache.cache.workspace import Workspace
from trustcache.errors import UsageError
from trustcache.evaluate.sweep import saved_sweeps
from trustcache.progress import Progress, silent
from trustcache.report.collect import collect
from trustcache.report.contents import Contents
from trustcache.report.intervals import compare, interval_tables, intervals_json
from trustcache.report.records import Scored
from trustcache.report.resampled import Resampler
from trustcache.report.selection import Selection, select
from trustcache.report.sweeps import outcome_table, outcomes
from trustcache.report.table import Exhibit, Section
from trustcache.report.write import write_report


@dataclass(frozen=True)
class Sources:
    """What a section is made of: everything scored, the indices of all caches, and `place`, the options that make a
    command work in this workspace."""

    scored: Sequence[Scored]
    indices: Sequence[Index] = ()
    place: Sequence[str] = ()


@dataclass(frozen=True)
class SectionMaker:
    """A section that a report can have: the keys of its exhibits, and the function that makes it."""

    keys: Sequence[str]
    make: Callable[[Sources], Section]


@dataclass(frozen=True)
class Report:
    """A report as written. selection: the data sets to bring forward. exhibits: those asked for. paths: its files."""

    contents: Contents
    selection: Selection
    exhibits: Sequence[Exhibit]
    paths: Sequence[Path]


def report(
    workspace: Workspace,
    sections: Sequence[SectionMaker] = (),
    only: Sequence[str] = (),
    place: Sequence[str] = (),
    progress: Progress = silent,
) -> Report:
    """Report on a workspace, and write the files to its report folder.

    sections: what follows the comparisons, such as `trustcache.paper.artefacts.PAPER`. only: keys of exhibits to return
    as `Report.exhibits`. place: the options that make a command work in this workspace.

    Raises UsageError for a key that no section has, and where there is nothing to report on.
    """
    known = [key for section in sections for key in section.keys]
    if unknown := [key for key in only if key not in known]:
        raise UsageError(f"--only {unknown[0]}: no such table or figure; one or several of {', '.join(known)}")
    scored, notes = collect(workspace, progress)
    records, selection = [one.record for one in scored], select(scored)
    detailed = [record for record in records if record.dataset in selection.detailed]
    compared = compare(detailed, Resampler(workspace, progress))
    swept, incomplete = outcomes(saved_sweeps(workspace), records)
    tables = [*map(outcome_table, swept), *interval_tables(compared)]
    sources = Sources(scored, workspace.caches(), place)
    contents = Contents(scored, [*notes, *incomplete], tables, [section.make(sources) for section in sections])
    paths = write_report(workspace.report, contents, {"intervals.json": intervals_json(compared)})
    exhibits = [one for section in contents.sections for one in section.exhibits if one.key in only]
    return Report(contents, selection, exhibits, paths)
