"""The report of a workspace: gathered, compared, resampled and written by one call, each file whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from trustcache.cache.index import Index
from trustcache.cache.publish import publish
from trustcache.cache.workspace import Workspace
from trustcache.data.progress import Progress, silent
from trustcache.errors import UsageError, did_you_mean
from trustcache.evaluate.sweep import saved_sweeps
from trustcache.report.answer import Answer, answers
from trustcache.report.cards import write_cards
from trustcache.report.collect import collect
from trustcache.report.comparison import compare_methods
from trustcache.report.contents import Contents, place_of
from trustcache.report.explorer import explore
from trustcache.report.failures import failures
from trustcache.report.intervals import compare, interval_tables, intervals_json
from trustcache.report.records import Record, Scored, plain
from trustcache.report.render.csv import results_csv, tables_csv
from trustcache.report.render.drawing import draw_figures
from trustcache.report.render.engine import engine
from trustcache.report.render.html import page, tables_page
from trustcache.report.render.latex import tables_latex
from trustcache.report.render.markdown import report_markdown
from trustcache.report.resampled import Resampler
from trustcache.report.samples import ScoreReader
from trustcache.report.selection import select
from trustcache.report.stated_on import require_statable, stated_on
from trustcache.report.sweeps import outcome_table, outcomes
from trustcache.report.table import Exhibit, Section
from trustcache.report.thresholds import Thresholds, calibrated_thresholds
from trustcache.report.units import make_unit


@dataclass(frozen=True)
class SectionMaker:
    """A section that a report can have: the keys of its exhibits, and the function that makes it.

    make: takes everything scored, the indices of all caches, and the options that make a command work in the workspace.
    """

    keys: Sequence[str]
    make: Callable[[Sequence[Scored], Sequence[Index], Sequence[str]], Section]


@dataclass(frozen=True)
class Report:
    """A report as written. exhibits: those asked for. paths: its files."""

    contents: Contents
    exhibits: Sequence[Exhibit]
    paths: Sequence[Path]

    def places(self) -> list[str]:
        """Say of each exhibit asked for that is begun where it stands in the files, which hold all the others too."""
        folder, shown = self.paths[0].parent, {one.key for one in self.exhibits}
        return [
            f"{one.key}: {folder / 'paper.html'}#{section.key}-{one.key}; among all others, report.md has it "
            f"by its title, tables.tex as tab:{one.key}, and tables.csv as {one.key}"
            for section in self.contents.sections
            for one in section.begun
            if one.key in shown
        ]


def report(
    workspace: Workspace,
    sections: Sequence[SectionMaker] = (),
    only: Sequence[str] = (),
    place: Sequence[str] | None = (),
    progress: Progress = silent,
    data_root: Path | None = None,
    among: Collection[str] | None = None,
    calibrated: Thresholds | None = None,
    order: Sequence[str] = (),
) -> Report:
    """Report on a workspace, and write the files to its report folder.

    sections: what follows the comparisons, such as `trustcache.paper.artefacts.PAPER`. only: keys of exhibits to return
    as `Report.exhibits`. place: the options that make a command work in this workspace, None for no commands.
    data_root: where images to show may lie beside where they were; None shows none. among: as of `answers`. calibrated:
    thresholds by classifier and name of the run or score, None for those of the workspace. order: as of `dataset_of`,
    and of the lists of data sets; its first must be one that an answer can be stated on.

    Raises UsageError for a key that no section has, where no answer can be stated on the first data set of `order`, and
    where there is nothing to report on; TrustcacheError, before anything is written, where no charts can be drawn.
    """
    known = [key for section in sections for key in section.keys]
    if unknown := [key for key in only if key not in known]:
        names, near = ", ".join(known), did_you_mean(unknown[0], known)
        raise UsageError(f"--only {unknown[0]}: no such table or figure; one or several of {names}{near}")
    engine()  # raises where it cannot draw, before the work of minutes
    scored, notes = collect(workspace, progress, place)
    records = [one.record for one in scored]
    calibrated = calibrated_thresholds(workspace, records) if calibrated is None else calibrated
    if order:
        require_statable(order[0], scored, calibrated)
    selected = {*select(scored).detailed, *stated_on(scored, calibrated, order).values()}
    detailed = [record for record in records if record.dataset in selected]
    reader = ScoreReader(workspace)
    resampler = Resampler(workspace, reader, progress)
    compared = compare(detailed, resampler)
    swept, incomplete = outcomes(saved_sweeps(workspace), records)
    made = [section.make(scored, workspace.caches(), place or ()) for section in sections]
    comparisons = compare_methods(records)
    first = answers(scored, compared, calibrated, workspace, reader, place, among, order)
    place_of_table = place_of(first, order)
    ordered = sorted(compared, key=lambda one: place_of_table(one.table))
    tables = [*map(outcome_table, swept), *interval_tables(ordered)]
    units = [
        make_unit(one, explore(scored, one, calibrated, reader), scored, comparisons, compared, order) for one in first
    ]
    contents = Contents(
        scored,
        [*notes, *incomplete],
        tables,
        made,
        answers=first,
        units=units,
        failures=failures(units, reader, data_root),
        alone=place is None,
        order=order,
    )
    write_cards(workspace, scored, resampler)
    files = {"intervals.json": intervals_json(compared)}
    paths = write_report(workspace.report, contents, files, workspace.drawings_file)
    exhibits = [one for section in contents.sections for one in section.exhibits if one.key in only]
    return Report(contents, exhibits, paths)


def answer(workspace: Workspace, place: Sequence[str] = (), progress: Progress = silent) -> list[Answer]:
    """Return the answer of each classifier of a workspace, and write the cards of its runs. Raises as `report`."""
    scored, _ = collect(workspace, progress)
    calibrated = calibrated_thresholds(workspace, [one.record for one in scored])
    stated = {*stated_on(scored, calibrated).values()}
    reader, detailed = ScoreReader(workspace), [one.record for one in scored if one.record.dataset in stated]
    resampler = Resampler(workspace, reader, progress)
    compared = compare(detailed, resampler)
    write_cards(workspace, scored, resampler)
    return answers(scored, compared, calibrated, workspace, reader, place)


def write_report(
    folder: Path, contents: Contents, files: Mapping[str, str] = MappingProxyType({}), kept: Path | None = None
) -> list[Path]:
    """Write the report's files and `files` (text by name) to a folder, and return their paths but for the figures'.

    kept: as of `page`. Everything is rendered before anything is written. Raises OSError where a file cannot be
    written, and ValueError on a histogram that lacks a group.
    """
    charts = contents.figure_files
    texts = {
        "report.md": report_markdown(contents),
        "tables.tex": tables_latex(contents),
        "tables.csv": tables_csv(contents),
        "results.csv": results_csv(contents.records),
        "results.json": results_json(contents.records),
        "index.html": page(contents, kept),
        "paper.html": tables_page(contents),
        **files,
    }
    for name, text in texts.items():
        publish(folder / name, text.encode())
    draw_figures(folder / "figures", charts)
    return [folder / name for name in texts]


def results_json(records: Sequence[Record]) -> str:
    """Return the records as a JSON list, metrics as fractions; null stands where a value is not finite."""
    return json.dumps([*map(plain, records)], indent=2, ensure_ascii=False, allow_nan=False) + "\n"
