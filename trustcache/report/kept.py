"""Figures that a report can make again, kept so that it need not: a file for each cache, by what they depend on."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from trustcache.cache.arrays import read_arrays, write_arrays
from trustcache.errors import DamagedError

REMADE = "the next trustcache report makes it anew"


@dataclass(frozen=True)
class KeptFigures:
    """The record of such a file, whose arrays' names pin everything that they depend on."""

    SCHEMA: ClassVar[int] = 1


class Kept:
    """The float64 arrays of one file by their keys, None for none. A damaged file counts as none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, np.ndarray] = {}
        with contextlib.suppress(FileNotFoundError, DamagedError):
            if path:
                _, self._known = read_arrays(path, KeptFigures, REMADE)
        self._asked: dict[str, np.ndarray] = {}

    def get(self, key: str, fits: Callable[[tuple[int, ...]], bool]) -> np.ndarray | None:
        """Return an array, None where there is none of that key, or one of another shape than `fits` takes."""
        found = self._asked.get(key, self._known.get(key))
        if found is None or found.dtype != np.float64 or not fits(found.shape):
            return None
        self._asked[key] = found
        return found

    def put(self, key: str, array: np.ndarray) -> None:
        """Take an array to be saved."""
        self._asked[key] = array

    def save(self) -> None:
        """Write what was asked for and put, where that is not what the file holds already; the rest is out of date."""
        if self._path and self._asked.keys() - self._known.keys():
            write_arrays(self._path, {key: self._asked[key] for key in sorted(self._asked)}, KeptFigures())


def key_of(settings: list[Any], *arrays: np.ndarray) -> str:
    """Return the SHA-256 of settings, as JSON, and arrays."""
    digest = hashlib.sha256(json.dumps(settings).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
