"""Reading a cache: the whole of it or a slice, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from trustcache.cache.index import Index, ShardRecord, read_index
from trustcache.errors import TrustcacheError, UsageError


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
        if not isinstance(rows, slice):
            raise TypeError("a cache view is sliced, as in view[10:20]; index the arrays themselves for single rows")
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError("a cache view is sliced in steps of 1; index the arrays themselves for other rows")
        return CacheView(self.index, self._records, self._start + start, self._start + max(start, stop))

    def chunks(self, rows: int = 8192) -> Iterator[CacheView]:
        """Views of at most `rows` rows each, in order."""
        return (self[start : start + rows] for start in range(0, len(self), rows))

    def column(self, name: str) -> np.ndarray:
        """Return a column by its name, as in `view.column("logits")`. Raises UsageError where the cache lacks it."""
        column: np.ndarray = getattr(self, name)
        return column

    @property
    def logits(self) -> np.ndarray:
        """(N, K), in the dtype they were stored in (float16 unless asked otherwise)."""
        return self._column("logits")

    @property
    def features(self) -> np.ndarray:
        """(N, D) pooled features, the last layer's input, in the dtype they were stored in.

        Raises UsageError where the cache was extracted without.
        """
        if not self.index.holds("features"):
            raise UsageError(
                f"{self.index.folder}: was extracted with --features none; remove that folder and extract again with "
                "--features last"
            )
        return self._column("features")

    @property
    def stages(self) -> np.ndarray:
        """(N, S) pooled outputs of the model's stages, in the dtype they were stored in.

        Raises UsageError where the cache was extracted without.
        """
        self._require_stages()
        return self._column("stages")

    @property
    def mirrored_logits(self) -> np.ndarray:
        """(N, K) logits of each image's mirror image, in the dtype they were stored in.

        Raises UsageError where the cache was extracted without.
        """
        self._require_stages()
        return self._column("mirrored_logits")

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
    def mc_dropout(self) -> np.ndarray:
        """(N,) float32 negative predictive entropy with dropout on.

        Raises UsageError where the cache was extracted without.
        """
        if not self.index.holds("mc_dropout"):
            raise UsageError(
                f"{self.index.folder}: was extracted without --mc-dropout; extract it so under another --as"
            )
        return self._column("mc_dropout")

    @cached_property
    def sample_ids(self) -> list[str]:
        """The samples' ids: relative paths, or batch and row."""
        return [
            raw.decode("utf-8", "surrogateescape")
            for record, rows in self._pieces()
            for raw in self._read(record, "sample_id", rows).tolist()
        ]

    @cached_property
    def sample_indices(self) -> np.ndarray:
        """(N,) int64 positions in the data set."""
        return self._column("sample_index")

    def accuracy_within_subset(self) -> float | None:
        """Return the share of right answers if only the classes that occur may be answered; None if all of them occur.

        The usual figure for ImageNet-A and -R, whose images are of 200 of the 1000 classes.
        """
        manifest = self.index.manifest
        if not manifest.subset or not manifest.classes:
            return None
        members = np.array([manifest.classes.index(name) for name in manifest.subset])
        right = sum(int((members[c.logits[:, members].argmax(axis=1)] == c.labels).sum()) for c in self.chunks())
        return right / len(self)

    def _pieces(self) -> Iterator[tuple[ShardRecord, slice]]:
        """The shards that hold this view's rows, and which of their own rows those are."""
        first = 0
        for record in self._records:
            start, stop = max(self._start, first), min(self._stop, first + record.rows)
            if start < stop:
                yield record, slice(start - first, stop - first)
            first += record.rows

    def _require_stages(self) -> None:
        if not self.index.holds("stages"):
            raise UsageError(
                f"{self.index.folder}: holds no features of stages; remove that folder and extract again with "
                "--features stages, or keep both by giving the new one another name with --as NAME"
            )

    def _column(self, name: str) -> np.ndarray:
        # An empty slice still has its column's dtype and width.
        pieces = list(self._pieces()) or [(self._records[0], slice(0, 0))]
        part = self._read(pieces[0][0], name, pieces[0][1])
        if len(pieces) == 1:
            return part
        # Filled in place: joining the parts would for a moment need twice the memory of a column of gigabytes.
        column = np.empty((len(self), *part.shape[1:]), part.dtype)
        column[: len(part)] = part
        done = len(part)
        for record, rows in pieces[1:]:
            part = self._read(record, name, rows)
            column[done : done + len(part)] = part
            done += len(part)
        return column

    def _read(self, record: ShardRecord, name: str, rows: slice) -> np.ndarray:
        path = self.index.folder / record.file
        try:
            # Shards never change once they are listed, and network disks often offer no locks.
            with h5py.File(path, "r", locking=False) as file:
                part = file[name][rows]
            if len(part) != rows.stop - rows.start:
                raise OSError("it has fewer rows than its record says")
        except (OSError, KeyError) as error:
            raise TrustcacheError(
                f"{path}: cannot be read ({error}); run trustcache cache verify, then extract again"
            ) from None
        return part


def open_cache(path: str | Path) -> CacheView:
    """Open a whole cache for reading.

    Raises UsageError where `path` holds no cache, TrustcacheError where its extraction has not been finished, or
    none of its images could be read.
    """
    index = read_index(Path(path))
    records = index.records()
    missing = len(index.ranges()) - len(records)
    if missing:
        raise TrustcacheError(
            f"{index.folder}: {missing} of {len(index.ranges())} shards are not extracted yet; "
            "run the same trustcache extract again, it goes on where it stopped"
        )
    rows = sum(record.rows for record in records)
    if not rows:
        reason = next(iter(records[0].skipped.values()))
        raise TrustcacheError(
            f"{index.folder}: empty, for none of its {index.samples} images could be read; the first: {reason}"
        )
    return CacheView(index, records, 0, rows)
