"""Scorers: a run or a post-hoc score of one classifier, found by name, with its calibrated threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trustcache.cache.index import Index, judged_fingerprint
from trustcache.cache.records import read_record, write_record
from trustcache.cache.workspace import Workspace
from trustcache.command_lines import command_line
from trustcache.deploy.goals import COVERAGE, named_for_calibration
from trustcache.deploy.threshold import THRESHOLD, Threshold
from trustcache.errors import TrustcacheError, UsageError, did_you_mean, first_few
from trustcache.evaluate.sweep import saved_sweeps
from trustcache.oracles.networks import Network
from trustcache.oracles.runs import Run, finished_runs, without_cache
from trustcache.scores import POST_HOC
from trustcache.scores.fitting import Outputs
from trustcache.scores.registry import probability_of
from trustcache.scores.stored import ScoreStore

WINNER = "winner"
"""Name of the run that a sweep chose."""


@dataclass(frozen=True)
class Scorer:
    """A finished run of one classifier, or if `run` is None the post-hoc score `name` of it.

    folder: holds its threshold. caches: those of that classifier, first the one that the run learnt from.
    workspace_caches: those of every classifier, an oracle's features among them. scores: of the workspace.
    """

    name: str
    folder: Path
    caches: tuple[Index, ...]
    run: Run | None
    workspace_caches: tuple[Index, ...]
    scores: ScoreStore

    def post_hoc(self) -> Callable[[Outputs], np.ndarray]:
        """Return the post-hoc score as a function of the classifier's outputs, giving float64 (N,).

        Raises UsageError where it learns from a training cache that is missing or too small.
        """
        learnt = self.scores.scorer(self.caches[0], self.name)
        return lambda rows: learnt.scores([self.name], rows)[self.name]

    @property
    def judged(self) -> str:
        """The classifier's fingerprint."""
        return judged_fingerprint(self.caches[0])

    @property
    def learnt(self) -> str:
        """Fingerprint of what a post-hoc score learns from and of a user's own code; "" for a run."""
        return "" if self.run else self.scores.learnt_from(self.caches[0], self.name)

    @property
    def classifier(self) -> str:
        """The classifier's name in the workspace."""
        return self.caches[0].classifier

    def cache_of(self, network: Network) -> Index:
        """Return a cache of a network that a run's head reads. Raises UsageError where there is none."""
        found = next((index for index in self.workspace_caches if index.identity == network.identity), None)
        if found is None:
            raise UsageError(
                f"{self.name}: reads what {network.label} says of an image too, and no cache of that is left; make one "
                f"of any data with the weights it had: trustcache extract --as {network.label}"
            )
        return found

    def classes(self, number: int) -> tuple[str, ...]:
        """Return the class names in label order, their numbers as text if no cache has `number` names."""
        known = (index.made_from.classes for index in self.caches)
        return next((names for names in known if len(names) == number), tuple(map(str, range(number))))

    def threshold(self) -> Threshold | None:
        """Return the calibrated threshold, None without one.

        Raises TrustcacheError where that is damaged, or was found for another classifier or training cache.
        """
        path = self.threshold_path
        remedy = f"run trustcache calibrate {self.name} again, or remove it"
        try:
            found = read_record(path, Threshold, remedy)
        except FileNotFoundError:
            return None
        if found.judged != self.judged:
            raise TrustcacheError(f"{path}: was found for another {self.classifier} than is cached now; {remedy}")
        if found.learnt != self.learnt:
            raise TrustcacheError(
                f"{path}: was found when {self.name} had learnt from another training cache, or had other code, than "
                f"now; {remedy}"
            )
        return found

    def probability(self, z: float) -> float | None:
        """Return the probability that a score stands for, None where scores are no log-odds of one."""
        return None if self.run else probability_of(self.name, z)

    def save_threshold(self, threshold: Threshold) -> None:
        """Write a threshold in place of the one before."""
        write_record(self.threshold_path, threshold)

    def working_threshold(self) -> float:
        """Return the calibrated threshold, else 0 for a run and for a post-hoc score with a natural zero.

        Raises UsageError for another post-hoc score that has not been calibrated.
        """
        calibrated = self.threshold()
        if calibrated is None and self.run is None and not POST_HOC[self.name].natural_zero:
            raise UsageError(
                f"{self.name}: only orders samples and has no threshold of its own; set one with "
                f"{self.calibration_line()}, or with --max-risk in place of --coverage, which is a promise"
            )
        return calibrated.point.threshold if calibrated else 0.0

    def calibration_line(self, place: Sequence[str] = ()) -> str:
        """Return a command line that sets its threshold: on images named for it, else on the largest clean data set.

        Without any it takes what a run set aside. place: the options that make a command work in the workspace.
        """
        best = self.calibration_data()
        data = ["--data", best.data] if best else [] if self.run else ["--data", "DATA"]
        which = [] if self.run else ["--classifier", self.classifier]
        return command_line("calibrate", self.name, *which, *data, "--coverage", f"{COVERAGE:g}", *place)

    def calibration_data(self) -> Index | None:
        """Return the cache to calibrate on: of images named for it, else of the largest clean data set, if any."""
        config = self.run.config if self.run else None
        fit = [index for index in self.caches if index.role == "test" and not index.manifest.variant_of]
        fit = [index for index in fit if not index.manifest.condition]
        if config and not config.part:
            fit = [index for index in fit if not config.learnt_images_of(index, self.workspace_caches)]
        return max(fit, key=lambda index: (named_for_calibration(index.data), index.rows), default=None)

    @property
    def threshold_path(self) -> Path:
        return self.folder / THRESHOLD


