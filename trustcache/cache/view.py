"""Read a cache, the whole of it or a slice, as NumPy arrays; or make one of arrays, in memory."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from trustcache.cache.columns import open_shard
from trustcache.cache.imported import ImportedOutputs, Origin, doubts, import_outputs, in_memory
from trustcache.cache.index import Index, read_index
from trustcache.cache.meaning import ShardRecord
from trustcache.cache.records import fingerprint
from trustcache.errors import DamagedError, TrustcacheError, UsageError, in_python, percent
from trustcache.models.views import VIEWS, view_column

# Columns of numbers that others are looked up by.
_NUMBERS = ("labels", "predictions", "sample_indices")
_CHUNK_ROWS, _CHUNK_BYTES = 8192, 1 << 26


class _Column:
    """Attribute of a view that reads the column of its name; one of a single number a row is kept."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, view: CacheView | None, owner: type) -> np.ndarray:
        if view is None:
            return self  # type: ignore[return-value]
        column = view.column(self._name)
        if column.ndim == 1:
            vars(view)[self._name] = column
        return column


class CacheView:
    """Rows of a cache, read when asked for; `open_cache` makes one.

    `view[a:b]` is a view of fewer rows and reads nothing, so that large columns can be taken in pieces (`chunks`).
    Rows stand in the data set's order; skipped images have none. Columns have the dtype they were stored in; one that
    the cache was extracted without raises UsageError.

    >>> cache = open_cache(demo_workspace.cache_folder("net", "birds"))
    >>> len(cache), cache.logits.shape, cache[10:12].sample_ids
    (30, (30, 4), ['10.jpg', '11.jpg'])
    """

    def __init__(self, index: Index, records: list[ShardRecord], start: int, stop: int) -> None:
        self.index = index
        self._records = records
        self._start, self._stop = start, stop

    @staticmethod
    @in_python()
    def from_arrays(
        logits: Any,
        labels: Any = None,
        *,
        features: Any = None,
        views: Mapping[str, Any] = MappingProxyType({}),
        ids: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        outputs: str = "logits",
        name: str = "data",
        classifier: str = "model",
    ) -> CacheView:
        """Return a cache in memory of what a classifier said about N samples.

        logits (N, K), features (N, D): arrays or tensors; kept as float16 where all are, else as float32. labels: (N,)
        numbers from 0 to K - 1, or names among `classes`, the K names in the order of the columns; without any the rows
        can only be scored. ids: N texts, by default the rows' numbers. outputs: "probabilities" where the logits are
        these; their logarithms are kept. views: what the classifier said of changed images, as logits are, by
        "mirrored", "shrunk" or "tilted". name, classifier: of the data set and of the classifier, for tables.
        Raises UsageError where lengths differ, numbers are not finite, labels are out of range, or logits are
        probabilities.

        >>> cache = CacheView.from_arrays([[2.0, 0.5], [0.1, 0.3]], [0, 0])
        >>> cache.correct, cache
        (array([ True, False]), <cache model/data: 2 rows, 2 classes, accuracy 50.00 %>)
        """
        arrays = {"logits": logits} | ({} if features is None else {"features": features})
        if unknown := views.keys() - VIEWS.keys():
            raise UsageError(f"views {min(unknown)}: unknown; one of {', '.join(VIEWS)}")
        arrays |= {view_column(view): of_view for view, of_view in views.items()}
        checked = import_outputs(arrays, labels, ids, classes, outputs)
        for doubt in doubts(checked):
            warnings.warn(doubt, stacklevel=3)
        return cache_in_memory(checked, Origin(classifier, name))

    def __repr__(self) -> str:
        right = f"accuracy {percent(self.correct.mean() if len(self) else 0.0)}" if self.index.holds("correct") else ""
        return f"<cache {self.index.name}: {len(self):,} rows, {self.classes} classes, {right or 'no labels'}>"

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, rows: slice) -> CacheView:
        if not isinstance(rows, slice):
            raise TypeError("a cache view is sliced, as in view[10:20]; index the arrays themselves for single rows")
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError("a cache view is sliced in steps of 1; index the arrays themselves for other rows")
        return self._rows(self._start + start, self._start + max(start, stop))

    def _rows(self, start: int, stop: int) -> CacheView:
        view = CacheView(self.index, self._records, start, stop)
        vars(view)["_firsts"] = self._firsts
        return view

    def fingerprint(self) -> str:
        """Return SHA-256 over what its numbers mean and which rows these are; of a whole cache that of its index."""
        whole = (self._start, self._stop) == (0, self.index.rows)
        return self.index.fingerprint() if whole else fingerprint([self.index.fingerprint(), self._start, self._stop])

    def is_of_sorted(self) -> bool:
        """Return True if these are some rows of a cache whose rows stand class by class, and so are of some classes.

        >>> cache = CacheView.from_arrays([[2.0, 0.5], [0.1, 0.3]] * 10, [0] * 10 + [1] * 10)
        >>> cache.is_of_sorted(), cache[:10].is_of_sorted()
        (False, True)
        """
        if len(self) == self.index.rows:
            return False
        labels = self._rows(0, self.index.rows).labels
        blocks, classes = 1 + int(np.count_nonzero(np.diff(labels))), len(np.unique(labels))
        # Few rows, or as many classes as rows, stand so by chance.
        return 1 < blocks == classes <= len(labels) // 4

    def chunks(self, rows: int | None = None) -> Iterator[CacheView]:
        """Return views of at most `rows` rows each, in order; by default 8192, or as many as take 64 MiB."""
        rows = rows or max(min(_CHUNK_ROWS, _CHUNK_BYTES // self._row_bytes()), 1)
        return (self[start : start + rows] for start in range(0, len(self), rows))

    def column(self, name: str) -> np.ndarray:
        """Return a column by its name, (N,) or (N, D), in the dtype it is stored in.

        Raises UsageError where the cache was extracted without it.

        >>> open_cache(demo_workspace.cache_folder("net", "birds"))[:5].column("features").shape
        (5, 3)
        """
        return self.columns([name])[name]

    def columns(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return columns by their names. Raises as `require`."""
        self.require(names)
        return {name: self._column(name) for name in names}

    def require(self, columns: Sequence[str]) -> None:
        """Raise UsageError naming all of some columns that the cache was extracted without."""
        if lacking := [name for name in columns if not self.index.holds(name)]:
            raise UsageError(self.index.lacks(*lacking))

    logits = _Column("Logits (N, K), in the dtype they were stored in (float16 unless asked otherwise).")
    features = _Column("Pooled features (N, D), the last layer's input.")
    stages = _Column("Pooled outputs of the model's stages (N, S).")
    labels = _Column("True classes, int64 (N,).")
    predictions = _Column("Predicted classes, int64 (N,), from float32 logits.")
    correct = _Column("True where the prediction is the label, bool (N,).")
    true_class_prob = _Column("Softmax probability of the true class, float32 (N,), from float32 logits.")
    mc_dropout = _Column("Negative predictive entropy with dropout on, float32 (N,).")
    content = _Column("Hashes of the bytes that images were decoded from, before any variant, uint64 (N,).")
    sample_indices = _Column("Positions in the data set, int64 (N,).")

    @property
    def classes(self) -> int:
        """Number of classes that the classifier tells apart."""
        return self._records[0].widths["logits"]

    @cached_property
    def sample_ids(self) -> list[str]:
        """Ids of the samples: relative paths, or batch and row."""
        return [
            raw.decode("utf-8", "surrogateescape")
            for record, rows in self._pieces()
            for raw in self._read(record, "sample_ids", rows).tolist()
        ]

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

    def _row_bytes(self) -> int:
        """Return the bytes of a row's wide columns."""
        return sum(self._records[0].widths.values()) * np.dtype(self.index.meaning.store).itemsize

    def _pieces(self) -> Iterator[tuple[ShardRecord, slice]]:
        """Yield the shards that hold this view's rows, each with the slice of its own rows."""
        # Found by halving: 14 million rows are 7,000 shards, and are read in as many blocks.
        number = bisect_right(self._firsts, self._start) - 1
        while number < len(self._records) and (first := self._firsts[number]) < self._stop:
            record = self._records[number]
            start, stop = max(self._start, first), min(self._stop, first + record.rows)
            if start < stop:
                yield record, slice(start - first, stop - first)
            number += 1

    @cached_property
    def _firsts(self) -> list[int]:
        """The number of each shard's first row, and of all rows."""
        return list(accumulate((record.rows for record in self._records), initial=0))

    def _column(self, name: str) -> np.ndarray:
        # An empty slice still has its column's dtype and width.
        pieces = list(self._pieces()) or [(self._records[0], slice(0, 0))]
        first = self._read(pieces[0][0], name, pieces[0][1])
        if len(pieces) == 1:
            return first
        # Filled in place: joining the parts would for a moment need twice the memory of a column of gigabytes.
        column = np.empty((len(self), *first.shape[1:]), first.dtype)
        done = 0
        for record, rows in pieces:
            part = self._read(record, name, rows) if done else first
            column[done : done + len(part)] = part
            done += len(part)
        return column

    def _read(self, record: ShardRecord, name: str, rows: slice) -> np.ndarray:
        path = self.index.folder / record.file
        try:
            with open_shard(path, self.index.meaning, record.rows, record.widths) as file:
                part: np.ndarray = file[name][rows]
            low, high = (record.start, record.stop) if name == "sample_indices" else (0, record.widths["logits"])
            if name in _NUMBERS and len(part) and not low <= part.min() <= part.max() < high:
                raise OSError(f"its {name} are not all from {low} to {high - 1}")
        except OSError as error:
            raise DamagedError(
                f"{path}: cannot be read ({error}); run trustcache cache verify, then extract again"
            ) from None
        return part


class _InMemory(CacheView):
    """Rows of a cache whose columns are arrays."""

    def __init__(self, index: Index, columns: Mapping[str, np.ndarray], start: int, stop: int) -> None:
        super().__init__(index, [], start, stop)
        self._columns = columns

    def _rows(self, start: int, stop: int) -> CacheView:
        return _InMemory(self.index, self._columns, start, stop)

    @property
    def classes(self) -> int:
        return len(self.index.made_from.classes)

    @cached_property
    def sample_ids(self) -> list[str]:
        return [raw.decode("utf-8", "surrogateescape") for raw in self._column("sample_ids").tolist()]

    def _row_bytes(self) -> int:
        return sum(column[:1].nbytes for column in self._columns.values()) or 1

    def _column(self, name: str) -> np.ndarray:
        return self._columns[name][self._start : self._stop]


def cache_in_memory(outputs: ImportedOutputs, origin: Origin) -> CacheView:
    """Return a cache in memory of checked outputs.

    >>> cache_in_memory(import_outputs({"logits": [[2.0, 0.5]]}, [0]), Origin(data="birds")).index.data
    'birds'
    """
    return _InMemory(*in_memory(outputs, origin), 0, len(outputs))


def require_cache(given: Any) -> None:
    """Raise TypeError for what is no cache, such as arrays.

    >>> require_cache(CacheView.from_arrays([[2.0, 0.5]], [0]))
    """
    if not isinstance(given, CacheView):
        raise TypeError(
            f"takes a cache, not {type(given).__name__}; make one with Cache.from_arrays(logits, labels) or open_cache"
        )


def warn_of_sorted(cache: CacheView, what: str) -> None:
    """Warn the caller of a public function under `in_python` if it is given a part of what is sorted by class.

    >>> warn_of_sorted(CacheView.from_arrays([[2.0, 0.5]], [0]), "calibrate")
    """
    if cache.is_of_sorted():
        drawn = ", or give part='first-half', which draws its half" if what == "calibrate" else ""
        warnings.warn(
            f"{what}: these {len(cache):,} rows are a slice of {cache.index.data}, whose rows stand class by class, so "
            f"they are not drawn as the others are; shuffle the arrays before you slice{drawn}",
            stacklevel=4,
        )


def open_cache(path: str | Path) -> CacheView:
    """Open a whole cache for reading.

    Raises UsageError where `path` holds no cache, TrustcacheError where its extraction is unfinished or none of its
    images could be read.

    >>> cache = open_cache(demo_workspace.cache_folder("net", "birds"))
    >>> cache.correct.dtype, cache.index.role
    (dtype('bool'), 'test')
    """
    index = read_index(Path(path))
    records = index.records()
    missing = len(index.ranges()) - len(records)
    if missing:
        raise TrustcacheError(
            f"{index.folder}: {missing} of {len(index.ranges())} shards are not extracted yet; "
            "run the same trustcache extract again, it goes on where it stopped"
        )
    if any(record.widths != records[0].widths for record in records):
        raise DamagedError(f"{index.folder}: its shards' columns differ in width; remove that folder and extract again")
    rows = sum(record.rows for record in records)
    if not rows:
        reason = next(iter(records[0].skipped.values()))
        raise TrustcacheError(
            f"{index.folder}: empty, for none of its {index.samples} images could be read; the first: {reason}"
        )
    return CacheView(index, records, 0, rows)
