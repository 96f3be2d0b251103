"""Messages: the one line of a refusal, and the facts that a text tells."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trustcache.errors import UsageError


def refusal_of(action: Callable[[], object], begins: str = "") -> str:
    """Return the message of the UsageError that an action raises; it begins with `begins`."""
    with pytest.raises(UsageError) as caught:
        action()
    message = str(caught.value)
    assert message.startswith(begins)
    assert "\n" not in message
    return message


def tells(text: str, *facts: str) -> bool:
    """Return True if the facts (a file, an option, a number, a command) stand in a text, in this order."""
    rest = text
    for fact in facts:
        _, found, rest = rest.partition(fact)
        if not found:
            return False
    return True
