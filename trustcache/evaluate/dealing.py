"""The parts in which several processes score one workspace, each with the lock file of what it writes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trustcache.cache.claims import lock_beside
from trustcache.cache.index import Index
from trustcache.cache.records import fingerprint
from trustcache.cache.workspace import Workspace
from trustcache.errors import DamagedError, TrustcacheError
from trustcache.oracles.backbones import attacked, why_not
from trustcache.oracles.runs import Run
from trustcache.scores import POST_HOC
from trustcache.scores.stored import ScoreStore


@dataclass(frozen=True, eq=False)
class Piece:
    """Runs to score on one evaluation cache: one run, or all where attacked images have to be made for them again."""

    index: Index
    runs: tuple[Run, ...]

    @property
    def scored(self) -> bool:
        return not lacking_scores(self.runs, self.index)


def lacking_scores(runs: Iterable[Run], index: Index, tell: Callable[[str], None] = lambda damage: None) -> list[Run]:
    """Return the runs without sound scores of a cache. tell: receives a sentence on each damaged file of scores."""

    def lacks(run: Run) -> bool:
        try:
            return run.scores(index) is None
        except DamagedError as damage:
            tell(str(damage))
            return True

    return [run for run in runs if lacks(run)]


def piece_locks(missing: Sequence[tuple[Index, Sequence[Run]]], caches: Sequence[Index]) -> dict[Piece, Path]:
    """Return the pieces of scoring runs on caches, where that can be done, with their locks. caches: all there are."""
    locks = {}
    for index, runs in missing:
        scorable = [run for run in runs if not why_not(run.config, index, caches)]
        made_again = attacked(index) and not index.meaning.data.kept_images
        for some in [scorable] if made_again and scorable else [[run] for run in scorable]:
            locks[Piece(index, tuple(some))] = lock_beside(some[0].scores_path(index))
    return locks


def by_cache(pieces: Iterable[Piece]) -> list[tuple[Index, list[Run]]]:
    """Return each cache of some pieces with all their runs: these look at the same images once."""
    runs: dict[Path, tuple[Index, list[Run]]] = {}
    for piece in pieces:
        runs.setdefault(piece.index.folder, (piece.index, []))[1].extend(piece.runs)
    return [*runs.values()]


@dataclass(frozen=True, eq=False)
class Fit:
    """A post-hoc score that learns from the training cache of an evaluation cache's classifier."""

    index: Index
    name: str

    def make(self, store: ScoreStore) -> None:
        """Fit it, or read the fit that is kept. Errors are left to the scoring of the cache, which tells of them."""
        with contextlib.suppress(TrustcacheError, OSError):
            store.scorer(self.index, self.name)


def fit_locks(
    workspace: Workspace, store: ScoreStore, lacked: Iterable[tuple[Index, Sequence[str]]]
) -> dict[Fit, Path]:
    """Return the fits that some caches' missing scores need, each once, with their locks."""
    fits: dict[str, Fit] = {}
    for index, names in lacked:
        for name in names:
            if POST_HOC[name].fitted:
                fits.setdefault(fingerprint([store.learnt_from(index, name), name]), Fit(index, name))
    folder = workspace.root / "scores"
    return {fit: lock_beside(folder / key[:16]) for key, fit in fits.items()}


def post_hoc_lock(workspace: Workspace, index: Index) -> Path:
    """Return the lock of the post-hoc scores of a cache."""
    return lock_beside(workspace.scores_folder(index.classifier, index.data))


def is_kept(store: ScoreStore, index: Index, name: str) -> bool:
    """Return True if a post-hoc score of a cache is there and sound. Raises OSError where it cannot be read."""
    with contextlib.suppress(DamagedError):
        return store.read(index, name) is not None
    return False
