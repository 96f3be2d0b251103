"""A disk that fails at any one call: what was finished is still there, and the same command goes on."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.cases import Tally, each
from tests.faults.failing import BEGINNING, ERRORS
from tests.faults.laboratory import COMMANDS, STEPS, Laboratory

pytestmark = pytest.mark.faults

FEW = 3
# Reads outnumber all other calls, and the table of promises does not name them.
MOST_READS = 40


@pytest.mark.parametrize("name", COMMANDS)
def test_a_call_that_fails_loses_nothing_and_is_one_sentence(
    laboratory: Laboratory, tmp_path: Path, full: bool, tally: Callable[..., Tally], name: str
) -> None:
    counts = tally("n-th open, read, write, fsync or rename fails", name)
    before = name if name in STEPS else ""
    bench, _ = laboratory.bench(tmp_path / "bench", before), laboratory.bench(tmp_path / BEGINNING, before)
    ((_, (_, calls)),) = each(laboratory.forks, bench, "tests.faults.failing:count", [name])
    draw = random.Random(name)
    cases: list[list[object]] = []
    for kind, errors in ERRORS.items():
        every = range(1, calls[kind] + 1)
        chosen = sorted(draw.sample(every, min(MOST_READS, len(every)))) if kind == "read" else every
        cases += [[name, kind, nth, error] for nth in chosen for error in errors]
    if not full:
        cases = draw.sample(cases, FEW)
    for case, (verdict, detail) in each(laboratory.forks, bench, "tests.faults.failing:judge", cases, batch=200):
        counts.add(verdict, f"{case} of {calls}", detail)
