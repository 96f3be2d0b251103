"""Remove caches and runs: whole or not at all, with what was made from them, after saying what depends on them."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trustcache.cache.claims import require_unclaimed
from trustcache.cache.index import INDEX, Index
from trustcache.cache.publish import sole_writer
from trustcache.cache.workspace import REMOVED, Workspace
from trustcache.errors import UsageError, did_you_mean, first_few
from trustcache.evaluate.sweep import saved_sweeps
from trustcache.oracles.runs import Run, read_runs


@dataclass(frozen=True)
class Removal:
    """Extent of a removal: what it takes, and what it leaves behind.

    names: of the caches or runs. paths: files and folders that go, what makes them count last. stays: a sentence on
    each thing that depends on them and stays. locked: folders that no other process may be writing.
    """

    root: Path
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    stays: tuple[str, ...]
    locked: tuple[Path, ...] = ()

    def carry_out(self) -> None:
        """Remove it all. Raises OSError with everything put back where a part cannot be taken away.

        A link is removed, and what it leads to stays. Raises TrustcacheError where another process writes to it.
        """
        with contextlib.ExitStack() as held:
            for folder in self.locked:
                held.enter_context(sole_writer(folder))
                require_unclaimed(folder)
            bins = _move(self.paths)
        for parent in {folder.parent for folder in bins}:
            for folder in parent.glob(f"{REMOVED}*"):  # those of a process that was killed, too
                shutil.rmtree(folder, ignore_errors=True)
        for path in self.paths:
            _remove_empty(path.parent, self.root)


def cache_removal(workspace: Workspace, names: Sequence[str]) -> Removal:
    """Return the removal of caches and of the scores made on them. Raises UsageError for no cache.

    names: as of `Workspace.caches_named`.
    """
    indices = [*{index.folder: index for name in names for index in workspace.caches_named(name)}.values()]
    runs = read_runs(workspace)
    paths: list[Path] = []
    stays: list[str] = []
    for index in indices:
        name = index.name
        derived = [*_own(workspace.scores_folder(index.classifier, index.data))]
        derived += [file(index.classifier, index.data) for file in (workspace.bootstrap_file, workspace.figures_file)]
        derived += [run.scores_path(index) for run in runs if run.judges(index)]
        paths += [path for path in derived if path.exists()]
        paths += _own(index.folder)
        stays += [f"{name}: {reason}" for reason in _needing(index, runs)]
        if index.folder.is_symlink():
            stays.append(f"{name}: {index.folder} is a link to {index.folder.resolve()}, whose files stay")
    return Removal(
        workspace.root,
        tuple(index.name for index in indices),
        tuple(paths),
        tuple(stays),
        tuple(index.folder for index in indices),
    )


def run_removal(workspace: Workspace, names: Sequence[str]) -> Removal:
    """Return the removal of runs, finished or not, by their names or beginnings. Raises UsageError for no one run."""
    runs = read_runs(workspace)
    chosen = [run_named(runs, name, workspace) for name in names]
    gone = {run.name for run in chosen}
    stays = []
    for sweep in saved_sweeps(workspace):
        of_sweep = {name for candidate in sweep.candidates for name in candidate.runs}
        if lost := of_sweep & gone:
            stays.append(f"sweep {sweep.name}: loses {len(lost)} of its {len(of_sweep)} runs")
    stays += [
        f"{run.name}: was tuned on from {run.config.start}, and stays as it is"
        for run in runs
        if run.config.start in gone and run.name not in gone
    ]
    return Removal(workspace.root, tuple(sorted(gone)), tuple(run.folder for run in chosen), tuple(stays))


def run_named(runs: Sequence[Run], name: str, workspace: Workspace) -> Run:
    """Return the run of a name or its unambiguous beginning. Raises UsageError naming what there is."""
    fitting = [run for run in runs if run.name == name] or [run for run in runs if run.name.startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    what = f"{len(fitting)} runs begin so" if fitting else f"no run in {workspace.runs} has a name that begins so"
    shown = ", ".join(run.name for run in (fitting or runs)[:6]) or "none"
    near = "" if fitting else did_you_mean(name, [run.name for run in runs], beginning=True)
    raise UsageError(f"{name}: {what}; see trustcache runs list (there is: {shown}){near}")


def _needing(index: Index, runs: Sequence[Run]) -> Iterator[str]:
    """Say which runs need a cache."""
    mark = index.fingerprint()
    learnt = [run.name for run in runs if mark in (run.config.cache, *run.config.also.values())]
    if learnt:
        yield (
            f"{len(learnt)} runs learnt from it; they stay, and cannot be calibrated on what they set aside: "
            + first_few(learnt, 3)
        )
    read = {
        run.name: (run.config.features, *(run.config.second.caches.values() if run.config.second else ()))
        for run in runs
    }
    if looking := [name for name, marks in read.items() if mark in marks and name not in learnt]:
        yield f"{len(looking)} runs learnt from its features; they stay: " + first_few(looking, 3)


def _own(folder: Path) -> list[Path]:
    """Return a folder, or its files where folders of other data sets lie in it: birds/fog below birds; the index last.

    A link counts as a folder.
    """
    if not folder.exists():
        return []
    if folder.is_symlink() or not any(path.is_dir() for path in folder.iterdir()):
        return [folder]
    return sorted((path for path in folder.iterdir() if not path.is_dir()), key=lambda path: path.name == INDEX)


def _move(paths: Sequence[Path]) -> set[Path]:
    """Move each path into a folder beside it, and return these folders; put all back where one cannot be moved."""
    mark = f"{REMOVED}{secrets.token_hex(6)}"
    moved: list[tuple[Path, Path]] = []
    try:
        for number, path in enumerate(paths):
            there = path.with_name(mark) / f"{number:06d}"
            there.parent.mkdir(exist_ok=True)
            os.rename(path, there)
            moved.append((path, there))
    except BaseException:
        for path, there in reversed(moved):
            os.rename(there, path)
        for path in paths:
            with contextlib.suppress(OSError):
                path.with_name(mark).rmdir()
        raise
    return {there.parent for _, there in moved}


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder and those above it, below the root, that are empty."""
    with contextlib.suppress(OSError):
        while folder != root and root in folder.parents:
            folder.rmdir()
            folder = folder.parent
