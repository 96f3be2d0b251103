"""Prediction sets: for each image all classes that it may well be, with a promised coverage, and their record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy

from trustcache.cache import CacheView
from trustcache.cache.index import judged_fingerprint
from trustcache.cache.probabilities import are_probabilities
from trustcache.cache.records import read_record, write_record
from trustcache.cache.view import require_cache, warn_of_sorted
from trustcache.cache.workspace import Workspace
from trustcache.command_lines import command_line
from trustcache.data.splits import half_rows
from trustcache.deploy.goals import SetGoal
from trustcache.deploy.labelled import BLOCK_ROWS, Labelled, LabelledData, whole_cache
from trustcache.deploy.saved import read_saved
from trustcache.deploy.scorers import Scorer
from trustcache.errors import TrustcacheError, UsageError, first_few, in_python, percent
from trustcache.evaluate.scoring import Scoring
from trustcache.metrics.conformal import SetFigures, class_cuts, cut, fewest_samples, set_figures
from trustcache.scores.fitting import Rows

SETS = "sets.json"


@dataclass(frozen=True, repr=False)
class PredictionSets:
    """Calibrated sets of classes, `sets.json`: a class is in where its softmax probability is at least its cut.

    cuts: of each of K classes, 0 for one that is in every set; samples: how many images of each were calibrated on;
    classes: their names. by_class: True if each class has a cut of its own, and so the promise. data, part, seed: what
    was calibrated on: of `data` the half `part`, drawn by `seed`, or "all". store: the dtype that its logits were kept
    in, to which others are rounded too. judged: the fingerprint of the classifier.
    """

    SCHEMA: ClassVar[int] = 1

    cuts: tuple[float, ...]
    samples: tuple[int, ...]
    classes: tuple[str, ...]
    confidence: float
    by_class: bool
    data: str
    part: str
    seed: int
    store: str
    judged: str

    def __post_init__(self) -> None:
        if not (len(self.cuts) == len(self.samples) == len(self.classes) and 0 < self.confidence < 1):
            raise ValueError("cuts, samples and classes of other lengths, or a confidence that is no share")

    def sets(self, logits: Any) -> np.ndarray:
        """Return which of the classes belong to each image's set, bool (N, K). logits: (N, K), of the classifier.

        Raises UsageError where there are logits of another number of classes, or some that are not finite, and for
        probabilities, which several rows that sum to one are taken for.

        >>> cache = CacheView.from_arrays([[2.0, 0.5], [0.1, 0.3], [3.0, 0.0]], [0, 1, 0])
        >>> prediction_sets(cache, confidence=0.5, by_class=False).sets([[2.0, 0.0], [0.0, 0.1]])
        array([[ True, False],
               [False, False]])
        """
        if isinstance(logits, CacheView):
            raise TypeError("sets: takes logits; give sets.sets(cache.logits)")
        z = np.asarray(logits)
        if z.ndim != 2 or z.shape[1] != len(self.cuts):
            raise UsageError(f"logits: have shape {z.shape}; give those of {len(self.cuts):,} classes, a row an image")
        if not np.isfinite(z).all():
            raise UsageError("logits: some are not finite; leave those rows out")
        if len(z) > 1 and are_probabilities(z):  # a single row of logits may sum to one by chance
            raise UsageError(
                "logits: the rows sum to one, so these are probabilities; give what the calibrated cache holds as its "
                "logits (where it was made of probabilities, their logarithms)"
            )
        found, cuts, largest = np.empty(z.shape, dtype=bool), np.array(self.cuts), np.finfo(self.store).max
        for start in range(0, len(z), BLOCK_ROWS):
            block = np.clip(z[start : start + BLOCK_ROWS], -largest, largest).astype(self.store)
            np.greater_equal(_softmax(block), cuts, out=found[start : start + BLOCK_ROWS])
        return found

    @property
    def always(self) -> tuple[str, ...]:
        """Names of the classes that are in every set, as too few images of them were calibrated on."""
        return tuple(name for name, least in zip(self.classes, self.cuts, strict=True) if least == 0)

    @property
    def promise(self) -> str:
        """What the sets promise, in a sentence."""
        within = "of the images of each class" if self.by_class else "of all images, not of those of each class,"
        return (
            f"at least {percent(self.confidence, 1)} {within} have it in their set, on images drawn as those of "
            f"{self.drawn_from} were, over draws of these"
        )

    @property
    def drawn_from(self) -> str:
        """The samples they were calibrated on, for people."""
        return self.data + ("" if self.part == "all" else f", the {self.part.replace('-', ' ')} by seed {self.seed}")

    def save(self, path: str | Path) -> None:
        """Write them to a file, as `trustcache sets` does. Raises OSError where the file cannot be written."""
        write_record(Path(path), self)

    @classmethod
    def load(cls, path: str | Path) -> PredictionSets:
        """Return what `save` wrote.

        Raises UsageError where it is no such file, DamagedError where it is not as it was written.

        >>> found = prediction_sets(CacheView.from_arrays([[2.0, 0.5], [0.1, 0.3]], [0, 1]), confidence=0.5)
        >>> found.save(tmp / "sets.json")
        >>> PredictionSets.load(tmp / "sets.json") == found
        True
        """
        return read_saved(Path(path), cls)

    def __repr__(self) -> str:
        each = "each class" if self.by_class else "all classes"
        return f"<sets of {len(self.cuts):,} classes: {percent(self.confidence, 1)} for {each} by {self.drawn_from}>"


@in_python()
def prediction_sets(cache: CacheView, confidence: float = 0.9, by_class: bool = True) -> PredictionSets:
    """Return what makes sets of classes that hold the true one with a confidence, within each class or over all.

    cache: labelled rows that the classifier has not learnt from, drawn as new images will be. A class with fewer than
    confidence / (1 - confidence) of them is in every set; without `by_class` one cut is found for all classes.
    Raises UsageError where the rows have no labels, or the confidence is no share.

    >>> found = prediction_sets(CacheView.from_arrays([[2.0, 0.5], [0.1, 0.3], [3.0, 0.0]], [0, 1, 0]), confidence=0.6)
    >>> found.samples, found.always
    ((2, 1), ('1',))
    """
    require_cache(cache)
    warn_of_sorted(cache, "prediction_sets")
    return _found(whole_cache(cache, np.zeros(len(cache))), SetGoal("", confidence, not by_class))


@dataclass(frozen=True)
class CheckedSets:
    """Sets, and what they are worth on the half that was left out, None without, and by the names of other data."""

    sets: PredictionSets
    other_half: SetFigures | None
    checks: dict[str, SetFigures]


def calibrate_sets(workspace: Workspace, scorer: Scorer, goal: SetGoal, scoring: Scoring) -> CheckedSets:
    """Find the sets of a classifier, keep them in its workspace, and look at them on other data.

    scorer: any of the classifier. Raises UsageError where there is no such data, or oracles and classifiers learn from
    it.

    >>> from trustcache.deploy.scorers import find_scorer
    >>> from trustcache.oracles.optim import Machine
    >>> scoring = Scoring(demo_workspace.caches(), Path(), Machine())
    >>> goal = SetGoal("birds", 0.6, part="first-half")
    >>> found = calibrate_sets(demo_workspace, find_scorer(demo_workspace, "mcp"), goal, scoring)
    >>> sum(found.sets.samples), found.other_half.samples
    (15, 15)
    """
    source = LabelledData(scorer, scoring)
    own = source.named("--data", goal.data)
    if own.cache.index.role == "train":
        raise UsageError(
            f"--data {goal.data}: is training data, on which a classifier is surer than on new images, so sets found "
            "there promise nothing; name evaluation data"
        )
    others = [one for name in goal.check_on for one in source.family("--check-on", name)]
    rows = np.arange(len(own)) if goal.part is None else half_rows(len(own), goal.part, goal.seed or 0)
    used, rest = own.take(rows), own.take(np.setdiff1d(np.arange(len(own)), rows))
    found = _found(used, goal)
    other_half = _figures(found, rest) if len(rest) else None
    checks = {one.data: _figures(found, one.apart_from(used.content)) for one in others}
    found.save(sets_file(workspace, scorer))
    return CheckedSets(found, other_half, checks)


def sets_file(workspace: Workspace, scorer: Scorer) -> Path:
    """Return the file of the sets of a scorer's classifier.

    >>> from trustcache.deploy.scorers import find_scorer
    >>> sets_file(demo_workspace, find_scorer(demo_workspace, "mcp")).relative_to(demo_workspace.root).as_posix()
    'runs/net@sets/sets.json'
    """
    return workspace.threshold_folder(scorer.classifier, "sets") / SETS


def stored_sets(workspace: Workspace, scorer: Scorer, place: Sequence[str] = ()) -> PredictionSets:
    """Return the sets that `trustcache sets` kept for a scorer's classifier.

    place: the options that make a command work in the workspace. Raises UsageError where there are none,
    TrustcacheError where they are damaged, or of another classifier.

    >>> from trustcache.deploy.scorers import find_scorer
    >>> scorer = find_scorer(demo_workspace, "mcp")
    >>> found = prediction_sets(CacheView.from_arrays([[2.0, 0.5], [0.1, 0.3]], [0, 1]), confidence=0.5)
    >>> found.save(sets_file(demo_workspace, scorer))
    >>> stored_sets(demo_workspace, scorer)
    Traceback (most recent call last):
    trustcache.errors.TrustcacheError: .../sets.json: was found for another net than is cached now; run ...
    """
    path, best = sets_file(workspace, scorer), scorer.calibration_data()
    data = best.data if best else "DATA"
    line = command_line("sets", "--classifier", scorer.classifier, "--data", data, "--confidence", "0.9", *place)
    try:
        found = read_record(path, PredictionSets, f"run {line}")
    except FileNotFoundError:
        raise UsageError(f"--sets: no sets of {scorer.classifier} are calibrated; run {line}") from None
    if found.judged != scorer.judged:
        raise TrustcacheError(f"{path}: was found for another {scorer.classifier} than is cached now; run {line}")
    return found


def _found(samples: Labelled, goal: SetGoal) -> PredictionSets:
    """Return the sets that reach a goal on some samples."""
    cache, index = samples.cache, samples.cache.index
    cache.require(["logits", "labels"])
    if not len(samples):
        raise UsageError(f"{samples.data}: has no samples to calibrate on; name a larger --data")
    labels, classes = cache.labels[samples.rows], cache[:0].logits.shape[1]
    blocks = [_softmax(z)[np.arange(len(y)), y] for z, y in _blocks(samples)]
    p = np.concatenate(blocks)
    cuts = np.full(classes, cut(p, goal.confidence))
    if not goal.marginal:
        cuts = class_cuts(p, labels, classes, goal.confidence)
    names = index.made_from.classes
    return PredictionSets(
        tuple(cuts.tolist()),
        tuple(np.bincount(labels, minlength=classes).tolist()),
        tuple(names) if len(names) == classes else tuple(map(str, range(classes))),
        goal.confidence,
        not goal.marginal,
        samples.data,
        goal.part or "all",
        goal.seed or 0,
        index.meaning.store,
        judged_fingerprint(index),
    )


def _figures(sets: PredictionSets, samples: Labelled) -> SetFigures:
    sizes, covered = [], []
    for logits, labels in _blocks(samples):
        members = sets.sets(logits)
        sizes.append(members.sum(axis=1))
        covered.append(members[np.arange(len(labels)), labels])
    return set_figures(np.concatenate(sizes), np.concatenate(covered), samples.cache.labels[samples.rows])


def _blocks(samples: Labelled) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield logits and labels, some rows at a time."""
    return Rows(samples.cache, samples.rows).blocks(BLOCK_ROWS, "logits", "labels")


def _softmax(logits: np.ndarray) -> np.ndarray:
    probabilities: np.ndarray = scipy.special.softmax(logits.astype(np.float64), axis=1)
    return probabilities


def too_few(sets: PredictionSets) -> str:
    """Return the sentence on classes that are in every set, "" without any.

    >>> too_few(prediction_sets(CacheView.from_arrays([[2.0, 0.5], [0.1, 0.3]], [0, 1]), confidence=0.6))
    '2 of 2 classes (0, 1) are in every set, as 60.0 % takes 2 images of a class; calibrate on more'
    """
    if not (names := sets.always):
        return ""
    shown = first_few(names, 5)
    takes = f"{percent(sets.confidence, 1)} takes {fewest_samples(sets.confidence):,} images"
    return (
        f"{len(names):,} of {len(sets.classes):,} classes ({shown}) are in every set, as {takes}"
        f"{' of a class' if sets.by_class else ''}; calibrate on more"
    )
