"""Calibration: from scores on data that nothing has learnt from to the threshold that `predict` uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trustcache.cache import open_cache
from trustcache.data.splits import half_rows, other_half
from trustcache.deploy.goals import Calibration, Goal
from trustcache.deploy.scorers import Scorer, Threshold
from trustcache.errors import TrustcacheError, UsageError, percent
from trustcache.evaluate.scoring import Scoring
from trustcache.metrics.selective import WorkingPoint, at_target, guaranteed, least_samples, working_point
from trustcache.oracles.optim import Machine
from trustcache.progress import Progress, silent
from trustcache.scores import POST_HOC
from trustcache.scores.fitting import outputs_of


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
    data, z, correct = _samples(scorer, calibration, Scoring(scorer.workspace_caches, data_root, machine, progress))
    rows = everything = np.arange(len(z))
    seed = calibration.seed or 0
    if calibration.part:
        rows = half_rows(len(z), calibration.part, seed)
    rest = np.setdiff1d(everything, rows)
    if not len(rows):
        raise UsageError(f"{data}: {len(z)} samples are too few to calibrate on; name a larger --data")
    point = _reach(scorer, goal, z[rows], correct[rows], data)
    threshold = Threshold(
        point,
        working_point(z[rest], correct[rest], point.threshold) if len(rest) else None,
        data,
        f"the {calibration.part.replace('-', ' ')} by seed {seed}" if calibration.part else "all",
        goal.kind,
        goal.target,
        goal.delta,
        _promise(goal),
        scorer.judged,
        scorer.learnt,
    )
    scorer.save_threshold(threshold)
    return threshold


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


def _reach(scorer: Scorer, goal: Goal, z: np.ndarray, correct: np.ndarray, data: str) -> WorkingPoint:
    """Return the working point of a goal. Raises TrustcacheError where there is none."""
    least, found = "", "no threshold reaches"
    if goal.delta is None:
        point = at_target(z, correct, goal.kind, goal.target)
    else:
        point = guaranteed(z, correct, goal.target, goal.delta)
        fewest = least_samples(len(z), goal.target, goal.delta)
        found = "the search by halving meets no threshold that keeps"  # others might, where risk falls with coverage
        least = (
            f" (at --delta {goal.delta:g} it takes {fewest:,} trusted samples, all right, and more where some are not)"
        )
    if point is None:
        raise TrustcacheError(
            f"{scorer.name}: {found} --{goal.kind} {goal.target:g} on the {len(z):,} samples of {data}, "
            f"{percent(correct.mean())} of which the classifier gets right{least}; ask for less, or calibrate on "
            "more data"
        )
    return point


def _promise(goal: Goal) -> str:
    if goal.delta is None:
        return f"none: {goal.kind} is at least {goal.target:g} on these samples, and may be less on others"
    return (
        f"with confidence {1 - goal.delta:g} at most {100 * goal.target:g} % of what is trusted is wrong, on data "
        "drawn as these samples were, if neither the classifier nor the oracle learnt from them or was chosen by them"
    )
