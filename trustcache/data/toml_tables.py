"""Typed keys of a TOML table; the message of each mistake names its place."""

from __future__ import annotations

import functools
import re
import reprlib
import tomllib
from typing import Any, get_type_hints

import msgspec

from trustcache.data.archives import read_file
from trustcache.errors import UsageError, escape_unseen, first_line

# Kept, since evaluating the annotations takes most of the time in which a manifest is read.
field_types = functools.cache(get_type_hints)

NUMBERS = float | tuple[float, ...]

# Types of keys in words.
_WORDS: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    float: "a number",
    NUMBERS: "a number or a list of numbers",
    int: "a whole number",
    int | None: "a whole number",
    tuple[int, ...]: "a list of whole numbers",
    tuple[int, int] | None: "two whole numbers, [first, past-the-last]",
    tuple[str, ...]: "a list of texts",
    dict[str, Any]: "a table",
    list[dict[str, Any]]: "one or more [[{key}]] tables",
}


_LONGEST = 1 << 26
_DEEPEST = 16
_MOST_DOTS = 100
# To the end of the line where a quote is not closed, so that no line takes quadratic time.
_QUOTED = re.compile(r""" "(?:[^"\\]|\\.)*"? | '[^']*'? """, re.VERBOSE)


def read_table(path: str, where: str) -> dict[str, Any]:
    """Read a TOML file. Raises OSError where it cannot be read, UsageError as `parse_table`."""
    try:
        text = read_file(path, _LONGEST).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{where}: not valid TOML: {error}") from None
    return parse_table(text, where)


def parse_table(text: str, where: str) -> dict[str, Any]:
    """Return the table of a TOML text. Raises UsageError where it is none, or nests tables too deep to be meant."""
    # tomllib takes hours, and all memory, for a key of 10^5 parts.
    if any(_dots(line) > _MOST_DOTS for line in text.splitlines()):
        raise UsageError(f"{where}: not valid: a line with more than {_MOST_DOTS} dots outside of texts in quotes")
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also for a number of thousands of digits
        raise UsageError(f"{where}: not valid TOML: {first_line(error)}") from None
    level: list[Any] = [table]
    for _ in range(_DEEPEST):
        tables = [each for each in level if isinstance(each, dict | list)]
        level = [inner for each in tables for inner in (each.values() if isinstance(each, dict) else each)]
    if level:
        raise UsageError(f"{where}: not valid: nested more than {_DEEPEST} deep")
    return table


def table_text(table: dict[str, Any]) -> str:
    r"""Return a table as TOML, which shows what a terminal would act on as escapes.

    >>> print(table_text({"train": {"loss": "ss", "seed": [0, 1]}}), end="")
    [train]
    loss = "ss"
    seed = [
        0,
        1,
    ]
    """
    import tomli_w

    return escape_unseen(tomli_w.dumps(table), lambda character: f"\\U{ord(character):08x}", kept="\n")


def _dots(line: str) -> int:
    """Count the dots of a line that may be those of a key."""
    if line.count(".") <= _MOST_DOTS or '"""' in line or "'''" in line:
        return line.count(".")
    return _QUOTED.sub("", line).count(".")


class TableReader:
    """Takes typed keys out of a table; `finish` refuses those that nobody took.

    where: the table's place, with which every message begins.
    """

    def __init__(self, table: dict[str, Any], where: str) -> None:
        self.left = dict(table)
        self.where = where
        self.known: list[str] = []

    def take(self, key: str, kind: Any, required: bool = False) -> Any:
        """Return a key's value as a type of `_WORDS`, None where it is missing.

        Raises UsageError for a value of another type, and for a `required` key that is missing or empty.
        """
        self.known.append(key)
        value = self.left.pop(key, None)
        if required and value in (None, "", [], ()):
            raise UsageError(f"{self.where}: '{key}' is missing; give {_WORDS[kind].format(key=key)}")
        try:
            return None if value is None else msgspec.convert(value, kind)
        except msgspec.ValidationError:
            wanted = _WORDS[kind].format(key=key)
            raise UsageError(f"{self.where}: '{key}' must be {wanted}, not {reprlib.repr(value)}") from None

    def choice(self, key: str, choices: tuple[str, ...], required: bool = True) -> str:
        """Return one of the choices, "" where the key is missing and not required. Raises UsageError as `take`."""
        value = self.take(key, str) or ""
        if value not in choices and (value or required):
            given = f"not '{value}'" if value else "and is missing"
            raise UsageError(f"{self.where}: '{key}' must be one of {', '.join(choices)}, {given}")
        return value

    def finish(self, of: str = "") -> None:
        """Raise UsageError for the first key that was not taken; `of` follows it in the message."""
        if unknown := [key for key, value in self.left.items() if value is not None]:
            raise UsageError(f"{self.where}: unknown key '{unknown[0]}'{of}; known are {', '.join(self.known)}")
