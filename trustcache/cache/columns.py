"""Columns of a shard: their declaration, and the check that an HDF5 file holds these and nothing else."""

from __future__ import annotations

import math
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trustcache.cache.meaning import Meaning
from trustcache.cache.publish import chunk_shape
from trustcache.models.views import VIEWS, view_column

if TYPE_CHECKING:
    import h5py


@dataclass(frozen=True)
class Column:
    """A column of a shard.

    dtype: NumPy's name of it, "S" for bytes of any length, "" for the dtype that the cache stores floats in. wide: True
    for (N, width), False for (N,). option: of `extract`, which keeps it. kept: returns True if a cache has it.
    """

    dtype: str
    wide: bool = False
    option: str = ""
    kept: Callable[[Meaning], bool] = lambda meaning: True


def _holds_view(view: str, meaning: Meaning) -> bool:
    return view in meaning.views


OUTPUTS = {
    "logits": Column("", wide=True),
    "predictions": Column("int64"),
    "features": Column("", True, "--features last", lambda meaning: meaning.features != "none"),
    "stages": Column("", True, "--features stages", lambda meaning: meaning.features == "stages"),
    **{view_column(view): Column("", True, f"--views {view}", partial(_holds_view, view)) for view in VIEWS},
    "mc_dropout": Column("float32", False, "--mc-dropout N", lambda meaning: meaning.mc_dropout is not None),
}
"""Columns of a classifier's outputs by name, as `CacheView` and shards have them."""
COLUMNS = {
    **OUTPUTS,
    "sample_indices": Column("int64"),
    "sample_ids": Column("S"),
    "content": Column("uint64"),
    "labels": Column("int64"),
    "correct": Column("bool"),
    "true_class_prob": Column("float32"),
}
"""All columns of a shard by name."""


def options_of(columns: Iterable[str]) -> str:
    """Return the options of `extract` that keep some columns.

    >>> options_of(["stages", "features", "tilted_logits", "mirrored_logits"])
    '--features stages --views mirrored,tilted'
    """
    wanted, values = {*columns}, dict[str, list[str]]()
    for column in (column for name, column in COLUMNS.items() if name in wanted):
        name, _, value = column.option.partition(" ")
        values.setdefault(name, []).append(value)
    # Views make a list; of the others the last in COLUMNS keeps what those before it keep too.
    return " ".join(f"{name} {','.join(them) if name == '--views' else them[-1]}" for name, them in values.items())


def widths_of(columns: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Return the widths of the columns (N, width) by name.

    >>> widths_of({"logits": np.zeros((7, 4)), "labels": np.zeros(7)})
    {'logits': 4}
    """
    return {name: column.shape[1] for name, column in columns.items() if COLUMNS[name].wide}


# Files that were found to hold what is declared, each as it was then: a report opens the same cache many times.
_PLAIN: set[tuple[Any, ...]] = set()


@contextmanager
def open_shard(path: Path, meaning: Meaning, rows: int, widths: Mapping[str, int]) -> Iterator[h5py.File]:
    """Open a shard for reading, if it holds the plain datasets that its index and record declare and nothing else.

    Raises OSError where it does not, and, within the context too, for whatever HDF5 finds damaged.

    >>> index = demo_workspace.find_cache("test")
    >>> with open_shard(index.folder / "00000.h5", index.meaning, 10, {"logits": 4, "features": 3}) as file:
    ...     file["labels"].shape
    (10,)
    >>> with open_shard(index.folder / "00001.h5", index.meaning, 10, {"logits": 4, "features": 7}) as file:
    ...     pass
    Traceback (most recent call last):
    OSError: its column features is float16 (10, 3), and float16 (10, 7) in its record
    """
    import h5py

    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # HDF5 would wait for what is written to a pipe
        raise OSError("it is not a regular file")
    as_it_is = path, status.st_ino, status.st_mtime_ns, status.st_size, rows, *sorted(widths.items())
    try:
        # Shards never change once they are listed, and network disks often offer no locks.
        with h5py.File(path, "r", locking=False) as file:
            if as_it_is not in _PLAIN:
                if fault := _foreign_part(file, meaning, rows, widths):
                    raise OSError(fault)
                _PLAIN.add(as_it_is)
            yield file
    except (KeyError, RuntimeError, TypeError, ValueError) as error:  # h5py's, by what is damaged
        raise OSError(str(error)) from error


def _foreign_part(file: h5py.File, meaning: Meaning, rows: int, widths: Mapping[str, int]) -> str | None:
    """Say how a file differs from what is declared; None if it does not.

    Data are not read, and no link is followed: HDF5 can point to other files, and gives zeros for those that are gone.
    """
    declared = {name: column for name, column in COLUMNS.items() if column.kept(meaning)}
    if foreign := set(file).symmetric_difference(declared):
        return f"its columns are others than its index declares: {', '.join(map(repr, sorted(foreign)[:5]))}"
    for name, column in declared.items():
        shape = (rows, widths.get(name, 0)) if column.wide else (rows,)
        if fault := _column_fault(file, name, column.dtype or meaning.store, shape):
            return f"its column {name} is {fault}"
    return "its logits are of one class only" if widths.get("logits") == 1 else None


def _column_fault(file: h5py.File, name: str, dtype: str, shape: tuple[int, ...]) -> str | None:
    # HDF5's own calls, as h5py's classes take ten times as long.
    from h5py import h5d, h5l, h5z

    if file.id.links.get_info(name.encode()).type != h5l.TYPE_HARD:
        return "a link to elsewhere"
    dataset = h5d.open(file.id, name.encode())
    stored, kind = dataset.get_create_plist(), dataset.dtype
    if stored.get_layout() == h5d.VIRTUAL or stored.get_external_count():
        return "no plain dataset with its data in the file"
    there = "S" if kind.kind == "S" else kind.name
    if (there, dataset.shape) != (dtype, shape) or not kind.isnative:
        return f"{there} {dataset.shape}, and {dtype} {shape} in its record"
    chunks = stored.get_chunk() if stored.get_layout() == h5d.CHUNKED else None
    filters = {stored.get_filter(number)[0] for number in range(stored.get_nfilters())}
    if chunks != chunk_shape(shape) or not filters <= {h5z.FILTER_FLETCHER32}:
        return "stored in another way than trustcache stores it"
    # Chunks that were never written would be read as zeros.
    if min(dataset.get_storage_size(), file.id.get_filesize()) < math.prod(shape) * kind.itemsize:
        return "longer than its data in the file"
    return None
