"""Trials: every threshold that was sought for a score, kept beside it, as each spends a promise's confidence again."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from trustcache.cache.records import read_record, write_record
from trustcache.deploy.goals import Calibration, Goal
from trustcache.deploy.promises import apart

TRIALS = "tried.json"


@dataclass(frozen=True)
class Trial:
    """One threshold sought: on which images of which classifier (its fingerprint), and what it was to reach."""

    judged: str
    data: str
    part: str | None
    seed: int
    goal: str
    target: float
    delta: float | None
    by: str | None
    worst_of: tuple[str, ...]

    @classmethod
    def of(cls, judged: str, data: str, goal: Goal, calibration: Calibration) -> Trial:
        """Return the trial of a goal on some data, by their name."""
        rows = calibration.part, calibration.seed or 0
        return cls(judged, data, *rows, goal.kind, goal.target, goal.delta, calibration.by, (*calibration.worst_of,))

    def shares_images(self, other: Trial) -> bool:
        """Return True if both looked at some of the same images; the two halves by one seed have none in common."""
        same = (self.judged, self.data) == (other.judged, other.data)
        return same and not apart((self.part, self.seed), (other.part, other.seed))


@dataclass(frozen=True)
class Trials:
    """`tried.json`: the trials of one score, each once, whether a threshold was found or not."""

    SCHEMA: ClassVar[int] = 1

    tried: tuple[Trial, ...]


def read_trials(path: Path) -> tuple[Trial, ...]:
    """Return what a file has kept. Raises FileNotFoundError without one, TrustcacheError where it is damaged.

    >>> _ = record_trial(tmp / "mcp", Trial.of("net", "birds", Goal("coverage", 0.5), Calibration("birds")))
    >>> [trial.target for trial in read_trials(tmp / "mcp" / TRIALS)]
    [0.5]
    """
    return read_record(path, Trials, "remove it, which forgets the targets tried there").tried


def record_trial(folder: Path, trial: Trial) -> int:
    """Keep a trial in the folder of its score, and return how many others shared its images.

    These are of other targets of this score, and of all other scores of the workspace, whose folders lie beside it.
    Raises TrustcacheError where a file of them is damaged.

    >>> one = Trial.of("net", "birds", Goal("coverage", 0.5), Calibration("birds"))
    >>> other = Trial.of("net", "birds", Goal("coverage", 0.6), Calibration("birds"))
    >>> [record_trial(tmp / "runs" / "mcp", each) for each in (one, other, one)]
    [0, 1, 1]
    """
    tried: dict[Path, tuple[Trial, ...]] = {folder: ()}
    for path in folder.parent.glob(f"*/{TRIALS}"):
        with contextlib.suppress(FileNotFoundError):  # removed since
            tried[path.parent] = read_trials(path)
    own = dict.fromkeys((*tried.pop(folder), trial))
    write_record(folder / TRIALS, Trials(tuple(own)))
    others = [*(own.keys() - {trial}), *(each for score in tried.values() for each in score)]
    return sum(map(trial.shares_images, others))