def find_scorer(workspace: Workspace, name: str, classifier: str | None = None) -> Scorer:
    """Find a run or a post-hoc score by name.

    name: a run's name or its unambiguous beginning, "winner" for the run that a sweep chose, or a post-hoc score that
    the registry finds, such as "mcp" or `package.module:function`. classifier: its classifier's name, if there are
    several. Raises UsageError naming what there is if none or several fit.

    >>> find_scorer(demo_workspace, "mcp").classifier
    'net'
    """
    caches = workspace.caches()
    if classifier and classifier not in {index.classifier for index in caches}:
        _require_run_of(workspace, classifier)
    if name == WINNER:
        name = _winner(workspace, classifier)
    if name in POST_HOC:
        return _post_hoc(workspace, name, [index for index in caches if classifier in (None, index.classifier)])
    runs = finished_runs(workspace)
    fitting = [run for run in runs if run.name.startswith(name) and classifier in (None, run.config.classifier)]
    fitting = [run for run in fitting if run.name == name] or fitting
    if len(fitting) > 1:
        stale = without_cache(fitting, caches)
        fitting = [run for run in fitting if run not in stale] or fitting
    if len(fitting) != 1:
        listed = fitting or runs
        gone = {run.name for run in without_cache(listed, caches)}
        live_first = sorted((run.name for run in listed), key=gone.__contains__)
        raise UsageError(_which(workspace, name, live_first, gone, bool(fitting)))
    (run,) = fitting
    judged = [index for index in caches if run.judges(index)]
    if not judged:
        raise UsageError(
            f"{run.name}: the cache of the {run.config.classifier} that it judges is gone from "
            f"{workspace.root / 'cache'}, or was made anew with other weights or options; run the same trustcache "
            f"extract as before, or remove this run with trustcache runs rm {run.name}"
        )
    own_first = sorted(judged, key=lambda index: index.fingerprint() != run.config.cache)
    return Scorer(run.name, run.folder, tuple(own_first), run, tuple(caches), ScoreStore(workspace))


def _require_run_of(workspace: Workspace, classifier: str) -> None:
    """Raise UsageError for a classifier that has neither a cache nor a run."""
    if classifier not in {run.config.classifier for run in finished_runs(workspace)}:
        workspace.find_cache(None, classifier)  # raises, with the nearest name


def _winner(workspace: Workspace, classifier: str | None) -> str:
    here = {run.name for run in finished_runs(workspace)}
    sweeps = [sweep for sweep in saved_sweeps(workspace) if sweep.winner.runs[0] in here]
    fitting = [sweep for sweep in sweeps if classifier in (None, sweep.classifier)]
    names = sorted({sweep.winner.runs[0] for sweep in fitting})
    if len(names) == 1:
        return names[0]
    if names:
        several = len({sweep.classifier for sweep in fitting}) > 1
        choose = "choose with --classifier, or give one's name" if several else "give one's name"
        raise UsageError(f"{WINNER}: sweeps chose {len(names)} runs; {choose}: {', '.join(names)}")
    raise UsageError(f"{WINNER}: no sweep has chosen a run yet; run trustcache train --loss all --sweep --frozen")


def _post_hoc(workspace: Workspace, name: str, caches: Sequence[Index]) -> Scorer:
    judged = {judged_fingerprint(index): index.classifier for index in caches}
    if len(judged) != 1:
        options = ", ".join(sorted(set(judged.values()))) or "none"
        raise UsageError(
            f"{name}: is a score of any classifier, and {workspace.root / 'cache'} holds caches of {len(judged)} "
            f"that fit ({options}), not of one; choose with --classifier, or run trustcache extract"
        )
    folder = workspace.threshold_folder(caches[0].classifier, name)
    return Scorer(name, folder, tuple(caches), None, tuple(workspace.caches()), ScoreStore(workspace))


def _which(workspace: Workspace, name: str, names: Sequence[str], gone: set[str], several: bool) -> str:
    """Say which runs there are. gone: those without a cache, which are meant only where no other is near."""
    shown = first_few(names, 6)
    if several:
        return f"{name}: {len(names)} runs begin so; give more of one's name: {shown}"
    there = f"there are {shown}" if names else "train one with trustcache train"
    live = [*(one for one in names if one not in gone), *POST_HOC, WINNER]
    near = did_you_mean(name, live, beginning=True) or did_you_mean(name, names, beginning=True)
    return (
        f"{name}: no finished run in {workspace.runs} has a name that begins so, and no post-hoc score; {there}{near}"
    )
