"""The message of a refusal, which is one line."""

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
