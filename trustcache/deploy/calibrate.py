"""Calibration: from scores on data that nothing has learnt from to the threshold that `predict` uses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trustcache.cache import CacheView
from trustcache.cache.index import judged_fingerprint
from trustcache.cache.view import require_cache, warn_of_sorted
from trustcache.data.pipeline import unheard
from trustcache.data.progress import Progress, silent
from trustcache.data.splits import half_rows
from trustcache.deploy.goals import ALARM_RATE, CLASS, GROUP, Calibration, Goal, Targets
from trustcache.deploy.groups import grouped
from trustcache.deploy.labelled import Labelled, LabelledData, whole_cache
from trustcache.deploy.promises import warn_of_others
from trustcache.deploy.scorers import Scorer
from trustcache.deploy.threshold import Check, GroupPoint, Threshold, Watch, untrusted_groups
from trustcache.deploy.trials import Trial, record_trial
from trustcache.errors import TrustcacheError, UsageError, in_python, percent
from trustcache.evaluate.scoring import Scoring
from trustcache.metrics.calibration import wilson
from trustcache.metrics.estimated_accuracy import AccuracyFit, estimated_accuracy, fit_accuracy
from trustcache.metrics.selective import (
    WorkingPoint,
    at_target,
    first_tests,
    guaranteed,
    least_risk,
    least_trusted,
    working_point,
)
from trustcache.oracles.optim import Machine
from trustcache.scores.methods import AnyMethod, methods_of

# Of the bound on a share that is met without a guarantee: 95 % confidence, as the report's intervals.
BOUND_DELTA = 0.05


def calibrate(
    scorer: Scorer,
    goal: Goal,
    calibration: Calibration,
    data_root: Path,
    machine: Machine,
    progress: Progress = silent,
    note: Callable[[str], None] = unheard,
) -> Threshold:
    """Find the threshold that reaches a goal, and keep it in the scorer's folder.

    note: told where thresholds of other goals or scores were tried on the same images.

    Raises TrustcacheError where no threshold reaches it, which leaves an older one in place; UsageError where there is
    no such data, or the run learnt from it.

    >>> from trustcache.deploy.scorers import find_scorer
    >>> half = Calibration("birds", part="first-half")
    >>> found = calibrate(find_scorer(demo_workspace, "mcp"), Goal("coverage", 0.5), half, Path(), Machine())
    >>> found.point.trusted, found.point.samples
    (8, 15)
    """
    calibration.check(goal)
    source = LabelledData(scorer, Scoring(scorer.workspace_caches, data_root, machine, progress), note)
    own = source.held_out() if calibration.data is None else source.named("--data", calibration.data)
    data = _Data(
        grouped(own, calibration.by),
        [one for name in calibration.worst_of for one in source.family("--worst-of", name)],
        [grouped(one, calibration.by) for name in calibration.check_on for one in source.family("--check-on", name)],
    )
    others = record_trial(scorer.folder, Trial.of(scorer.judged, own.data, goal, calibration))
    threshold = _threshold((scorer.name, scorer.judged, scorer.learnt), data, goal, calibration)
    if others:
        note(
            f"{others} other threshold{'s were' if others > 1 else ' was'} tried on the same images before "
            f"({own.data}): a promise's confidence is spent once for each"
        )
    scorer.save_threshold(threshold)
    return threshold


@in_python()
def calibrate_on(
    method: AnyMethod,
    cache: CacheView,
    *,
    training: CacheView | None = None,
    worst_of: Sequence[CacheView] = (),
    check_on: Sequence[CacheView] = (),
    by: str | Sequence[str] | None = None,
    part: str | None = None,
    seed: int | None = None,
    alarm: float = ALARM_RATE,
    **targets: float,
) -> Threshold:
    """Return the threshold of an oracle or a score that reaches a target on a cache that nothing has learnt from.

    targets: one of max_risk (with delta, by default 0.001), coverage, tpr and precision, as `Targets` has them. part,
    seed: calibrate on one half of the rows, and look at the other. training: what a post-hoc score learns from.
    worst_of: more caches that max_risk must hold on. check_on: caches to tell the threshold's effect on. by: "class",
    or a group for each row, for thresholds of their own with max_risk. alarm: the share of false alarms.
    A second promise on the same cache object, of another score or target, is warned of, once.
    Raises UsageError where the method has learnt from some of the rows, or no target is given; TrustcacheError where no
    threshold reaches it.

    >>> cache = CacheView.from_arrays([[2.0, 0.5], [0.1, 0.3], [3.0, 0.0]], [0, 0, 0])
    >>> calibrate_on("mcp", cache, coverage=0.6).point.trusted
    2
    """
    if unknown := targets.keys() - vars(Targets()).keys():
        raise TypeError(f"calibrate has no target {min(unknown)!r}; it has {', '.join(vars(Targets()))}")
    goal = Targets(**targets).goal()
    (found,) = methods_of([method], training)
    for one in (cache, *worst_of):
        require_cache(one)
        warn_of_sorted(one, "calibrate")
    for one in (cache, *worst_of, *check_on):
        if learnt := found.learnt_rows(one):
            raise UsageError(
                f"{found.name}: has learnt from {learnt:,} of the {len(one):,} rows of {one.index.data} (the same, "
                "whatever the name), so scores there promise nothing; calibrate on others"
            )
    own, *more = (whole_cache(one, found.scores(one)) for one in (cache, *worst_of, *check_on))
    named = by if by is None or isinstance(by, str) else None
    kept_on = [one.index.data for one in worst_of]
    calibration = Calibration(None, part, seed, kept_on, by=GROUP if by and not named else named, alarm=alarm)
    calibration.check(goal)
    warn_of_others(own, goal, calibration)
    if by and not named:
        own = _with_groups(own, by, check_on)
    about = found.name, judged_fingerprint(cache.index), ""
    checks = [grouped(one, named) for one in more[len(worst_of) :]]
    data = _Data(grouped(own, named), more[: len(worst_of)], checks)
    return _threshold(about, data, goal, calibration)


def _with_groups(own: Labelled, groups: Sequence[str], check_on: Sequence[CacheView]) -> Labelled:
    if check_on:
        raise UsageError('by: a list says no groups for the rows of check_on; leave one out, or give "class" or a file')
    if len(groups) != len(own):
        raise UsageError(f"by: has {len(groups):,} groups for the {len(own):,} rows of {own.data}; give one a row")
    return replace(own, groups=np.array([str(group) for group in groups]))


@dataclass(frozen=True)
class _Data:
    """The samples to calibrate on, more to keep the promise on, more to check; the first and last may have groups."""

    own: Labelled
    worst_of: Sequence[Labelled]
    check_on: Sequence[Labelled]


def _threshold(about: tuple[str, str, str], data: _Data, goal: Goal, calibration: Calibration) -> Threshold:
    """Return the threshold that reaches a goal. about: the score's name, and the fingerprints that pin it."""
    (name, judged, learnt), seed = about, calibration.seed or 0
    rows = everything = np.arange(len(data.own))
    if calibration.part:
        rows = half_rows(len(everything), calibration.part, seed)
    used, rest = data.own.take(rows), data.own.take(np.setdiff1d(everything, rows))
    if not len(used):
        raise UsageError(
            f"{data.own.data}: {len(everything)} samples are too few to calibrate on; name a larger --data"
        )
    all_used = [used, *(one.apart_from(rest.content) for one in data.worst_of)]
    point = _careful([_reach(name, goal, one) for one in all_used], used)
    groups = _group_points(goal, used, calibration.by == CLASS)
    rule = _Rule(point.threshold, {one.group: one.point.threshold if one.point else math.inf for one in groups})
    seen = np.concatenate([one.content for one in all_used])
    fit = fit_accuracy(used.z, used.correct, used.probabilities())
    by = "" if not calibration.by else CLASS if calibration.by == CLASS else GROUP
    return Threshold(
        rule.effect(used) if groups else point,
        rule.effect(rest) if len(rest) else None,
        tuple(rule.check(one, fit) for one in all_used[1:]),
        tuple(rule.check(one.apart_from(seen), fit) for one in data.check_on),
        by,
        groups,
        used.data,
        calibration.part or "all",
        seed,
        goal.kind,
        goal.target,
        goal.delta,
        _promise(goal, point, len(all_used), by, groups),
        Watch.of(calibration.alarm, [(one.z, one.predictions) for one in all_used]),
        fit,
        judged,
        learnt,
    )


