"""Scoring: every finished run, and every post-hoc score, on every evaluation cache of the classifier it judges."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trustcache.cache import open_cache
from trustcache.cache.claims import dealt
from trustcache.cache.index import Index, judged_fingerprint
from trustcache.cache.workspace import Workspace
from trustcache.data.progress import Progress, silent
from trustcache.data.ranks import ranks
from trustcache.data.splits import validation_rows
from trustcache.errors import DamagedError, TrustcacheError, UsageError
from trustcache.evaluate.dealing import by_cache, fit_locks, is_kept, lacking_scores, piece_locks, post_hoc_lock
from trustcache.oracles.backbones import why_not
from trustcache.oracles.optim import Machine
from trustcache.oracles.runs import Run
from trustcache.scores.stored import ScoreStore

if TYPE_CHECKING:
    from trustcache.evaluate.forward import Forward


def evaluation_caches(
    workspace: Workspace, judged: str | None = None
) -> tuple[list[Index], list[tuple[Index, TrustcacheError]]]:
    """Return the caches of role "test" that can be opened, and each other one with the error that says why not.

    judged: the fingerprint of a classifier, whose caches alone are returned; None for all.
    """
    usable, left_out = [], []
    for index in workspace.caches():
        if index.role == "test" and judged in (None, judged_fingerprint(index)):
            try:
                open_cache(index.folder)
                usable.append(index)
            except TrustcacheError as error:
                left_out.append((index, error))
    return usable, left_out


def unscored(
    usable: Sequence[Index], runs: Sequence[Run], tell: Callable[[str], None] = lambda damage: None
) -> list[tuple[Index, list[Run]]]:
    """Return the evaluation caches that lack scores, each with the runs of its classifier that lack them.

    tell: as of `lacking_scores`.
    """
    missing = [(index, lacking_scores([run for run in runs if run.judges(index)], index, tell)) for index in usable]
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
    judged: str | None = None,
) -> int:
    """Make the scores that are missing, and return their number (runs and post-hoc scores x data sets).

    Of several processes each makes those that are free; all end when everything is there, and return the same number.

    failed: told, for each data set that cannot be scored or only in part, the reason and its remedy, while the others
    are scored; None raises at the first.
    Left out are heads whose oracle's features of the images are not cached, heads that learnt from an unknown part of
    the images, and unfinished caches.
    own_scores: post-hoc scores to make beside the known ones, as `package.module:function`.
    tell: receives a sentence on each file that is not as it was written, and is made anew.
    judged: as of `evaluation_caches`.
    Raises UsageError where an oracle needs images or weights that are gone, or a score of `own_scores` is none.
    """
    store = ScoreStore(workspace, own_scores)
    scoring, each = Scoring(workspace.caches(), data_root, machine, progress), _EachDataSet(failed)
    usable, left_out = evaluation_caches(workspace, judged)
    for index, error in left_out:
        if index.finished() and failed:  # damaged, where the others are still being extracted
            failed(error)
    missing = unscored(usable, runs, tell)
    for share in dealt(piece_locks(missing, scoring.caches), ranks().count, lambda piece: piece.scored):
        for index, left in by_cache(share):
            each.runs(scoring, index, left)
    made = sum(len(left) - len(lacking_scores(left, index)) for index, left in missing)
    made += _make_post_hoc(workspace, store, usable, each, progress)
    for damage in store.damage:
        tell(damage)
    if each.unusable:
        raise UsageError("; ".join(each.unusable))
    return made


def _make_post_hoc(
    workspace: Workspace, store: ScoreStore, usable: Sequence[Index], each: _EachDataSet, progress: Progress
) -> int:
    """Make the post-hoc scores that caches lack, and return their number."""
    lacked = {index.folder: (index, names) for index in usable if (names := each.missing(store, index))}
    processes = ranks().count
    fits = fit_locks(workspace, store, lacked.values()) if processes > 1 else {}
    for some in dealt(fits, processes, lambda fit: False):
        for fit in some:
            fit.make(store)
    locks = {folder: post_hoc_lock(workspace, index) for folder, (index, _) in lacked.items()}
    for folders in dealt(locks, processes, lambda folder: not each.missing(store, lacked[folder][0])):
        for folder in folders:
            each.post_hoc(store, lacked[folder][0], progress)
    return sum(each.kept(store, index, names) for index, names in lacked.values())


class _EachDataSet:
    """Scores one data set whatever became of the others. failed: as `evaluate` has it."""

    def __init__(self, failed: Callable[[TrustcacheError], None] | None) -> None:
        self.failed = failed
        self.unusable: dict[str, None] = {}  # faults of users' own scores, which are those of all data sets

    def runs(self, scoring: Scoring, index: Index, runs: Sequence[Run]) -> None:
        """Score a data set by runs; by each alone where a file is damaged."""
        try:
            scoring.keep(runs, index)
        except (TrustcacheError, OSError) as error:
            if isinstance(error, DamagedError) and len(runs) > 1:  # perhaps of one run
                for run in lacking_scores(runs, index):
                    self.runs(scoring, index, [run])
            else:
                self._fail(index, error)

    def missing(self, store: ScoreStore, index: Index) -> list[str]:
        """Return the post-hoc scores that a data set lacks; none where that cannot be told."""
        try:
            return store.missing(index)
        except (TrustcacheError, OSError) as error:
            self._fail(index, error)
            return []

    def kept(self, store: ScoreStore, index: Index, names: Sequence[str]) -> int:
        """Return how many of some post-hoc scores a data set has now; none where that cannot be told."""
        try:
            return sum(is_kept(store, index, name) for name in names)
        except OSError as error:
            self._fail(index, error)
            return 0

    def post_hoc(self, store: ScoreStore, index: Index, progress: Progress) -> None:
        """Make the post-hoc scores of a data set."""
        try:
            store.fill([index], progress=progress)
        except UsageError as error:
            self.unusable[str(error)] = None
        except (TrustcacheError, OSError) as error:
            self._fail(index, error)
            with contextlib.suppress(TrustcacheError, OSError):  # training data may be what is damaged
                store.fill([index], unfitted_only=True, progress=progress)

    def _fail(self, index: Index, error: TrustcacheError | OSError) -> None:
        if isinstance(error, OSError):
            where, what = error.filename or index.folder, error.strerror or error
            error = TrustcacheError(f"{where}: {what}; mend that and run the same command again")
        if self.failed is None:
            raise error
        named = index.data in str(error)
        self.failed(error if named else type(error)(f"{index.data}: {error}"))


def lacking(workspace: Workspace, runs: Sequence[Run], judged: str | None = None) -> list[str]:
    """Say what keeps runs from being scored, and which caches are still being extracted, each once.

    judged: as of `evaluation_caches`.
    """
    caches, (usable, left_out) = workspace.caches(), evaluation_caches(workspace, judged)
    reasons = (why_not(run.config, index, caches) for index, left in unscored(usable, runs) for run in left)
    unfinished = [f"passed over: {reason}" for index, reason in left_out if not index.finished()]
    return [*dict.fromkeys([*filter(None, reasons), *unfinished])]


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

    def keep(self, runs: Sequence[Run], index: Index) -> None:
        """Score a cache by those runs that can be scored there, and keep the scores."""
        forward = self._forward(index)
        for run, z in forward.scores([run for run in runs if not why_not(run.config, index, self.caches)]):
            run.save_scores(index, z, run.unseen(forward.cache, self.caches))

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
