"""Typed keys of a TOML table; the message of each mistake names its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trustcache.errors import UsageError


class TableReader:
    """Takes typed keys out of a table; `finish` refuses those that nobody took.

    where: the table's place, with which every message begins. Every method raises UsageError for a value of another
    type, and for a `required` key that is missing.
    """

    def __init__(self, table: dict[str, Any], where: str) -> None:
        self.left = dict(table)
        self.where = where
        self.known: list[str] = []

    def _take(self, key: str, kind: type | tuple[type, ...], wanted: str, required: bool = False) -> Any:
        self.known.append(key)
        value = self.left.pop(key, None)
        # bool is an int to isinstance, and never what a manifest means by a number.
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise UsageError(f"{self.where}: '{key}' must be {wanted}, not {value!r}")
        if required and value in (None, "", [], ()):
            raise UsageError(f"{self.where}: '{key}' is missing")
        return value

    def text(self, key: str, required: bool = False) -> str:
        return self._take(key, str, "text", required) or ""

    def choice(self, key: str, choices: tuple[str, ...], required: bool = True) -> str:
        value = self.text(key)
        if value not in choices and (value or required):
            given = f"not '{value}'" if value else "and is missing"
            raise UsageError(f"{self.where}: '{key}' must be one of {', '.join(choices)}, {given}")
        return value

    def number(self, key: str, required: bool = False) -> int | None:
        return self._take(key, int, "a whole number", required)

    def real(self, key: str) -> float | None:
        value = self._take(key, (int, float), "a number")
        return None if value is None else float(value)

    def reals(self, key: str) -> tuple[float, ...]:
        """Take a number or a list of numbers."""
        values = self._take(key, (int, float, list), "a number or a list of numbers")
        listed = [] if values is None else values if isinstance(values, list) else [values]
        if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in listed):
            raise UsageError(f"{self.where}: '{key}' must be a number or a list of numbers, not {values!r}")
        return tuple(map(float, listed))

    def _list(self, key: str, kind: type, wanted: str, required: bool = False) -> tuple[Any, ...]:
        values = self._take(key, (list, tuple), wanted, required) or ()
        if not all(isinstance(v, kind) and not isinstance(v, bool) for v in values):
            raise UsageError(f"{self.where}: '{key}' must be {wanted}, not {values!r}")
        return tuple(values)

    def texts(self, key: str, required: bool = False) -> tuple[str, ...]:
        return self._list(key, str, "a list of texts", required)

    def flag(self, key: str) -> bool:
        return bool(self._take(key, bool, "true or false"))

    def numbers(self, key: str) -> tuple[int, ...] | None:
        return self._list(key, int, "a list of whole numbers") or None

    def table(self, key: str, required: bool = False) -> dict[str, Any] | None:
        return self._take(key, dict, "a table", required)

    def tables(self, key: str) -> Iterator[dict[str, Any]]:
        values = self._list(key, dict, f"one or more [[{key}]] tables")
        if not values:
            raise UsageError(f"{self.where}: '{key}' is missing: say where the images lie in a [[{key}]] table")
        return iter(values)

    def finish(self, of: str = "") -> None:
        """Raise UsageError for the first key that was not taken; `of` follows it in the message."""
        if unknown := [key for key, value in self.left.items() if value is not None]:
            raise UsageError(f"{self.where}: unknown key '{unknown[0]}'{of}; known are {', '.join(self.known)}")
