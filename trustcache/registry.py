"""What a user can name or choose: registries of losses, scores, layouts and the like, and the settings they take.

A `Registry` finds an entry among the built-in ones, the entry points of installed packages, and the functions that a
user names as `package.module:function`. A `Setting` is a number with its default, meaning and range. An `option` is a
field of a dataclass from which the command line makes an option.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from trustcache.errors import UsageError, kind_and_line

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Named entries of one kind: built-in ones, those of installed packages, and a user's own functions.

    group: the entry points that add to it, as in "trustcache.losses". option: how the command line names one, as in
    "--loss". adapt: turns what an entry point or `package.module:function` leads to into an entry.

    Iteration lists the built-in entries, then the entry points, which are imported when they are looked up. A user's
    function is found but not listed. `find` raises UsageError for an unknown name, item access KeyError.
    """

    def __init__(self, group: str, option: str, entries: Mapping[str, T], adapt: Callable[[str, Any], T]) -> None:
        self.group, self.option = group, option
        self._built_in, self._adapt = dict(entries), adapt
        self._loaded: dict[str, T] = {}

    @cached_property
    def _points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group) if point.name not in self._built_in}

    def find(self, name: str) -> T:
        """Return an entry. Raises UsageError naming the option and the known names where there is none."""
        try:
            return self[name]
        except KeyError:
            known = ", ".join(self)
            raise UsageError(f"{self.option} {name}: unknown; one of {known}, or package.module:function") from None

    def __getitem__(self, name: str) -> T:
        if name in self._built_in:
            return self._built_in[name]
        if is_import_path(name):
            return self._adapt(name, import_object(name, self.option))
        if name not in self._points:
            raise KeyError(name)
        if name not in self._loaded:
            self._loaded[name] = self._adapt(name, self._load(self._points[name]))
        return self._loaded[name]

    def _load(self, point: EntryPoint) -> Any:
        try:
            return point.load()
        except Exception as error:  # an installed package may raise anything
            raise UsageError(
                f"{self.option} {point.name}: its package cannot be imported, {point.value}: {kind_and_line(error)}"
            ) from error

    def __iter__(self) -> Iterator[str]:
        yield from self._built_in
        yield from self._points

    def __len__(self) -> int:
        return len(self._built_in) + len(self._points)


def is_import_path(name: str) -> bool:
    """Return True for a name of the form `package.module:function`."""
    module, colon, attribute = name.partition(":")
    return bool(colon) and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))


def import_object(name: str, option: str) -> Any:
    """Import what `package.module:function` names, from the working directory too, as `python -m` does.

    Raises UsageError naming the option where the module fails or lacks the function.
    """
    module, _, attribute = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a user's file may raise anything
        raise UsageError(
            f"{option} {name}: {kind_and_line(error)}; it must be package.module:function, importable from here"
        ) from error


class Deferred:
    """The function `package.module:function` of our own, whose module is imported when it is first called."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The function itself."""
        module, _, attribute = self.name.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def __call__(self, *args: Any, **settings: Any) -> Any:
        return self.function(*args, **settings)


@dataclass(frozen=True)
class Setting:
    """One number to choose: its default (whose type it has), meaning, symbol in tables, and range.

    lowest and highest are in the range, unless one of them is `excluded`.
    """

    default: float
    meaning: str
    symbol: str = ""
    lowest: float = 0.0
    highest: float = math.inf
    excluded: float | None = None

    def checked(self, where: str, value: Any) -> float:
        """Return `value` as a number of the default's type.

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
        """Return the values as `checked` has them, repeated ones once. Raises UsageError in place of its ValueError."""
        try:
            return list(dict.fromkeys(self.checked(where, value) for value in values))
        except ValueError as error:
            raise UsageError(str(error)) from None

    @property
    def _range(self) -> str:
        low, high = f"{self.lowest:.15g}", f"{self.highest:.15g}"
        upto = f"from {low} to {high}" if self.highest < math.inf else f"of {low} up"
        return upto if self.excluded is None else f"{upto}, without {self.excluded:.15g}"


def option(default: Any, help: str, **limits: Any) -> Any:
    """Declare a dataclass field that the command line offers as an option.

    help: one line for `--help`. limits: what the command line checks, `min` and `max` (numbers), `choices` (names), or
    `panel` (the group of `--help` it stands in).
    """
    return dataclasses.field(default=default, metadata={"help": help, **limits})
