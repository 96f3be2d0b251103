"""Option values that are lists or pairs."""

from __future__ import annotations

import ast
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from trustcache.data.splits import SEED
from trustcache.errors import UsageError

T = TypeVar("T")


class ProtocolName(StrEnum):
    """The keys of `trustcache.protocols.PROTOCOLS`, without the seconds that its import takes."""

    equations = "equations"
    released = "released"


def listed(option: str, text: str, kind: Callable[[str], T]) -> list[T]:
    """`1,2,3` as a list. Raises UsageError naming the option."""
    try:
        return [kind(part.strip()) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} {text}: expected a value or a list such as 1,2,3") from None


def seeds(text: str) -> list[int]:
    """The values of --seed, each once. Raises UsageError for one that is no seed."""
    return [int(seed) for seed in SEED.each("--seed", listed("--seed", text, int))]


def pairs(option: str, texts: list[str]) -> dict[str, Any]:
    """KEY=VALUE options as a dictionary; values are Python literals where they look like one, else text."""
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
