"""The scores behind a record, read again: figures that need every sample are made of these."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from trustcache.cache import CacheView, open_cache
from trustcache.cache.index import Index
from trustcache.cache.workspace import Workspace
from trustcache.errors import TrustcacheError
from trustcache.oracles.runs import finished_runs, in_half
from trustcache.protocols import negative_threshold
from trustcache.report.names import BASELINE
from trustcache.report.records import Record
from trustcache.scores.stored import ScoreStore


@dataclass(frozen=True, eq=False)
class Samples:
    """A record's scores z, float64 (n,), and bool (n,) whether the classifier is right; rows: bool, of the cache.

    negative: the trust confidence below which the method calls a sample untrustworthy, None where that is 0.5.
    """

    z: np.ndarray
    correct: np.ndarray
    rows: np.ndarray
    cache: CacheView
    negative: float | None

    def among(self, rows: np.ndarray) -> Samples:
        """Return those that are among some rows of the cache, bool (N,)."""
        kept = rows[self.rows]
        return replace(self, z=self.z[kept], correct=self.correct[kept], rows=self.rows & rows)

    def among_or_all(self, rows: np.ndarray) -> Samples:
        """Return those that are among some rows of the cache, bool (N,), or all of them if none is."""
        kept = self.among(rows)
        return kept if len(kept.z) else self


class ScoreReader:
    """Reads the scores of a workspace's records."""

    def __init__(self, workspace: Workspace) -> None:
        self._runs = {run.name: run for run in finished_runs(workspace)}
        self._store = ScoreStore(workspace)
        self._indices = {(index.classifier, index.data): index for index in workspace.caches()}
        self._caches: dict[tuple[str, str], CacheView] = {}

    def index(self, record: Record) -> Index:
        """Return the index of the cache that a record is of."""
        return self._indices[record.classifier, record.dataset]

    def cache(self, record: Record) -> CacheView:
        """Return the cache that a record is of, opened once."""
        key = record.classifier, record.dataset
        if key not in self._caches:
            self._caches[key] = open_cache(self._indices[key].folder)
        return self._caches[key]

    def read(self, record: Record) -> Samples:
        """Return a record's scores. Raises TrustcacheError where they are gone since the record was made."""
        cache = self.cache(record)
        z: np.ndarray | None
        if record.run:
            run = self._runs[record.run]
            z, rows = run.scores(cache.index), run.unseen(cache, [*self._indices.values()])
        else:
            stored, half = self._store.read(cache.index, record.method), record.settings.get("rows")
            z = stored.z if stored else None
            rows = in_half(cache, str(half)) if half else np.ones(len(cache), dtype=bool)
        if z is None:
            raise _gone(cache, record.run or record.method)
        negative = negative_threshold(record.method if record.run else None, cache.classes)
        return Samples(z[rows], cache.correct[rows], rows, cache, negative)

    def confidence(self, samples: Samples) -> np.ndarray:
        """Return the log-odds of the classifier's own confidence in some samples (n,). Raises as `read`."""
        stored = self._store.read(samples.cache.index, BASELINE)
        if stored is None:
            raise _gone(samples.cache, BASELINE)
        return stored.z[samples.rows]


def _gone(cache: CacheView, name: str) -> TrustcacheError:
    """Return the error for scores that are gone, or out of reach, since their record was made."""
    return TrustcacheError(
        f"{cache.index.folder}: its scores by {name} cannot be read any more; run trustcache evaluate, then "
        "trustcache report again"
    )
