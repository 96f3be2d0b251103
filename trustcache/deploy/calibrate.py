"""Calibration: from scores on data that nothing has learnt from to the threshold that `predict` uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trustcache.cache import CacheView, open_cache
from trustcache.cache.index import judged_fingerprint
from trustcache.data.splits import half_rows, other_half
from trustcache.deploy.goals import Calibration, Goal, Targets
from trustcache.deploy.scorers import Scorer, Threshold
from trustcache.errors import TrustcacheError, UsageError, percent
from trustcache.evaluate.scoring import Scoring
from trustcache.metrics.selective import WorkingPoint, at_target, guaranteed, least_trusted, working_point
from trustcache.oracles.optim import Machine
from trustcache.progress import Progress, silent
from trustcache.scores import POST_HOC
from trustcache.scores.fitting import outputs_of
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
) -> Threshold:
    """Find the threshold that reaches a goal, and keep it in the scorer's folder.

    Raises TrustcacheError where no threshold reaches it, which leaves an older one in place; UsageError where there is
    no such data, or the run learnt from it.

    >>> from trustcache.deploy.scorers import find_scorer
    >>> half = Calibration("birds", part="first-half")
    >>> found = calibrate(find_scorer(demo_workspace, "mcp"), Goal("coverage", 0.5), half, Path(), Machine())
    >>> found.point.trusted, found.point.samples
    (8, 15)
    """
    scoring = Scoring(scorer.workspace_caches, data_root, machine, progress)
    about = scorer.name, scorer.judged, scorer.learnt
    threshold = _threshold(about, *_samples(scorer, calibration, scoring), goal, calibration)
    scorer.save_threshold(threshold)
    return threshold


def calibrate_on(
    method: AnyMethod,
    cache: CacheView,
    *,
    part: str | None = None,
    seed: int | None = None,
    training: CacheView | None = None,
    **targets: float,
) -> Threshold:
    """Return the threshold of an oracle or a score that reaches a target on a cache that nothing has learnt from.

    targets: one of max_risk (with delta, by default 0.001), coverage, tpr and precision, as `Targets` has them. part,
    seed: calibrate on one half of the rows, and look at the other. training: what a post-hoc score learns from.
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
    if learnt := found.learnt_rows(cache):
        raise UsageError(
            f"{found.name}: has learnt from {learnt:,} of the {len(cache):,} rows of {cache.index.data}, so scores "
            "there promise nothing; calibrate on others"
        )
    about = found.name, judged_fingerprint(cache.index), ""
    return _threshold(about, cache.index.data, found.scores(cache), cache.correct, goal, Calibration(None, part, seed))


def _threshold(
    about: tuple[str, str, str], data: str, z: np.ndarray, correct: np.ndarray, goal: Goal, calibration: Calibration
) -> Threshold:
    """Return the threshold that reaches a goal. about: the score's name, and the fingerprints that pin it."""
    rows = everything = np.arange(len(z))
    (name, judged, learnt), seed = about, calibration.seed or 0
    if calibration.part:
        rows = half_rows(len(z), calibration.part, seed)
    rest = np.setdiff1d(everything, rows)
    if not len(rows):
        raise UsageError(f"{data}: {len(z)} samples are too few to calibrate on; name a larger --data")
    point = _reach(name, goal, z[rows], correct[rows], data)
    return Threshold(
        point,
        working_point(z[rest], correct[rest], point.threshold) if len(rest) else None,
        data,
        calibration.part or "all",
        seed,
        goal.kind,
        goal.target,
        goal.delta,
        _promise(goal, point),
        judged,
        learnt,
    )


def _samples(scorer: Scorer, calibration: Calibration, scoring: Scoring) -> tuple[str, np.ndarray, np.ndarray]:
    """Return a name for the data, z float64 (N,) and correct bool (N,)."""
    run, data = scorer.run, calibration.data
    names = ", ".join(index.data for index in scorer.caches)
    if data is None:
        if run is None:
            raise UsageError(f"{scorer.name}: has set no data aside; name a cache with --data ({names})")
        own = scorer.caches[0]
        if own.fingerprint() != run.config.cache:
            raise UsageError(
                f"{run.name}: the cache of {run.config.data} that it learnt from is not there any more, so neither is "
                f"the part it set aside; name another with --data ({names})"
            )
        rows, z = scoring.of_validation(run, own)
        return f"the validation part of {own.data}", z, open_cache(own.folder).correct[rows]
    index = next((index for index in scorer.caches if index.data == data), None)
    if index is None:
        raise UsageError(f"--data {data}: no cache of {scorer.classifier} has that name; there are {names}")
    if run and not run.config.part and run.config.learnt_images_of(index, scorer.workspace_caches):
        raise UsageError(
            f"--data {data}: {run.name} learnt from its images, so scores there promise nothing; leave --data out "
            "to take the part that was set aside, or name other data"
        )
    cache = open_cache(index.folder)
    if run is None:
        if index.role == "train" and POST_HOC[scorer.name].fitted:
            raise UsageError(
                f"--data {data}: {scorer.name} learns from training data, so its scores there promise nothing; name "
                "other data"
            )
        score = scorer.post_hoc()
        return data, np.concatenate([score(outputs_of(part)) for part in cache.chunks()]), cache.correct
    z = scoring.of_cache(run, index)
    unseen = run.unseen(cache, scorer.workspace_caches)
    named = data if unseen.all() else f"{data}, its {other_half(run.config.part)}"
    return named, z[unseen], cache.correct[unseen]


def _reach(name: str, goal: Goal, z: np.ndarray, correct: np.ndarray, data: str) -> WorkingPoint:
    """Return the working point of a goal. Raises TrustcacheError where there is none."""
    least = ""
    if goal.delta is None:
        point = at_target(z, correct, goal.kind, goal.target, BOUND_DELTA)
    else:
        point = guaranteed(z, correct, goal.target, goal.delta)
        fewest = least_trusted(len(z), goal.target, goal.delta)
        least = (
            f" (at --delta {goal.delta:g} it takes {fewest:,} trusted samples, all right, and more where some are not)"
        )
    if point is None:
        easier = "larger" if goal.delta is not None else "smaller"
        raise TrustcacheError(
            f"{name}: no threshold reaches --{goal.kind} {goal.target:g} on the {len(z):,} samples of {data}, "
            f"{percent(correct.mean())} of which the classifier gets right{least}; give a {easier} --{goal.kind} (the "
            "page of trustcache report has the risk at every coverage), or calibrate on more data"
        )
    return point


def _promise(goal: Goal, point: WorkingPoint) -> str:
    if goal.delta is None:
        return (
            f"none beforehand: {goal.kind} is at least {goal.target:g} on these samples; on data drawn as they were it "
            f"is, with confidence {1 - BOUND_DELTA:g}, at least {point.bound:.4f}"
        )
    return (
        f"with confidence {1 - goal.delta:g} at most {100 * goal.target:g} % of what is trusted is wrong, on data "
        "drawn as these samples were, if neither the classifier nor the oracle learnt from them or was chosen by them"
    )
