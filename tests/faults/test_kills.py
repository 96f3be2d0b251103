"""SIGKILL at any moment: the same command goes on, and in the end every byte is an uninterrupted run's."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.cases import HARMLESS, LOST, SILENT, Tally
from tests.faults.forks import KILLED, KINDS, Fault, Job
from tests.faults.laboratory import COMMANDS, Laboratory, contents, sound, unfinished_files

pytestmark = pytest.mark.faults

# Of the long and the short run.
KILLS = {
    "extract": (220, 8),
    "fit-classifier": (24, 2),
    "train": (24, 2),
    "fine-tune": (24, 4),
    "evaluate": (24, 4),
    "report": (24, 2),
    "calibrate": (10, 1),
}
RESUMED = "went on to the same bytes"


@pytest.mark.parametrize("name", KILLS)
def test_a_killed_command_goes_on_to_the_bytes_of_an_uninterrupted_one(
    laboratory: Laboratory, tmp_path: Path, full: bool, tally: Callable[..., Tally], name: str
) -> None:
    forks, words, bench = laboratory.forks, COMMANDS[name], tmp_path / "bench"
    counts = tally("SIGKILL, and the same command again", name)
    laboratory.bench(bench, name)
    first = contents(bench)
    whole = sound(forks.command(bench, *words, fault=Fault(str(bench))))
    last = contents(bench)
    draw = random.Random(name)
    tried = 0
    while tried < KILLS[name][not full]:
        laboratory.bench(bench, name)
        # Half of the kills at moments of the clock, half at a call of the disk, as most moments lie between these.
        kind = draw.choice([kind for kind in KINDS if whole.calls[kind]])
        nth, moment = draw.randint(1, whole.calls[kind]), draw.uniform(0, whole.seconds)
        by_clock = draw.random() < 0.5
        fault = None if by_clock else Fault(str(bench), kind, nth, KILLED)
        (killed,) = forks.run(Job(words, str(bench), fault=fault, kill_after=moment if by_clock else None))
        if killed.code != -signal.SIGKILL:  # it was faster this time
            assert killed.code == 0, killed.text
            continue
        tried += 1
        case = f"{name} killed {f'after {moment:.3f} s' if by_clock else f'at {kind} {nth}'}"
        half = [file for file, data in contents(bench).items() if data not in (first.get(file), last.get(file))]
        half = [file for file in half if "checkpoint" not in file]
        again = forks.command(bench, *words)
        now = contents(bench)
        if half:
            counts.add(LOST, case, f"neither old nor new: {half}")
        elif again.code:
            counts.add(LOST, case, again.text)
        elif now != last:
            counts.add(SILENT, case, f"{[f for f in now.keys() | last.keys() if now.get(f) != last.get(f)]}")
        elif left := unfinished_files(bench):
            counts.add(LOST, case, f"left behind: {left}")
        else:
            counts.add(RESUMED, case)


def test_what_a_killed_one_of_two_processes_had_begun_the_other_makes(
    laboratory: Laboratory, tmp_path: Path, full: bool, tally: Callable[..., Tally]
) -> None:
    forks, words, bench = laboratory.forks, COMMANDS["extract"], tmp_path / "bench"
    counts = tally("SIGKILL of one of two processes of an extraction; the other goes on")
    laboratory.bench(bench, "extract")
    whole = sound(forks.command(bench, *words))
    last = contents(bench)
    draw = random.Random("ranks")
    tried = 0
    while tried < (24 if full else 2):
        laboratory.bench(bench, "extract")
        moment, victim = draw.uniform(0, whole.seconds), draw.randrange(2)
        ranks = [{"RANK": str(rank), "WORLD_SIZE": "2"} for rank in range(2)]
        jobs = [
            Job(words, str(bench), environment=rank, kill_after=moment if number == victim else None)
            for number, rank in enumerate(ranks)
        ]
        outcomes = forks.run(*jobs)
        killed, left = outcomes[victim], outcomes[1 - victim]
        if killed.code != -signal.SIGKILL:  # it was faster this time
            assert killed.code == 0, killed.text
            continue
        tried += 1
        case = f"process {victim} killed after {moment:.3f} s"
        if left.code:
            counts.add(LOST, case, left.text)
        elif (now := contents(bench)) != last:
            counts.add(SILENT, case, f"{[f for f in now.keys() | last.keys() if now.get(f) != last.get(f)]}")
        elif unfinished := unfinished_files(bench):
            counts.add(LOST, case, f"left behind: {unfinished}")
        else:
            counts.add(RESUMED, case)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_command_says_how_to_go_on(
    laboratory: Laboratory, tmp_path: Path, full: bool, tally: Callable[..., Tally], number: signal.Signals
) -> None:
    counts = tally("SIGTERM and Ctrl-C", number.name)
    draw = random.Random(number)
    for name in ("extract", "fine-tune", "evaluate", "report"):
        bench, words = laboratory.bench(tmp_path / "bench", name), COMMANDS[name]
        whole = sound(laboratory.forks.command(bench, *words))
        last = contents(bench)
        for _ in range(10 if full else 1):
            laboratory.bench(bench, name)
            moment = draw.uniform(0, whole.seconds)
            (stopped,) = laboratory.forks.run(Job(words, str(bench), kill_after=moment, kill_with=number))
            again = laboratory.forks.command(bench, *words)
            case = f"{name} after {moment:.3f} s"
            told = stopped.code == 128 + number and "goes on" in stopped.err and "Traceback" not in stopped.err
            if not (told or stopped.code in (0, -number)):  # done already, or not begun
                counts.add(LOST, case, f"{stopped.code} {stopped.text}")
            elif again.code or contents(bench) != last or unfinished_files(bench):
                counts.add(LOST, case, again.text)
            else:
                counts.add(RESUMED if told else HARMLESS, case)
