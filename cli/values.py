"""Option values that are lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from trustcache.errors import UsageError

T = TypeVar("T")


def listed(option: str, text: str, kind: Callable[[str], T]) -> list[T]:
    """Return `1,2,3` as a list. Raises UsageError naming the option."""
    try:
        return [kind(part.strip()) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} {text}: expected a value or a list such as 1,2,3") from None
