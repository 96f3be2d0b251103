"""Settings: the numbers that a user may choose, each with its default, its meaning and its range."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trustcache.errors import UsageError


@dataclass(frozen=True)
class Setting:
    """One number to choose: its default (whose type it has), its meaning, and its range.

    lowest and highest are in the range, unless one of them is `excluded`.
    """

    default: float
    meaning: str
    lowest: float = 0.0
    highest: float = math.inf
    excluded: float | None = None

    def checked(self, where: str, value: Any) -> float:
        """`value` as a number of the default's type.

        Raises ValueError where it is not one in the range; the sentence begins with `where`.
        """
        whole = isinstance(self.default, int)
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        inside = number and self.lowest <= value <= self.highest and value != self.excluded
        if not inside or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            raise ValueError(f"{where} ({self.meaning}) must be {kind} {self._range}, not {value!r}")
        return int(value) if whole else float(value)

    def each(self, where: str, values: Iterable[Any]) -> list[float]:
        """Values as `checked` has them, what is given twice once. Raises UsageError in place of its ValueError."""
        try:
            return list(dict.fromkeys(self.checked(where, value) for value in values))
        except ValueError as error:
            raise UsageError(str(error)) from None

    @property
    def _range(self) -> str:
        low, high = f"{self.lowest:.15g}", f"{self.highest:.15g}"
        upto = f"from {low} to {high}" if self.highest < math.inf else f"of {low} up"
        return upto if self.excluded is None else f"{upto}, without {self.excluded:.15g}"
