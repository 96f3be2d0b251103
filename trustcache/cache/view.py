"""Reading a cache: the whole of it or a slice, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from trustcache.cache.index import Index, ShardRecord, read_index
from trustcache.errors import TrustcacheError


class CacheView:
    """Rows of a cache, read when asked for.

    Slicing with `view[a:b]` gives a view of fewer rows without reading anything, so that large columns can be
    taken in pieces (`chunks`). Rows stand in the data set's order; skipped images have none.
    """

    def __init__(self, index: Index, records: list[ShardRecord], start: int, stop: int) -> None:
        self.index = index
        self._records = records
        self._start, self._stop = start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, rows: slice) -> CacheView:
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError("a cache view is sliced in steps of 1; index the arrays themselves for other rows")
        return CacheView(self.index, self._records, self._start + start, self._start + max(start, stop))

    def chunks(self, rows: int = 8192) -> Iterator[CacheView]:
        """Views of at most `rows` rows each, in order."""
        return (self[start : start + rows] for start in range(0, len(self), rows))

    @property
    def logits(self) -> np.ndarray:
        """(N, K), in the dtype they were stored in (float16 unless asked otherwise)."""
        return self._column("logits")

    @property
    def features(self) -> np.ndarray:
        """(N, D) pooled features, the last layer's input, in the dtype they were stored in."""
        return self._column("features")

    @cached_property
    def labels(self) -> np.ndarray:
        """(N,) int64 true classes."""
        return self._column("label")

    @cached_property
    def predictions(self) -> np.ndarray:
        """(N,) int64 predicted classes, from float32 logits."""
        return self._column("prediction")

    @cached_property
    def correct(self) -> np.ndarray:
        """(N,) bool, whether the prediction is the label."""
        return self._column("correct")

    @cached_property
    def true_class_prob(self) -> np.ndarray:
        """(N,) float32 softmax probability of the true class, from float32 logits."""
        return self._column("true_class_prob")

    @cached_property
    def sample_ids(self) -> list[str]:
        """The samples' ids: relative paths, or batch and row."""
        return [raw.decode("utf-8", "surrogateescape") for raw in self._column("sample_id").tolist()]

    @cached_property
    def sample_indices(self) -> np.ndarray:
        """(N,) int64 positions in the data set."""
        return self._column("sample_index")

    def _column(self, name: str) -> np.ndarray:
        parts = []
        first = 0
        for record in self._records:
            start, stop = max(self._start, first), min(self._stop, first + record.rows)
            if start < stop:
                parts.append(self._read(record, name, slice(start - first, stop - first)))
            first += record.rows
        if not parts:  # an empty slice still has its column's dtype and width
            return self._read(self._records[0], name, slice(0, 0))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _read(self, record: ShardRecord, name: str, rows: slice) -> np.ndarray:
        path = self.index.folder / record.file
        try:
            # Shards never change once they are listed, and network disks often offer no locks.
            with h5py.File(path, "r", locking=False) as file:
                return file[name][rows]
        except (OSError, KeyError) as error:
            raise TrustcacheError(
                f"{path}: cannot be read ({error}); run trustcache cache verify, then extract again"
            ) from None


def open_cache(path: str | Path) -> CacheView:
    """Open a whole cache for reading.

    Raises UsageError where `path` holds no cache, TrustcacheError where its extraction has not been finished.
    """
    index = read_index(Path(path))
    records = index.records()
    missing = len(index.ranges()) - len(records)
    if missing:
        raise TrustcacheError(
            f"{index.folder}: {missing} of {len(index.ranges())} shards are not extracted yet; "
            "run the same trustcache extract again, it goes on where it stopped"
        )
    return CacheView(index, records, 0, sum(record.rows for record in records))