@dataclass(frozen=True)
class _Rule:
    """Rule of trust: a score above one threshold, or above that of its group where there are groups."""

    threshold: float
    of_groups: dict[str, float]

    def effect(self, samples: Labelled) -> WorkingPoint:
        """Return what it does to samples."""
        if not self.of_groups:
            return working_point(samples.z, samples.correct, self.threshold)
        assert samples.groups is not None
        trusted = samples.z > np.array([self.of_groups.get(group, math.inf) for group in samples.groups])
        return replace(working_point(trusted, samples.correct, 0.5), threshold=self.threshold)

    def check(self, samples: Labelled, fit: AccuracyFit) -> Check:
        """Return what it does to samples, with estimates that see no labels."""
        point = self.effect(samples)
        return Check(
            samples.data,
            point,
            float(samples.correct.mean()),
            _interval(point.trusted, point.samples),
            _interval(point.wrong, point.trusted),
            estimated_accuracy(fit, samples.z, samples.probabilities()),
        )


def _careful(points: Sequence[WorkingPoint], own: Labelled) -> WorkingPoint:
    """Return what the highest of some thresholds does to `own`.

    Each may fail with all of delta. Where risk falls as thresholds rise, one data set needs the highest, and the
    highest of all found can only be too low if the one found on that data set is (an intersection-union test: Berger
    1982). Several data sets therefore share no confidence.
    """
    highest = max(points, key=lambda point: point.threshold)
    if highest is points[0]:
        return highest
    return replace(working_point(own.z, own.correct, highest.threshold), bound=points[0].bound)


