"""Registries of losses, scores, layouts and the like."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from trustcache.errors import UsageError, did_you_mean, kind_and_line
from trustcache.registry.permission import (
    import_object,
    is_import_path,
    own_folders,
    remember_permission,
    require_permission,
)

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

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
        from importlib.metadata import distributions

        # What lies in the working folder is not installed: it may be a stranger's.
        places = [place for place in sys.path if place not in ("", str(Path.cwd()), *own_folders())]
        points: dict[str, EntryPoint] = {}
        for point in (point for found in distributions(path=places) for point in found.entry_points):
            if point.group == self.group and point.name not in self._built_in:
                points.setdefault(point.name, point)
        return points

    def find(self, name: str) -> T:
        """Return an entry. Raises UsageError naming the option and the known names where there is none."""
        try:
            return self[name]
        except KeyError:
            known, near = ", ".join(self), did_you_mean(name, self)
            raise UsageError(
                f"{self.option} {name}: unknown; one of {known}, or package.module:function{near}"
            ) from None

    @property
    def built_in(self) -> tuple[str, ...]:
        """The names of the built-in entries, which cost no import."""
        return tuple(self._built_in)

    def __getitem__(self, name: str) -> T:
        if name in self._built_in:
            return self._built_in[name]
        installed = self._points.get(name)
        if not installed:
            if not is_import_path(name):
                raise KeyError(name)
            require_permission(name, self.option)
        if name not in self._loaded:
            found = _loaded(installed, self.option) if installed else import_object(name, self.option)
            self._loaded[name] = self._adapt(name, found)
        elif not installed:
            remember_permission(name)  # imported before, perhaps for another workspace
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._built_in
        yield from self._points

    def __len__(self) -> int:
        return len(self._built_in) + len(self._points)


def _loaded(point: EntryPoint, option: str) -> Any:
    try:
        return point.load()
    except Exception as error:  # another package's code may raise anything
        raise UsageError(
            f"{option} {point.name}: {kind_and_line(error)}; entry point {point.value} of an installed package: "
            "mend or uninstall that"
        ) from error
