"""Arrays in files of others: NumPy's, safetensors, CSV, Parquet and plain text, read without running code from them.

A file may hold several arrays; one is named after a colon (`dump.npz:logits`), else found by its usual names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trustcache.cache.text_columns import read_csv, typed
from trustcache.errors import TrustcacheError, UsageError, first_few, first_line

USUAL: dict[str, tuple[str, ...]] = {
    "logits": ("logits", "logit", "outputs", "output", "probabilities", "probs", "prob", "softmax"),
    "labels": ("labels", "label", "targets", "target", "y", "y_true", "label_list", "class"),
    "features": ("features", "feature", "embeddings", "embedding", "feats", "feat", "feat_list"),
    "ids": ("ids", "id", "sample_ids", "paths", "path", "filenames", "filename", "names"),
}
"""Names of arrays in files, by what they are: the last of OpenOOD's `feature.npz`."""
_MATRICES = ("logits", "features")


@dataclass(frozen=True)
class Place:
    """An array as a user names it: a file, and the array in it after a colon, "" for the one that is meant."""

    file: Path
    member: str = ""

    @classmethod
    def parse(cls, text: str) -> Place:
        """Return the place that a text names.

        >>> Place.parse("dump.npz:logits")
        Place(file=PosixPath('dump.npz'), member='logits')
        """
        file, colon, member = text.rpartition(":")
        return cls(Path(file), member) if colon and not Path(text).exists() else cls(Path(text))

    def __str__(self) -> str:
        return f"{self.file}:{self.member}" if self.member else str(self.file)


def read_array(place: Place, what: str) -> np.ndarray:
    """Return an array of a file. what: a key of `USUAL`, which the array is found by where the place names none.

    Raises UsageError naming the file where it is missing, of no known format, damaged, holds code, or lacks the array.

    >>> np.save(tmp / "z.npy", np.zeros((3, 2)))
    >>> read_array(Place(tmp / "z.npy"), "logits").shape
    (3, 2)
    """
    read = FORMATS.get(place.file.suffix.lower())
    if read is None:
        raise UsageError(f"{place.file}: is none of {', '.join(FORMATS)}; save the array as one of these")
    if not place.file.is_file():
        raise UsageError(f"{place.file}: there is no such file; correct the path of the {what}")
    with _named(place.file):
        return read(place, what)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name a file in the error that reading it raises: each format says in a way of its own that it is damaged."""
    try:
        yield
    except TrustcacheError:
        raise
    except Exception as error:
        raise UsageError(f"{path}: cannot be read as {path.suffix[1:]} ({first_line(error)})") from error


def names_in(path: Path) -> list[str]:
    """Return the names of the arrays in an npz file. Raises UsageError where it is none.

    >>> np.savez(tmp / "dump.npz", logits=np.zeros((3, 2)))
    >>> names_in(tmp / "dump.npz")
    ['logits']
    """
    with _named(path), np.load(path, allow_pickle=False) as file:
        return list(file.files)


def chosen_member(place: Place, names: Sequence[str], what: str) -> str:
    """Return the name of the array that a place means among those of its file. Raises UsageError naming them.

    >>> chosen_member(Place(Path("dump.npz")), ["y", "z", "logits"], "logits")
    'logits'
    """
    wanted = [place.member] if place.member else [name for name in USUAL[what] if name in names]
    if not place.member and not wanted and len(names) == 1:
        return names[0]
    if not wanted or wanted[0] not in names:
        shown = first_few(names, 8)
        missing = f"holds no '{place.member}'" if place.member else f"holds several arrays, none called {what}"
        raise UsageError(f"{place.file}: {missing}; name one after a colon, as in {place.file.name}:NAME, of {shown}")
    return wanted[0]


def _npy(place: Place, what: str) -> np.ndarray:
    try:
        return np.asarray(np.load(place.file, mmap_mode="r", allow_pickle=False))
    except ValueError as error:
        raise _pickled(place.file, error) from None


def _npz(place: Place, what: str) -> np.ndarray:
    try:
        with np.load(place.file, allow_pickle=False) as file:
            return np.asarray(file[chosen_member(place, file.files, what)])
    except ValueError as error:
        raise _pickled(place.file, error) from None


def _pickled(path: Path, error: ValueError) -> Exception:
    """Return the error of a file that NumPy does not read, most often because it holds Python objects."""
    if "pickle" not in str(error) and "Python objects" not in str(error):
        return error
    return UsageError(
        f"{path}: holds pickled Python objects, which can run code when they are read; save a plain array instead, as "
        "in np.save(FILE, np.asarray(x, dtype='float32'))"
    )


def _safetensors(place: Place, what: str) -> np.ndarray:
    from safetensors import safe_open

    with safe_open(place.file, "numpy") as file:
        return np.asarray(file.get_tensor(chosen_member(place, list(file.keys()), what)))


def _csv(place: Place, what: str) -> np.ndarray:
    table = read_csv(place.file)
    everything = what in _MATRICES and not table.header and not place.member
    meant = table.names if everything else _columns_meant(place, table.names, what)
    columns = [table.names.index(name) for name in meant]
    return table.numbers(columns) if what in _MATRICES else typed(table.texts(columns[0]))


def _columns_meant(place: Place, names: Sequence[str], what: str) -> list[str]:
    """Return the columns of a table: the one of a name, or of a matrix those that begin with it; "*" is all others."""
    if place.member == "*":
        return [name for name in names if name not in (*USUAL["labels"], *USUAL["ids"])]
    for start in [place.member] if place.member else USUAL[what]:
        if start in names:
            return [start]
        if what in _MATRICES and (found := [name for name in names if name.startswith(start)]):
            return found
    return [chosen_member(place, names, what)]


def _parquet(place: Place, what: str) -> np.ndarray:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError(
            f"{place.file}: reading Parquet needs pyarrow; install it with pip install 'trustcache[parquet]'"
        ) from None
    names = pq.read_schema(place.file).names
    table = pq.read_table(place.file, columns=_columns_meant(place, names, what))
    arrays = []
    for column in table.columns:
        if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
            values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
            if not len(column) or len(values) % len(column):
                raise ValueError("its lists differ in length")
            arrays.append(values.reshape(len(column), -1))
        else:
            arrays.append(column.to_numpy().reshape(-1, 1))
    found = np.concatenate(arrays, axis=1) if len(arrays) > 1 else arrays[0]
    return found[:, 0] if what in ("labels", "ids") else found


def _text(place: Place, what: str) -> np.ndarray:
    if what in _MATRICES:
        return np.loadtxt(place.file, ndmin=2)
    lines = place.file.read_text(encoding="utf-8").splitlines()
    return np.array(lines) if what == "ids" else typed(lines)


FORMATS: dict[str, Callable[[Place, str], Any]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".csv": _csv,
    ".parquet": _parquet,
    ".txt": _text,
}
"""Readers by a file's suffix."""