def _group_points(goal: Goal, samples: Labelled, by_class: bool) -> tuple[GroupPoint, ...]:
    """Return a threshold for each group, at an equal share of delta (Bonferroni), so that all hold at once."""
    if samples.groups is None or goal.delta is None:
        return ()
    found, classes = [], dict(enumerate(samples.cache.index.made_from.classes if by_class else ()))
    names = sorted(set(samples.groups.tolist()), key=lambda group: (len(group), group))
    for group in names:
        some = samples.take(samples.groups == group)
        point = guaranteed(some.z, some.correct, goal.target, goal.delta / len(names))
        label = classes.get(int(group), group) if by_class else group
        found.append(GroupPoint(group, label, len(some), point))
    return tuple(found)


def _interval(successes: int, n: int) -> tuple[float, float]:
    low, high = wilson(successes, n)
    return float(low), float(high)


def _reach(name: str, goal: Goal, samples: Labelled) -> WorkingPoint:
    """Return the working point of a goal. Raises TrustcacheError where there is none."""
    z, correct = samples.z, samples.correct
    if goal.delta is None:
        point = at_target(z, correct, goal.kind, goal.target, BOUND_DELTA)
    else:
        point = guaranteed(z, correct, goal.target, goal.delta)
    if point is None:
        why = (
            f"give a smaller --{goal.kind} (the page of trustcache report has the risk at every coverage), or "
            "calibrate on more data"
            if goal.delta is None
            else _unproved(z, correct, goal.target, goal.delta)
        )
        raise TrustcacheError(
            f"{name}: no threshold reaches --{goal.kind} {goal.target:g} on the {len(z):,} samples of {samples.data}, "
            f"{percent(correct.mean())} of which the classifier gets right; {why}"
        )
    return point


def _unproved(z: np.ndarray, correct: np.ndarray, max_risk: float, delta: float) -> str:
    """Say where the tests of a guarantee ended, what the samples do prove, and what to do."""
    tests, least = first_tests(z, correct, max_risk, delta), least_risk(z, correct, delta)
    trusted, wrong = (", ".join(f"{getattr(one, name):,}" for one in tests) for name in ("trusted", "wrong"))
    ended = (
        f"the tests start at the {trusted} most trusted, of which {wrong} are wrong: too many to prove it at --delta "
        f"{delta:g}"
        if tests
        else f"at --delta {delta:g} it takes {least_trusted(len(z), max_risk, delta):,} trusted samples, all right"
    )
    proved = f"the least that these samples prove is --max-risk {least:g}, but " if least else ""
    return (
        f"{ended}; {proved}each target tried on the same samples spends the confidence again: plan it (trustcache "
        "calibrate --plan tells how many samples it takes), and calibrate on others"
    )


def _promise(goal: Goal, point: WorkingPoint, data_sets: int, by: str, groups: Sequence[GroupPoint]) -> str:
    if goal.delta is None:
        return (
            f"none beforehand: {goal.kind} is at least {goal.target:g} on these samples; on data drawn as they were it "
            f"is, with confidence {1 - BOUND_DELTA:g}, at least {point.bound:.4f}"
        )
    within, without = "", untrusted_groups(groups)
    if by:
        within = f", within each of {len(groups)} groups (by {'predicted class' if by == CLASS else 'file'}) at once"
        within += f" ({without})" if without else ""
    drawn = f"as in any of these {data_sets} data sets, or mixed of them" if data_sets > 1 else "as these samples were"
    return (
        f"with confidence {1 - goal.delta:g} at most {100 * goal.target:g} % of what is trusted is wrong{within}, on "
        f"data drawn {drawn}, if neither the classifier nor the oracle learnt from them or was chosen by them"
    )
