"""Verify a workspace: read every file that trustcache wrote, and name each that is not as it was written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trustcache.cache.arrays import MADE_ANEW, read_arrays
from trustcache.cache.index import INDEX, NOT_EXTRACTED, Index, read_index
from trustcache.cache.kept_images import IMAGES
from trustcache.cache.publish import TEMPORARY
from trustcache.cache.records import read_record
from trustcache.cache.seal import check_seal
from trustcache.cache.workspace import Workspace
from trustcache.data.progress import Progress, silent
from trustcache.deploy.sets import SETS, PredictionSets
from trustcache.deploy.threshold import THRESHOLD, Threshold
from trustcache.deploy.trials import TRIALS, read_trials
from trustcache.errors import TrustcacheError, kind_and_line
from trustcache.evaluate.sweep import Sweep
from trustcache.oracles.runs import CARD, CONFIG, LOG, WEIGHTS, RunScores, read_log, read_run, weights_bytes
from trustcache.report.cards import REMADE as CARD_REMADE
from trustcache.report.kept import REMADE, KeptFigures
from trustcache.report.render.drawing import Drawings
from trustcache.scores.fits import FIT, SCORES, FitRecord
from trustcache.scores.stored import ScoreRecord

_SWEPT_AGAIN = "remove it, and run the same trustcache train --sweep"


@dataclass(frozen=True)
class Kind:
    """Files of one kind. name: in the plural. place: of its files below the workspace, a regular expression.

    check: reads one, and raises TrustcacheError with file and remedy where it is not as it was written.
    """

    name: str
    place: str
    check: Callable[[Path], object]


def _sealed(remedy: str) -> Callable[[Path], object]:
    return lambda path: check_seal(path, remedy)


def _exported(path: Path) -> None:
    from trustcache.deploy.export import check_graph

    check_graph(path.with_name(path.name.removesuffix(".json")))


KINDS = [
    Kind("configs of runs", rf"runs/[^/]+/{CONFIG}", lambda path: read_run(path.parent)),
    Kind("weights of runs", rf"runs/[^/]+/{WEIGHTS}", lambda path: weights_bytes(path.parent)),
    Kind("logs of runs", rf"runs/[^/]+/{LOG}", lambda path: read_log(path.parent)),
    Kind("checkpoints", r"runs/[^/]+/checkpoint\.pt|.*\.checkpoint", _sealed("remove it to begin that training anew")),
    Kind("scores of runs", r"runs/[^/]+/scores/.*", lambda path: read_arrays(path, RunScores, MADE_ANEW)),
    Kind(
        "thresholds",
        rf"runs/[^/]+/{THRESHOLD}",
        lambda path: read_record(path, Threshold, "run the same trustcache calibrate again, or remove it"),
    ),
    Kind("thresholds tried", rf"runs/[^/]+/{TRIALS}", read_trials),
    Kind(
        "prediction sets",
        rf"runs/[^/]+/{SETS}",
        lambda path: read_record(path, PredictionSets, "run the same trustcache sets again, or remove it"),
    ),
    Kind("exported graphs", r"runs/[^/]+/[^/]+\.(onnx|pt2)(\.json)?", _exported),
    Kind("model cards", rf"runs/[^/]+/{CARD}", _sealed(CARD_REMADE)),
    Kind("fits of scores", rf"scores/.*{FIT}", lambda path: read_arrays(path, FitRecord, MADE_ANEW)),
    Kind("post-hoc scores", rf"scores/.*{SCORES}", lambda path: read_arrays(path, ScoreRecord, MADE_ANEW)),
    Kind("sweeps", r"sweeps/.*\.json", lambda path: read_record(path, Sweep, _SWEPT_AGAIN)),
    Kind("resamples", r"bootstrap/.*", lambda path: read_arrays(path, KeptFigures, REMADE)),
    Kind("drawings", r"figures/[^/]+\.json", lambda path: read_record(path, Drawings, REMADE)),
    Kind("figures", r"figures/.*", lambda path: read_arrays(path, KeptFigures, REMADE)),
    Kind("step logs", r"reproduced\.json", _sealed("remove it; trustcache reproduce then looks at every step anew")),
    Kind(
        "fitted classifiers",
        r"(demo|classifiers)/[^/]+\.safetensors",
        _sealed("remove it and fit the classifier again: trustcache fit-classifier, demo or reproduce"),
    ),
]
"""Every kind of file outside the caches, the first that fits a path."""


@dataclass
class Verification:
    """The outcome. checked: number of files by kind. faults: a sentence with file and remedy for each bad one.

    unknown: files that trustcache did not write.
    """

    checked: dict[str, int]
    faults: list[str]
    unknown: list[Path]

    def read(self, kind: str, path: Path, check: Callable[[Path], object]) -> None:
        """Count a file, and note its fault."""
        self.checked[kind] = self.checked.get(kind, 0) + 1
        try:
            check(path)
        except TrustcacheError as error:
            if str(error) not in self.faults:  # two files that are checked together
                self.faults.append(str(error))
        except OSError as error:
            self.faults.append(
                f"{path}: cannot be read ({kind_and_line(error)}); mend that, or put a copy in its place"
            )


def verify(workspace: Workspace, progress: Progress = silent) -> Verification:
    """Read every file of a workspace but the report, which is made anew each time, and name what is bad or missing."""
    found = Verification({}, [], [])
    folders = workspace.cache_folders()
    for folder in folders:
        _verify_cache(folder, found, progress)
    files = [path for path in _files(workspace) if path.parent not in folders]
    with progress(f"checking files of {workspace.root}", len(files)) as advance:
        for path in files:
            place = path.relative_to(workspace.root).as_posix()
            kind = next((kind for kind in KINDS if re.fullmatch(kind.place, place)), None)
            if kind:
                found.read(kind.name, path, kind.check)
            else:
                found.unknown.append(path)
            advance(1)
    for folder in sorted(path for path in workspace.runs.glob("*") if path.is_dir()):
        _look_for_lost_files(folder, found)
    return found


def _files(workspace: Workspace) -> Iterator[Path]:
    """Yield the files outside report and tracking, but hidden ones, such as locks, and those that are being written."""
    for folder, folders, names in os.walk(workspace.root):
        if Path(folder) == workspace.root:
            folders[:] = [name for name in folders if name not in (workspace.report.name, workspace.tracking.name)]
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names) if name[0] != "." and TEMPORARY not in name)


def _verify_cache(folder: Path, found: Verification, progress: Progress) -> None:
    """Check an index, and by it the shards and their records."""
    kept: list[Index] = []
    found.read("indexes of caches", folder / INDEX, lambda path: kept.append(read_index(folder)))
    names = {path.name for path in folder.iterdir() if path.is_file() and path.name[0] != "." and path.name != INDEX}
    for index in kept:
        shards = {f"{number:05d}" for number in range(len(index.ranges()))}
        for suffix, kind in ((".h5", "shards"), (".json", "records of shards")):
            mine = {f"{shard}{suffix}" for shard in shards} & names
            found.checked[kind] = found.checked.get(kind, 0) + len(mine)
            names -= mine
        if images := {name for name in names if re.fullmatch(IMAGES, name)}:
            found.checked["adversarial images"] = found.checked.get("adversarial images", 0) + len(images)
            names -= images
        faults = index.faults(progress)
        found.faults += [fault for fault in faults.values() if fault != NOT_EXTRACTED]
        if missing := sum(fault == NOT_EXTRACTED for fault in faults.values()):
            found.faults.append(
                f"{folder}: {missing} of {len(shards)} shards are not extracted yet; the same trustcache extract as "
                "before goes on with them"
            )
        found.unknown += [folder / name for name in sorted(names) if TEMPORARY not in name]


def _look_for_lost_files(folder: Path, found: Verification) -> None:
    """Note what a run lacks. Folders of post-hoc scores, which have thresholds or sets only, lack nothing."""
    config, log, weights = ((folder / name).exists() for name in (CONFIG, LOG, WEIGHTS))
    if config and not weights:
        found.faults.append(f"{folder}: has no weights yet; the same trustcache train as before goes on, or remove it")
    for name, there in ((CONFIG, config), (LOG, log)):
        if weights and not there:
            found.faults.append(f"{folder / name}: missing; remove {folder} and train it again")
