"""Settings of losses and scores, with their ranges, and fields of dataclasses as options of the command line."""

from __future__ import annotations

import ast
import dataclasses
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from trustcache.errors import UsageError

WORKSPACE = Path("trustcache-workspace")
"""Default of --workspace."""


@dataclass(frozen=True)
class Setting:
    """One value to choose: a number, or one of some names.

    default: of the type that all its values have. symbol: its name in tables. sweep: the values that a sweep tries.
    lowest and highest are in the range of a number, unless one of them is `excluded`. names: returns the names to
    choose from, None for a number. quiet: True if a method's name leaves it out at its default.
    """

    default: float | str
    meaning: str
    symbol: str = ""
    lowest: float = 0.0
    highest: float = math.inf
    excluded: float | None = None
    sweep: tuple[float, ...] = ()
    names: Callable[[], Iterable[str]] | None = None
    quiet: bool = False

    def checked(self, where: str, value: Any) -> Any:
        """Return `value` in the default's type.

        Raises ValueError where it is not in the range or among the names; the sentence begins with `where`.
        """
        if self.names:
            if value not in (names := tuple(self.names())):
                raise ValueError(f"{where} {value}: must be one of {', '.join(names)}")
            return value
        whole = isinstance(self.default, int)
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        inside = number and self.lowest <= value <= self.highest and value != self.excluded
        if not inside or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            raise ValueError(f"{where} ({self.meaning}) must be {kind}{self._range}, not {value!r}")
        return int(value) if whole else float(value)

    def each(self, where: str, values: Iterable[Any]) -> list[Any]:
        """Return the values, numbers also from text, as `checked` has them, repeated ones once. Raises UsageError."""
        try:
            return list(dict.fromkeys(self.checked(where, self._read(where, value)) for value in values))
        except ValueError as error:
            raise UsageError(str(error)) from None

    def _read(self, where: str, value: Any) -> Any:
        if self.names or not isinstance(value, str):
            return value
        try:
            return type(self.default)(value)
        except ValueError:
            raise ValueError(f"{where} {value}: expected a number, or a list such as 1,2,3") from None

    @property
    def help(self) -> str:
        """The line that `--help` shows: the meaning and the default."""
        default = self.default if isinstance(self.default, str) else f"{self.default:g}"
        return f"{self.meaning[0].upper()}{self.meaning[1:]} ({default})."

    @property
    def _range(self) -> str:
        low, high = f"{self.lowest:.15g}", f"{self.highest:.15g}"
        if self.lowest == -math.inf:
            return "" if self.highest == math.inf else f" up to {high}"
        upto = f" from {low} to {high}" if self.highest < math.inf else f" of {low} up"
        return upto if self.excluded is None else f"{upto}, without {self.excluded:.15g}"


def key_values(option: str, texts: Iterable[str]) -> dict[str, Any]:
    """Return KEY=VALUE texts as a dictionary; values are Python literals where they look like one, else text.

    Raises UsageError naming the option.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"{option} {text}: expected KEY=VALUE")
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key] = value
    return found


def option_name(name: str, cls: type | None = None) -> str:
    """Return the option of a setting, or of a dataclass's field: "--alpha-pos" for "alpha_pos"."""
    own = {field.name: field.metadata.get("name") for field in dataclasses.fields(cls)} if cls else {}
    return own.get(name) or f"--{name.replace('_', '-')}"


def check_options(cls: type, given: Mapping[str, Any], where: str) -> None:
    """Check values that Python code gives for fields of a dataclass of options; None is not checked.

    Raises UsageError, which begins with `where`, for one that is out of range or of another type.
    """
    kinds = get_type_hints(cls)
    for one in dataclasses.fields(cls):
        value, about = given.get(one.name), one.metadata
        kind = next((kind for kind in (int, float) if kinds[one.name] in (kind, kind | None)), None)
        low, high, choices = about.get("min", -math.inf), about.get("max", math.inf), about.get("choices", (value,))
        fits = (
            isinstance(value, int if kind is int else int | float) and low <= value <= high
            if kind
            else value in choices
        )
        if value is not None and not fits:
            wanted = f"a{' whole' if kind is int else ''} number from {low} to {high}" if kind else ", ".join(choices)
            raise UsageError(
                f"{where}: {option_name(one.name, cls)[2:].replace('-', '_')} must be {wanted}, not {value!r}"
            )


REQUIRED = dataclasses.MISSING


def option(default: Any, help: str, **limits: Any) -> Any:
    """Declare a dataclass field that the command line offers as an option.

    default: REQUIRED for none. help: one line for `--help`. limits: what the command line checks, `min` and `max`
    (numbers), `choices` (names); `panel`, the group of `--help` it stands in; `name`, an option's name other than the
    field's; `envvar`, which gives the default.
    """
    if isinstance(default, list):
        return dataclasses.field(default_factory=default.copy, metadata={"help": help, **limits})
    return dataclasses.field(default=default, metadata={"help": help, **limits})
