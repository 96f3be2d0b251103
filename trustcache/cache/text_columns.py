"""Tables of text: the columns of CSV files, and numbers where every text of a column is one."""

from __future__ import annotations

import csv
import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class TextTable:
    """A CSV file. names: of its columns, their numbers where it has no header; header: True if it has one."""

    path: Path
    names: tuple[str, ...]
    header: bool

    def numbers(self, columns: Sequence[int]) -> np.ndarray:
        """Return columns of numbers, float64 (N, columns). Raises ValueError naming row and column of another text."""
        skipped = int(self.header)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a table without rows is refused where it is used
            return np.loadtxt(
                self.path, delimiter=",", usecols=list(columns), skiprows=skipped, ndmin=2, quotechar='"', comments=None
            )

    def texts(self, column: int) -> list[str]:
        """Return a column as it is written, (N,)."""
        with self.path.open(newline="", encoding="utf-8") as file:
            return [row[column] for row in itertools.islice(csv.reader(file), int(self.header), None) if row]


def read_csv(path: Path) -> TextTable:
    """Look at the columns of a CSV file; the first row is a header unless all of it are numbers. Raises ValueError.

    >>> (tmp / "y.csv").write_text("id,label\\na.jpg,1\\n")
    17
    >>> read_csv(tmp / "y.csv").names
    ('id', 'label')
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = next(csv.reader(file), None)
    if not first:
        raise ValueError("it is empty")
    header = not all(_is_number(text) for text in first)
    return TextTable(path, tuple(first) if header else tuple(map(str, range(len(first)))), header)


def typed(texts: Sequence[str]) -> np.ndarray:
    """Return texts as an array: of float64 where all are numbers, else of the texts.

    >>> typed(["1", "2"]), typed(["1", "cat"])
    (array([1., 2.]), array(['1', 'cat'], dtype='<U3'))
    """
    return np.array([float(text) for text in texts] if all(map(_is_number, texts)) else list(texts))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
