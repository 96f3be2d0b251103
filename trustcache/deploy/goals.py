"""The goal of a calibration and the samples it is made on, as the command line names them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from trustcache.data.splits import HALVES
from trustcache.errors import UsageError
from trustcache.registry import REQUIRED, option

MAX_RISK = "max-risk"
DEFAULT_DELTA = 0.001
COVERAGE = 0.8
"""Share of the images to trust where nobody has said which, which every score can reach."""
PROPOSED_DELTA = 0.05
"""The chance of failure in commands that are proposed: of few images a smaller one leaves no threshold."""
ALARM_RATE = 0.01
"""Default share of the streams of usual images in which a false alarm ever comes."""
CLASS, GROUP = "class", "group"
"""The two ways to group images: by the predicted class, and by a file or list."""


def named_for_calibration(data: str) -> bool:
    """Return True if a data set's name says that its images are there to set a threshold.

    >>> [named_for_calibration(name) for name in ("photos-calibration", "photos-cal", "photos-test", "calico")]
    [True, True, False, False]
    """
    return "calibrat" in data.lower() or not {"cal", "calib"}.isdisjoint(re.split(r"[^a-z]+", data.lower()))


@dataclass(frozen=True)
class Goal:
    """A threshold's goal: "max-risk" at confidence 1 - delta, or a key of `TARGETS` without a guarantee."""

    kind: str
    target: float
    delta: float | None = None


@dataclass(frozen=True)
class Targets:
    """The options that set a goal: one target, and the chance that the guarantee of `max_risk` fails."""

    max_risk: float | None = option(
        None, "Guarantee: at most this share of what is trusted is wrong (fixed-sequence testing)."
    )
    delta: float | None = option(None, f"--max-risk: the chance that the guarantee fails ({DEFAULT_DELTA}).")
    coverage: float | None = option(None, "No guarantee: trust at least this share of the data.")
    tpr: float | None = option(None, "No guarantee: trust at least this share of the right answers.")
    precision: float | None = option(
        None, "No guarantee: the most coverage where this share of what is trusted is right."
    )

    def goal(self) -> Goal:
        """Return the one goal that was given a target. Raises UsageError for none, several, or an impossible one.

        >>> Targets(max_risk=0.02).goal()
        Goal(kind='max-risk', target=0.02, delta=0.001)
        """
        targets = {name.replace("_", "-"): value for name, value in vars(self).items() if name != "delta"}
        given = [(kind, target) for kind, target in targets.items() if target is not None]
        if len(given) != 1:
            raise UsageError(f"give exactly one of {', '.join(f'--{kind}' for kind in targets)}, not {len(given)}")
        ((kind, target),) = given
        if not 0 < target <= 1 or (kind == MAX_RISK and target == 1):
            most = "below" if kind == MAX_RISK else "at most"
            percent = f"; {target:g} % is {target / 100:g}" if 1 < target <= 100 else ""
            raise UsageError(f"--{kind} {target:g}: must be a share above 0 and {most} 1{percent}")
        if kind != MAX_RISK and self.delta is not None:
            raise UsageError(f"--delta: means nothing to --{kind}, which is met on the calibration data only")
        delta = DEFAULT_DELTA if self.delta is None else self.delta
        if not 0 < delta < 1:
            raise UsageError(f"--delta {delta:g}: must be a chance above 0 and below 1")
        return Goal(kind, target, delta if kind == MAX_RISK else None)


@dataclass(frozen=True)
class Calibration:
    """The samples to calibrate on: of a cache of the scorer's classifier, by default those that the run held out."""

    data: str | None = option(
        None, "The data set whose cache to calibrate on; without it, what the run set aside in training."
    )
    part: str | None = option(
        None, "Calibrate on one half of the data, and tell coverage and risk on the other to check it.", choices=HALVES
    )
    seed: int | None = option(None, "--part: draws the halves (0).", min=0)
    worst_of: list[str] = option(
        [], "--max-risk: keep the promise on this cached data set, or family of them, too. May be repeated."
    )
    check_on: list[str] = option(
        [], "Tell risk and coverage on this cached data set, or family of them, too. May be repeated."
    )
    by: str | None = option(
        None, f"--max-risk: a threshold for each predicted class ({CLASS}), or for each group of a CSV file id,group."
    )
    alarm: float = option(
        ALARM_RATE, "False-alarm rate: predict tells when scores look unlike these, by chance in this share of streams."
    )

    def __post_init__(self) -> None:
        if self.seed is not None and self.part is None:
            raise UsageError("--seed: draws the halves of --part, which is not given")
        if not 0 < self.alarm < 1:
            raise UsageError(f"--alarm {self.alarm:g}: must be a share of streams above 0 and below 1")
        if self.by and self.worst_of:
            raise UsageError("--by and --worst-of: exclude each other; calibrate twice")

    def check(self, goal: Goal) -> None:
        """Raise UsageError where it asks for what only a guarantee can be kept for.

        >>> Calibration("birds", by="class").check(Goal("coverage", 0.5))
        Traceback (most recent call last):
        trustcache.errors.UsageError: --by: keeps a promise, which --coverage makes none of; give --max-risk
        """
        for name, given in (("--by", self.by), ("--worst-of", self.worst_of)):
            if given and goal.kind != MAX_RISK:
                raise UsageError(f"{name}: keeps a promise, which --{goal.kind} makes none of; give --{MAX_RISK}")


@dataclass(frozen=True)
class SetGoal:
    """The coverage that sets of classes are to have, and the samples they are calibrated and looked at on."""

    data: str = option(
        REQUIRED, "The data set whose cache to calibrate on, of images the classifier never learnt from."
    )
    confidence: float = option(0.9, "The share of the images whose set is to hold their true class, in each class.")
    marginal: bool = option(False, "Promise that share of all images only, which some classes may miss.")
    part: str | None = option(
        None, "Calibrate on one half of the data, and tell on the other what the sets are worth.", choices=HALVES
    )
    seed: int | None = option(None, "--part: draws the halves (0).", min=0)
    check_on: list[str] = option(
        [], "Tell what the sets are worth on this cached data set, or family of them, too. May be repeated."
    )

    def __post_init__(self) -> None:
        share = self.confidence
        if not 0 < share < 1:
            percent = f"; {share:g} % is {share / 100:g}" if 1 < share < 100 else ""
            raise UsageError(f"--confidence {share:g}: must be a share above 0 and below 1{percent}")
        if self.seed is not None and self.part is None:
            raise UsageError("--seed: draws the halves of --part, which is not given")
