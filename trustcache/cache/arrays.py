"""Files of arrays with a record, as safetensors: scores, what scores learnt, resamples of the bootstrap."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from trustcache.cache.records import R, Record, parse_record, record_text
from trustcache.cache.seal import publish_sealed, read_sealed
from trustcache.errors import DamagedError, naming
from trustcache.models.fitted_weights import metadata_text

MADE_ANEW = "trustcache evaluate makes it anew"
"""Remedy for a damaged score."""
_RECORD = "record"


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], record: Record) -> None:
    """Publish arrays and the record that says what they are.

    >>> from trustcache.oracles.runs import RunScores
    >>> write_arrays(tmp / "scores", {"z": np.zeros(3)}, RunScores("cache"))
    """
    from safetensors.numpy import save

    publish_sealed(path, save(dict(arrays), metadata(record)))


def metadata(record: Record) -> dict[str, str]:
    """Return a record as the metadata of safetensors; they have one entry, as several would be in no fixed order.

    >>> from trustcache.oracles.runs import RunScores
    >>> metadata(RunScores("cache")).keys()
    dict_keys(['record'])
    """
    return {_RECORD: record_text(record)}


def read_arrays(path: Path, kind: type[R], remedy: str) -> tuple[R, dict[str, np.ndarray]]:
    """Return the record and the arrays of a file. Raises as `read_record`.

    >>> from trustcache.oracles.runs import RunScores
    >>> write_arrays(tmp / "scores", {"z": np.zeros(3)}, RunScores("cache"))
    >>> read_arrays(tmp / "scores", RunScores, MADE_ANEW)
    (RunScores(cache='cache'), {'z': array([0., 0., 0.])})
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    about, data = read_whole(path, kind, remedy)
    try:
        return about, load(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{path}: damaged ({error}); {remedy}") from None


def read_whole(path: Path, kind: type[R], remedy: str) -> tuple[R, bytes]:
    """Return the record and the bytes of a file, which hold the arrays. Raises as `read_record`.

    >>> from trustcache.oracles.runs import RunScores
    >>> write_arrays(tmp / "scores", {"z": np.zeros(3)}, RunScores("cache"))
    >>> about, data = read_whole(tmp / "scores", RunScores, MADE_ANEW)
    """
    data = read_sealed(path, remedy)
    return _record(io.BytesIO(data), path, kind, remedy), data


def scores_in(path: Path, arrays: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
    """Return the array z of a file, float64 (rows,). Raises DamagedError where it is not that.

    >>> scores_in(tmp / "scores", {"z": np.zeros(3)}, 3)
    array([0., 0., 0.])
    """
    z = arrays.get("z")
    if z is None or (z.dtype, z.shape) != ("float64", (rows,)):
        raise DamagedError(f"{path}: damaged (it does not hold a score for each of {rows:,} rows); {MADE_ANEW}")
    return z


def read_about(path: Path, kind: type[R], remedy: str) -> R:
    """Return the record of a file of arrays without a look at its checksum, which covers all of a large file.

    >>> from trustcache.oracles.runs import RunScores
    >>> write_arrays(tmp / "scores", {}, RunScores("cache"))
    >>> read_about(tmp / "scores", RunScores, MADE_ANEW)
    RunScores(cache='cache')
    """
    with naming(path), path.open("rb") as file:
        return _record(file, path, kind, remedy)


def _record(file: IO[bytes], path: Path, kind: type[R], remedy: str) -> R:
    try:
        text = metadata_text(file, _RECORD)
    except ValueError as error:
        raise DamagedError(f"{path}: damaged ({error}); {remedy}") from None
    return parse_record(text, kind, str(path), remedy)
