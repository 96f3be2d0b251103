"""The record of a calibrated threshold: how it was found, what it promises, and the scores that an alarm expects."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from trustcache.cache.records import write_record
from trustcache.cache.view import CacheView
from trustcache.data.splits import half_rows, other_half
from trustcache.deploy.goals import CLASS
from trustcache.deploy.saved import read_saved
from trustcache.errors import UsageError, first_few, percent
from trustcache.metrics.estimated_accuracy import AccuracyFit
from trustcache.metrics.exchangeability import Reference, reference
from trustcache.metrics.selective import EVERYTHING, WorkingPoint

THRESHOLD = "threshold.json"
_NAMED = 2
"""Data sets beside the first that a sentence names; of more it tells the number."""


_GROUPS_NAMED = 3


@dataclass(frozen=True)
class Check:
    """Effect of a threshold on a data set. accuracy: share of right answers, whatever is trusted.

    coverage, risk: Wilson's 95 % intervals of the point's. estimates: what the accuracy would have been taken for
    without labels, by the names of `trustcache.metrics.estimated_accuracy.ESTIMATES`.
    """

    data: str
    point: WorkingPoint
    accuracy: float
    coverage: tuple[float, float]
    risk: tuple[float, float]
    estimates: dict[str, float]


@dataclass(frozen=True)
class GroupPoint:
    """Threshold of one group, None where too few of its `samples` are right: nothing of the group is trusted.

    group: the predicted class's number, or the name in the file of groups; name: for people.
    """

    group: str
    name: str
    samples: int
    point: WorkingPoint | None


@dataclass(frozen=True, repr=False)
class Watch:
    """The scores that an alarm takes for usual: like one of `references`, one for each data set calibrated on.

    by_class: of the same data sets, in order, the scores within the predicted classes.
    rate: the share of usual streams in which a false alarm ever comes, at most.
    """

    rate: float
    references: tuple[Reference, ...]
    by_class: tuple[Reference, ...]

    def __post_init__(self) -> None:
        if not (0 < self.rate < 1 and 0 < len(self.references) == len(self.by_class)):
            raise ValueError("a rate that is no share, or no references")
        if not all(one.classes for one in self.by_class):
            raise ValueError("references by class without classes")

    @classmethod
    def of(cls, rate: float, samples: Iterable[tuple[npt.ArrayLike, npt.ArrayLike]]) -> Watch:
        """Return what to expect of streams like some data sets.

        samples: of each data set, scores (N,) and predicted classes (N,).

        >>> Watch.of(0.01, [([0.5, 1.5, 2.5], [0, 0, 1])])
        <watch: like 3 scores, false alarms in at most 1.00 % of all streams>
        """
        each = [*samples]
        return cls(rate, tuple(reference(z) for z, _ in each), tuple(reference(z, classes) for z, classes in each))

    def __repr__(self) -> str:
        scores = " and ".join(f"{one.samples:,}" for one in self.references)
        return f"<watch: like {scores} scores, false alarms in at most {percent(self.rate)} of all streams>"


@dataclass(frozen=True, repr=False)
class Threshold:
    """A calibrated threshold, `threshold.json`: how it was found, and what it promises.

    point: the threshold, and what it does to the samples it was found on: of `data` the half `part`, drawn by `seed`,
    or "all". other_half: what it does to the half that was left out. worst_of: to the data sets on which the promise
    is kept too; checks: to others. by: "class" or "group" where `groups` have thresholds of their own, which all these
    effects are of, but the point's threshold is the one for all; else "".
    goal: "max-risk" (with `delta`), "coverage", "tpr" or "precision"; target: its value. guarantee: a sentence.
    accuracy: what the accuracy on other images is estimated by. judged: the fingerprint of the classifier. learnt: that
    of what a post-hoc score had learnt from, "" for others.
    """

    SCHEMA: ClassVar[int] = 5

    point: WorkingPoint
    other_half: WorkingPoint | None
    worst_of: tuple[Check, ...]
    checks: tuple[Check, ...]
    by: str
    groups: tuple[GroupPoint, ...]
    data: str
    part: str
    seed: int
    goal: str
    target: float
    delta: float | None
    guarantee: str
    watch: Watch
    accuracy: AccuracyFit
    judged: str
    learnt: str

    def __float__(self) -> float:
        if self.groups:
            raise UsageError(
                f"threshold: there are {len(self.groups)}, one for each {self.by}, and one number for all keeps no "
                "promise within them; call threshold.trusts(scores, "
                + ("cache)" if self.by == CLASS else "groups=a group for each row)")
            )
        return self.point.threshold

    def trusts(self, scores: Any, cache: CacheView | None = None, *, groups: Iterable[str] | None = None) -> np.ndarray:
        """Return True for every score that is trusted: above the threshold, or above that of its group. bool (N,).

        scores: (N,), of the method that was calibrated; one that is nan is not trusted. cache: of the N rows, which
        thresholds by class take their predictions from. groups: a name for each row, where the thresholds are of a
        list's or a file's groups; nothing of a group that calibration did not see is trusted.
        Raises UsageError where the groups are missing, or the lengths differ.

        >>> from trustcache.deploy.calibrate import calibrate_on
        >>> cache = CacheView.from_arrays([[2.0, 0.5], [0.1, 0.3], [3.0, 0.0]], [0, 0, 0])
        >>> calibrate_on("mcp", cache, coverage=0.6).trusts([1.5, 0.2, 3.0], cache)
        array([ True, False,  True])
        """
        if isinstance(scores, CacheView):
            raise TypeError("trusts: takes scores; give threshold.trusts(oracle.decision_function(cache), cache)")
        z = np.asarray(scores, dtype=np.float64)
        if z.ndim != 1:
            raise UsageError(f"trusts: scores have shape {z.shape}; give one a row")
        cuts = self._cuts(cache, groups) if self.groups else np.array(self.point.threshold)
        for rows in (len(cache) if cache is not None else len(z), len(cuts) if cuts.ndim else len(z)):
            if rows != len(z):
                raise UsageError(f"trusts: there are {len(z):,} scores for {rows:,} rows; give those of the same")
        return z > cuts

    def _cuts(self, cache: CacheView | None, groups: Iterable[str] | None) -> np.ndarray:
        """Return the threshold of each row by its group, float64 (N,)."""
        if self.by == CLASS and cache is not None:
            groups = cache.predictions.astype(str)
        elif self.by == CLASS or groups is None:
            needs = "cache, whose predictions name the classes" if self.by == CLASS else "groups, a name for each row"
            raise UsageError(f"trusts: these thresholds are by {self.by}; give {needs}")
        known = self.of_groups()
        return np.array([known.get(str(group), math.inf) for group in groups])

    def save(self, path: str | Path) -> None:
        """Write it to a file, as `trustcache calibrate` does. Raises OSError where the file cannot be written."""
        write_record(Path(path), self)

    @classmethod
    def load(cls, path: str | Path) -> Threshold:
        """Return the threshold that `save` wrote.

        Raises UsageError where it is no such file, DamagedError where it is not as it was written.

        >>> from trustcache.deploy.calibrate import calibrate_on
        >>> found = calibrate_on("mcp", CacheView.from_arrays([[2.0, 0.5], [0.1, 0.3]], [0, 0]), coverage=0.5)
        >>> found.save(tmp / "threshold.json")
        >>> Threshold.load(tmp / "threshold.json") == found
        True
        """
        return read_saved(Path(path), cls)

    def __repr__(self) -> str:
        goal = f"{self.goal} {self.target:g}" + (f" at delta {self.delta:g}" if self.delta is not None else "")
        if self.groups:
            without = f" ({found})" if (found := untrusted_groups(self.groups)) else ""
            value = f"{len(self.groups)} thresholds by {self.by}{without}"
        else:
            value = "threshold " + ("below every score" if float(self) == EVERYTHING else f"{float(self):.6g}")
        if not self.worst_of:
            return f"<{value}: {goal} on {self.samples}, {_figures(self.point)} there>"
        worst = max(self.worst_of, key=lambda one: one.point.risk or 0.0)
        shown = [*self.worst_of] if len(self.worst_of) <= _NAMED else [worst]
        label = "" if len(self.worst_of) <= _NAMED else "the worst of these: "
        each = "; ".join(f"{label}{_figures(one.point)} on {one.data}" for one in shown)
        return f"<{value}: {goal} on {self.samples}: {_figures(self.point)} on {self.own_samples}; {each}>"

    @property
    def promise(self) -> str:
        """What it promises of what is trusted, in short."""
        on = f"on images like {self.samples}"
        if self.delta is None:
            return f"no promise: {self.goal} {percent(self.target, 1)} was reached {on}"
        return f"promise: at most {100 * self.target:g} % of these are wrong, with confidence {1 - self.delta:g}, {on}"

    def of_groups(self) -> dict[str, float]:
        """Return the threshold of each group, infinite where nothing is trusted."""
        return {one.group: one.point.threshold if one.point else math.inf for one in self.groups}

    @property
    def samples(self) -> str:
        """The samples it was found on, for people."""
        more = len(self.worst_of)
        named = "".join(f", and {one.data}" for one in self.worst_of)
        return self.own_samples + (f", and {more} data sets more" if more > _NAMED else named)

    @property
    def own_samples(self) -> str:
        """Those of `data` alone."""
        half = "" if self.part == "all" else f", the {self.part.replace('-', ' ')} by seed {self.seed}"
        return f"{self.data}{half}"

    def left_out(self, samples: int) -> np.ndarray | None:
        """Return the rows (N/2,) of the half that it was not found on, of so many, or None if it was found on all."""
        return None if self.part == "all" else half_rows(samples, other_half(self.part), self.seed)


def untrusted_groups(groups: Sequence[GroupPoint]) -> str:
    """Say in which groups nothing is trusted, as no threshold keeps the promise there; "" for none.

    >>> untrusted_groups([GroupPoint(f"{number}", f"class {number}", 9, None) for number in range(5)])
    'nothing is trusted in 5 of 5 groups: class 0, class 1, class 2 and 2 more'
    """
    names = [one.name for one in groups if not one.point]
    shown = first_few(names, _GROUPS_NAMED)
    return f"nothing is trusted in {len(names)} of {len(groups)} groups: {shown}" if names else ""


def _figures(point: WorkingPoint) -> str:
    return f"coverage {percent(point.coverage)}, risk {percent(point.risk or 0.0)}"
