"""Promises on the same rows: a second one in a process is warned of."""

from __future__ import annotations

import warnings
from typing import Any

from tests.caches_in_memory import cache_of
from tests.refusals import tells
from trustcache.deploy.calibrate import calibrate_on


def warned(*calls: tuple[Any, dict[str, Any]]) -> list[warnings.WarningMessage]:
    """Return the warnings of calibrating scores on one cache, one after the other."""
    cache = cache_of(400, 5, name="once")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for score, how in calls:
            calibrate_on(score, cache, **how)
    return caught


PROMISE = {"max_risk": 0.4, "delta": 0.1}


def test_another_score_or_target_on_the_same_cache_is_warned_of_once() -> None:
    for second in (("margin", PROMISE), ("mcp", {**PROMISE, "max_risk": 0.5}), ("mcp", {**PROMISE, "by": "class"})):
        (warning,) = warned(("mcp", PROMISE), second, ("entropy", PROMISE))
        assert warning.filename == __file__
        assert tells(str(warning.message), "once", "delta")
        assert len(str(warning.message).split(". ")) == 1


def test_the_same_again_another_half_and_what_promises_nothing_are_not() -> None:
    assert not warned(("mcp", PROMISE), ("mcp", PROMISE), ("margin", {"coverage": 0.5}))
    halves = [{**PROMISE, "part": part} for part in ("first-half", "second-half")]
    assert not warned(("mcp", halves[0]), ("margin", halves[1]))
    assert warned(("mcp", PROMISE), ("margin", halves[1]))
