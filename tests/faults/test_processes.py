"""Two to four commands at once: each succeeds or says why not, and together they leave what one alone would."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.cases import HANG, HARMLESS, LOST, REFUSED, SILENT, TRACEBACK, Tally, is_sentence
from tests.faults.forks import Job
from tests.faults.laboratory import COMMANDS, Laboratory, contents, sound, unfinished_files

pytestmark = pytest.mark.faults

# Commands that run at once, after what is there before the first of them.
TOGETHER = {
    "two extract the same": ("extract", "extract"),
    "four extract the same": ("extract", "extract", "extract", "extract"),
    "two fit the same": ("fit-classifier", "fit-classifier"),
    "two train the same": ("train", "train"),
    "four train the same": ("train", "train", "train", "train"),
    "two fine-tune the same": ("fine-tune", "fine-tune"),
    "frozen and fine-tuned": ("train", "fine-tune"),
    "two evaluate": ("evaluate", "evaluate"),
    "evaluate beside extract": ("extract", "evaluate"),
    "report beside evaluate": ("evaluate", "report"),
    "three report": ("report", "report", "report"),
    "calibrate beside report": ("calibrate", "report", "calibrate"),
}


@pytest.mark.parametrize("what", TOGETHER)
def test_commands_at_once_leave_what_one_alone_would(
    laboratory: Laboratory, tmp_path: Path, full: bool, tally: Callable[..., Tally], what: str
) -> None:
    counts, names = tally("two to four processes at once", what), TOGETHER[what]
    forks, bench, alone = laboratory.forks, tmp_path / "bench", [*dict.fromkeys(names)]
    laboratory.bench(bench, names[0])
    for name in alone:
        outcome = forks.command(bench, *COMMANDS[name])
        assert outcome.code == 0 or name == "evaluate", outcome.text
    for name in alone:  # the order does not matter in the end
        sound(forks.command(bench, *COMMANDS[name]))
    last = contents(bench)
    draw = random.Random(what)
    for number in range(6 if full else 1):
        laboratory.bench(bench, names[0])
        delays = [0.0, *(draw.uniform(0, 0.2) for _ in names[1:])]
        jobs = [Job(COMMANDS[name], str(bench), delay=delay) for name, delay in zip(names, delays, strict=True)]
        outcomes = forks.run(*jobs)
        case = f"{what}, {number}: codes {[one.code for one in outcomes]}"
        for _ in range(2):
            again = [forks.command(bench, *COMMANDS[name]) for name in alone]
        if any(one.hung for one in outcomes):
            counts.add(HANG, case)
        elif wrong := [one.text for one in outcomes if one.code and not is_sentence(one)]:
            counts.add(TRACEBACK, case, wrong[0])
        elif failed := [one.text for one in again if one.code]:
            counts.add(LOST, case, failed[0])
        elif contents(bench) != last:
            now = contents(bench)
            counts.add(SILENT, case, f"{[f for f in now.keys() | last.keys() if now.get(f) != last.get(f)]}")
        elif left := unfinished_files(bench):
            counts.add(LOST, case, f"left behind: {left}")
        else:
            counts.add(REFUSED if any(one.code for one in outcomes) else HARMLESS, case)
