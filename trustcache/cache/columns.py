"""Columns of a shard: their declaration, and the check that an HDF5 file holds these and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trustcache.cache.meaning import Meaning
from trustcache.cache.publish import chunk_shape

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


OUTPUTS = {
    "logits": Column("", wide=True),
    "predictions": Column("int64"),
    "features": Column("", True, "--features last", lambda meaning: meaning.features != "none"),
    "stages": Column("", True, "--features stages", lambda meaning: meaning.features == "stages"),
    "mirrored_logits": Column("", True, "--features stages", lambda meaning: meaning.features == "stages"),
    "mc_dropout": Column("float32", False, "--mc-dropout N", lambda meaning: meaning.mc_dropout is not None),
}
"""Columns of a classifier's outputs by name, as `CacheView` and shards have them."""
COLUMNS = {
    **OUTPUTS,
    "sample_indices": Column("int64"),
    "sample_ids": Column("S"),
    "labels": Column("int64"),
    "correct": Column("bool"),
    "true_class_prob": Column("float32"),
}
"""All columns of a shard by name."""


def widths_of(columns: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Return the widths of the columns (N, width) by name.

    >>> widths_of({"logits": np.zeros((7, 4)), "labels": np.zeros(7)})
    {'logits': 4}
    """
    return {name: column.shape[1] for name, column in columns.items() if COLUMNS[name].wide}


@contextmanager
def open_shard(path: Path) -> Iterator[h5py.File]:
    """Open a shard for reading. Raises OSError, within the context too, for whatever HDF5 finds damaged.

    >>> with open_shard(demo_workspace.cache_folder("net", "birds") / "00000.h5") as file:
    ...     file["labels"].shape
    (10,)
    """
    import h5py

    if path.exists() and not path.is_file():  # HDF5 would wait for what is written to a pipe
        raise OSError("it is not a regular file")
    try:
        # Shards never change once they are listed, and network disks often offer no locks.
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (KeyError, RuntimeError, TypeError, ValueError) as error:  # h5py's, by what is damaged
        raise OSError(str(error)) from error


def foreign_part(file: h5py.File, meaning: Meaning, rows: int, widths: Mapping[str, int]) -> str | None:
    """Say how a shard differs from the plain datasets that its index and record declare; None if it does not.

    Data are not read, and no link is followed: HDF5 can point to other files, and gives zeros for those that are gone.

    >>> index = demo_workspace.find_cache("test")
    >>> with open_shard(index.folder / "00000.h5") as file:
    ...     foreign_part(file, index.meaning, 10, {"logits": 4, "features": 7})
    'its column features is float16 (10, 3), and float16 (10, 7) in its record'
    """
    declared = {name: column for name, column in COLUMNS.items() if column.kept(meaning)}
    if foreign := set(file).symmetric_difference(declared):
        return f"its columns are others than its index declares: {', '.join(map(repr, sorted(foreign)[:5]))}"
    for name, column in declared.items():
        shape = (rows, widths.get(name, 0)) if column.wide else (rows,)
        if fault := _column_fault(file, name, column.dtype or meaning.store, shape):
            return f"its column {name} is {fault}"
    return None


def _column_fault(file: h5py.File, name: str, dtype: str, shape: tuple[int, ...]) -> str | None:
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return "a link to elsewhere"
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        return "no plain dataset with its data in the file"
    there = "S" if dataset.dtype.kind == "S" else dataset.dtype.name
    if (there, dataset.shape) != (dtype, shape) or not dataset.dtype.isnative:
        return f"{there} {dataset.shape}, and {dtype} {shape} in its record"
    properties = dataset.id.get_create_plist()
    filters = {properties.get_filter(number)[0] for number in range(properties.get_nfilters())}
    if dataset.chunks != chunk_shape(shape) or not filters <= {h5py.h5z.FILTER_FLETCHER32}:
        return "stored in another way than trustcache stores it"
    # Chunks that were never written would be read as zeros.
    if min(dataset.id.get_storage_size(), file.id.get_filesize()) < dataset.nbytes:
        return "longer than its data in the file"
    return None
