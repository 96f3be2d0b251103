"""Scoring: every finished run, and every post-hoc score, on every evaluation cache of the classifier it judges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trustcache.cache import open_cache
from trustcache.cache.index import Index
from trustcache.cache.workspace import Workspace
from trustcache.data.splits import validation_rows
from trustcache.errors import DamagedError, TrustcacheError, UsageError
from trustcache.oracles.backbones import why_not
from trustcache.oracles.optim import Machine
from trustcache.oracles.runs import Run
from trustcache.progress import Progress, silent
from trustcache.scores.stored import ScoreStore

if TYPE_CHECKING:
    from trustcache.evaluate.forward import Forward


def evaluation_caches(workspace: Workspace) -> tuple[list[Index], list[str]]:
    """Return the caches of role "test" that can be opened, and for each other one the sentence that says why not."""
    usable, left_out = [], []
    for index in workspace.caches():
        if index.role == "test":
            try:
                open_cache(index.folder)
                usable.append(index)
            except TrustcacheError as error:
                left_out.append(str(error))
    return usable, left_out


def unscored(
    usable: Sequence[Index], runs: Sequence[Run], tell: Callable[[str], None] = lambda damage: None
) -> list[tuple[Index, list[Run]]]:
    """Return the evaluation caches that lack scores, each with the runs of its classifier that lack them.

    tell: receives a sentence on each file of scores that is not as it was written, and therefore lacks.
    """

    def lacks(run: Run, index: Index) -> bool:
        try:
            return run.scores(index) is None
        except DamagedError as damage:
            tell(str(damage))
            return True

    missing = [(index, [run for run in runs if run.judges(index) and lacks(run, index)]) for index in usable]
    return [(index, left) for index, left in missing if left]


def evaluate(
    workspace: Workspace,
    runs: Sequence[Run],
    data_root: Path,
    machine: Machine,
    progress: Progress = silent,
    own_scores: Sequence[str] = (),
    tell: Callable[[str], None] = lambda damage: None,
    failed: Callable[[TrustcacheError], None] | None = None,
) -> int:
    """Make the scores that are missing, and return their number (runs and post-hoc scores x data sets).

    failed: told why the runs cannot be scored on a data set, where that must not stop the others; None raises at the
    first.
    Left out are heads whose oracle's features of the images are not cached, heads that learnt from an unknown part of
    the images, and caches that cannot be opened, such as unfinished ones.
    own_scores: post-hoc scores to make beside the known ones, as `package.module:function`.
    tell: receives a sentence on each file that is not as it was written, and is made anew.
    Raises UsageError where an oracle needs images or weights that are gone, or a score of `own_scores` is none.
    """
    store = ScoreStore(workspace, own_scores)
    scoring, (usable, _) = Scoring(workspace.caches(), data_root, machine, progress), evaluation_caches(workspace)
    made = 0
    for index, left in unscored(usable, runs, tell):
        try:
            made += scoring.keep(left, index)
        except TrustcacheError as error:
            if failed is None:
                raise
            failed(error)
    made += store.fill(usable, progress=progress)
    for damage in store.damage:
        tell(damage)
    return made


def lacking(workspace: Workspace, runs: Sequence[Run]) -> list[str]:
    """Say what keeps runs from being scored, and which caches were passed over, each once."""
    caches, (usable, left_out) = workspace.caches(), evaluation_caches(workspace)
    reasons = (why_not(run.config, index, caches) for index, left in unscored(usable, runs) for run in left)
    return [*dict.fromkeys([*filter(None, reasons), *(f"passed over: {reason}" for reason in left_out)])]


def own_scores_lacking(workspace: Workspace, own_scores: Sequence[str]) -> list[str]:
    """Say of each user's own score on which evaluation caches it cannot be made, and why."""
    store = ScoreStore(workspace, own_scores)
    found = ((name, store.why_not(index, name)) for index in evaluation_caches(workspace)[0] for name in own_scores)
    return [f"{name} left out: {reason}" for name, reason in found if reason]


@dataclass(frozen=True)
class Scoring:
    """Scoring of runs. caches: all of the workspace; data_root: holds the images that networks look at."""

    caches: Sequence[Index]
    data_root: Path
    machine: Machine
    progress: Progress = silent

    def keep(self, runs: Sequence[Run], index: Index) -> int:
        """Score a cache by those runs that can be scored there, keep the scores, and return their number."""
        forward = self._forward(index)
        scores = forward.scores([run for run in runs if not why_not(run.config, index, self.caches)])
        made = 0
        for run, z in scores:
            run.save_scores(index, z, run.unseen(forward.cache, self.caches))
            made += 1
        return made

    def of_cache(self, run: Run, index: Index) -> np.ndarray:
        """Return a run's z, float64 (N,), for a cache's rows, nan where it learnt; a missing score is made and kept.

        Raises as `evaluate`, and UsageError where the run cannot be scored there.
        """
        if run.scores(index) is None:
            self.keep([run], index)
        z = run.scores(index)
        if z is None or run.config.mixed_up(index, self.caches):
            gone = f"{run.name}: its scores of {index.data} cannot be read; run the same command again"
            raise UsageError(why_not(run.config, index, self.caches) or gone)
        return z

    def of_validation(self, run: Run, index: Index) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows (M,) of the training cache that a run held out, and its z there, float64 (M,).

        Raises UsageError where it held none out, and as `of_cache`.
        """
        learnt = run.config.learnt_rows(open_cache(index.folder))
        rows = learnt[validation_rows(len(learnt), run.config.val_fraction, run.config.seed)]
        if not len(rows):
            raise UsageError(f"{run.name}: was trained with no validation part; name other data with --data")
        if reason := why_not(run.config, index, self.caches):
            raise UsageError(reason)
        ((_, z),) = self._forward(index).scores([run], rows)
        return rows, z

    def _forward(self, index: Index) -> Forward:
        from trustcache.evaluate.forward import Forward  # loads torch, which most calls need not

        return Forward(index, self.caches, self.data_root, self.machine, self.progress)
