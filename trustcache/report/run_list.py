"""Runs as they are listed and shown: what each judges, how well by its validation part, and its threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustcache.cache.index import Index
from trustcache.cache.records import read_record
from trustcache.cache.workspace import Workspace
from trustcache.deploy.threshold import THRESHOLD, Threshold
from trustcache.errors import UsageError
from trustcache.evaluate.removal import run_named
from trustcache.evaluate.sweep import Metrics
from trustcache.oracles.runs import Run, read_runs, without_cache
from trustcache.report.names import run_names


@dataclass(frozen=True)
class RunSummary:
    """A line of `trustcache runs list`.

    name: for people. classifier: the one it judges. oracle: the model it is built on. data: of the training cache.
    cached: whether a cache of the classifier that it judges is here. validation: metrics on the part that it set aside,
    None if undefined. threshold: None without a calibrated one.
    """

    run: str
    name: str
    classifier: str
    oracle: str
    data: str
    loss: str
    settings: dict[str, float | str]
    training: str
    seed: int
    finished: bool
    cached: bool
    validation: Metrics
    threshold: float | None
    folder: Path

    @property
    def classifier_in_words(self) -> str:
        """The classifier, or that no cache of it is here, as after it was extracted anew with other weights."""
        return self.classifier if self.cached else f"{self.classifier} (no cache of it here)"

    @property
    def auc_in_words(self) -> str:
        """The AUC in percent, or that it is unfinished."""
        if not self.finished:
            return "unfinished"
        auc = self.validation.get("auc")
        return "" if auc is None else f"{100 * auc:.2f}"

    @property
    def threshold_in_words(self) -> str:
        """The threshold, empty without one."""
        return "" if self.threshold is None else f"{self.threshold:.6g}"


def list_runs(workspace: Workspace) -> list[RunSummary]:
    """Return every run of a workspace at a glance, finished or not. Raises UsageError where there is none."""
    runs = read_runs(workspace)
    if not runs:
        raise UsageError(f"no runs in {workspace.runs}; train one with trustcache train --loss ss --frozen")
    return summarise(runs, workspace.caches())


def summarise(runs: Sequence[Run], caches: Sequence[Index]) -> list[RunSummary]:
    """Return each run at a glance, with a name that tells it from the others. caches: all of the workspace."""
    names, stale = run_names(runs), without_cache(runs, caches)
    return [_summarise(run, names[run.name], run not in stale) for run in runs]


def _summarise(run: Run, name: str, cached: bool) -> RunSummary:
    config, found = run.config, _threshold(run)
    return RunSummary(
        run.name,
        name,
        config.classifier,
        config.oracle,
        config.data,
        config.loss.name,
        config.loss.settings,
        config.training,
        config.seed,
        run.finished,
        cached,
        run.log()[-1].validation if run.finished else {},
        found.point.threshold if found else None,
        run.folder,
    )


def describe_run(workspace: Workspace, name: str) -> dict[str, Any]:
    """Return a run's config, its last epoch, its threshold, and the names of the data sets it has scored.

    name: its own or its unambiguous beginning. Raises UsageError where that is of no one run.
    """
    run = run_named(read_runs(workspace), name, workspace)
    judged = [index for index in workspace.caches() if run.judges(index)]
    return {
        "run": run.name,
        "folder": run.folder,
        "finished": run.finished,
        "last_epoch": run.log()[-1] if run.finished else None,
        "threshold": _threshold(run),
        "scored": [index.data for index in judged if run.scores_path(index).is_file()],
        "config": run.config,
    }


def _threshold(run: Run) -> Threshold | None:
    try:
        return read_record(run.folder / THRESHOLD, Threshold, "calibrate it again, or remove the file")
    except FileNotFoundError:
        return None
