"""The alarm: tells when a stream of answers no longer looks like those that a threshold was calibrated on.

For predictions, and for programs that run an exported graph and read the description beside it; needs no torch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from trustcache.cache.records import read_record
from trustcache.deploy.description import Description
from trustcache.deploy.goals import MAX_RISK
from trustcache.deploy.threshold import THRESHOLD, Threshold, Watch
from trustcache.errors import UsageError, percent
from trustcache.metrics.exchangeability import Martingale, Reference

_KEPT = 10_000
"""Rows that are looked at once more in shuffled order, a sample of those of a longer stream."""


class Alarm:
    """Two sequential tests of a stream, which may be looked at after each row: of the scores, and of the classes.

    The first bets on the ranks of the scores, the second on those of rows ordered by predicted class, and by score
    within it (`Martingale`); each has half of the rate. In at most the share `watch.rate` of the streams that are drawn
    as the calibration rows were, the alarm is ever raised, however long they are. Calibrated on several data sets, it
    takes the rows of each of them for usual. Once raised it stays, until `reset`.

    images: number of scores seen. raised_at: the number of the one that raised it, counted from 1, or None. since: the
    number at which the change is estimated to have begun, or None. by_class: True where the test of the classes
    raised it. by_order: True where it is raised, but not by the same rows in shuffled order.

    >>> usual = np.random.default_rng(0).permutation(1000)
    >>> alarm = Alarm(Watch.of(0.01, [(np.arange(1000.0), np.arange(1000) % 10)]))
    >>> alarm.see(usual[:300], usual[:300] % 10), alarm.see(np.full(40, 3.0), np.full(40, 3)), alarm.since
    (False, True, 301)
    """

    def __init__(self, watch: Watch, seed: int = 0) -> None:
        self.watch, self._seed = watch, seed
        self.reset()

    @classmethod
    def read(cls, path: str | Path) -> Alarm:
        """Return the alarm of a `threshold.json`, or of the description beside an exported graph, `GRAPH.json`.

        Raises FileNotFoundError, DamagedError where the file is not as it was written, UsageError where it describes a
        graph without a calibrated threshold.
        """
        path = Path(path)
        if path.name == THRESHOLD:
            return cls(read_record(path, Threshold, "run the same trustcache calibrate again").watch)
        threshold = read_record(path, Description, "run the same trustcache export again").calibration
        if threshold is None:
            raise UsageError(f"{path}: has no calibrated threshold; run trustcache calibrate, then export again")
        return cls(threshold.watch)

    def reset(self) -> None:
        """Forget all scores seen."""
        self.images = 0
        self.raised_at: int | None = None
        self.since: int | None = None
        self.by_class = False
        self._tests = [[Martingale(one) for one in pair] for pair in self._references]
        self._draws = np.random.default_rng(self._seed)  # for the order of equal scores
        self._sampling = np.random.default_rng(self._seed + 1)
        self._sample: list[tuple[float, int | None]] = []

    def __repr__(self) -> str:
        raised = "not raised" if self.raised_at is None else f"raised by row {self.raised_at:,}, since {self.since:,}"
        return f"<alarm: {raised}, {self.images:,} seen; {self.watch!r}>"

    @property
    def _references(self) -> list[tuple[Reference, Reference]]:
        return [*zip(self.watch.references, self.watch.by_class, strict=True)]

    @property
    def void(self) -> float:
        """Share of the scores seen since the change is estimated to have begun, 0 without an alarm."""
        return 0.0 if self.since is None else (self.images - self.since + 1) / self.images

    @property
    def by_order(self) -> bool:
        """True where the alarm is raised, but by none of the same rows in shuffled order.

        Either the rows are sorted, by class say, or what comes has changed on the way, from about `since` on: shuffled,
        a late change is diluted by the usual rows before it. Look at those from there. Of more than 10,000 rows a
        sample is taken. Neither sample nor order depends on what rows hold, so both tests keep their rate.

        >>> alarm = Alarm(Watch.of(0.01, [(np.arange(1000.0), np.arange(1000) % 10)]))
        >>> alarm.see(np.arange(1000.0)), alarm.by_order
        (True, True)
        """
        if self.raised_at is None:
            return False
        rows = [self._sample[row] for row in np.random.default_rng(self._seed).permutation(len(self._sample))]
        classes = [row[1] for row in rows if row[1] is not None]
        return not Alarm(self.watch, self._seed).see([row[0] for row in rows], classes or None)

    def see(self, scores: npt.ArrayLike, classes: npt.ArrayLike | None = None) -> bool:
        """Look at more rows, in their order. Return True if the alarm is raised by now.

        scores: (N,). classes: predicted, int (N,). Without them the test of the classes rests: leave them out of all
        calls or of none. Raises UsageError for scores that are no numbers, for classes of another length or that are no
        class numbers, and for classes in some calls only.
        """
        z = np.asarray(scores, dtype=np.float64)
        predicted = None if classes is None else np.asarray(classes)
        self._require_rows(z, predicted)
        draws = self._draws.random(len(z))
        bins = [
            [one.bins(z, draws), *([] if predicted is None else [within.bins(z, draws, predicted)])]
            for one, within in self._references
        ]
        for row in range(len(z)):
            self._keep(float(z[row]), None if predicted is None else int(predicted[row]))
            self.images += 1
            if self.raised_at is None:
                self._look([[column[row : row + 1] for column in columns] for columns in bins])
        return self.raised_at is not None

    def _require_rows(self, z: np.ndarray, classes: np.ndarray | None) -> None:
        """Raise UsageError for rows that nothing can be bet on."""
        if z.ndim != 1:
            raise UsageError(f"see: the scores have shape {z.shape}; give one a row")
        if (lost := np.isnan(z)).any():
            raise UsageError(f"see: the score of row {lost.argmax()} (the first is 0) is not a number; leave it out")
        if self._sample and (self._sample[0][1] is None) != (classes is None):
            raise UsageError("see: classes are given in some calls only; give them in all or in none, or call reset()")
        if classes is None:
            return
        if classes.shape != z.shape:
            raise UsageError(f"see: there are {len(z):,} scores and classes of shape {classes.shape}; give one a score")
        numbers = classes.dtype.kind in "iu"
        if len(z) and (not numbers or classes.min() < 0):
            found = classes.min() if numbers else classes[0]
            raise UsageError(f"see: {found} is no predicted class, a whole number from 0 on; give cache.predictions")

    def _keep(self, z: float, predicted: int | None) -> None:
        """Keep a row, or put it in another's place: a uniform sample of all so far (Vitter 1985, algorithm R)."""
        if len(self._sample) < _KEPT:
            self._sample.append((z, predicted))
        elif (place := int(self._sampling.integers(self.images + 1))) < _KEPT:
            self._sample[place] = (z, predicted)

    def _look(self, bins: list[list[np.ndarray]]) -> None:
        """Bet on one more row. bins: of each data set, those of its tests that look."""
        best = []
        for tests, hit in zip(self._tests, bins, strict=True):
            for martingale, bin in zip(tests, hit, strict=False):  # without classes the second rests
                martingale.update(bin)
            best.append(max(tests, key=lambda one: float(one.capital[0])))
        # Each of the two tests has half of the rate (Bonferroni): their bets have no common history of fair chances.
        if min(float(one.capital[0]) for one in best) >= len(self._tests[0]) / self.watch.rate:
            self.raised_at = self.images
            self.since = max(int(one.since[0]) for one in best)
            self.by_class = any(one is tests[1] for one, tests in zip(best, self._tests, strict=True))


def announcement(alarm: Alarm, threshold: Threshold, path: str | None = None, by_folder: bool = False) -> str:
    """Say what a raised alarm means. path: of the image that raised it. by_folder: images come folder by folder.

    >>> from trustcache.cache import CacheView
    >>> from trustcache.deploy.calibrate import calibrate_on
    >>> cache = CacheView.from_arrays([[2.0, 0.5], [0.1, 0.3], [3.0, 0.0]] * 99, [0, 0, 0] * 99, name="birds")
    >>> threshold = calibrate_on("mcp", cache, coverage=0.6)
    >>> alarm = Alarm(threshold.watch)
    >>> _ = alarm.see(np.full(99, 9.0))
    >>> announcement(alarm, threshold).split(":")[0]
    'ALARM after image 4'
    """
    what = "predicted classes, and the scores within them," if alarm.by_class else "scores"
    at = f"image {alarm.raised_at:,}" + (f" ({path})" if path else "")
    samples = sum(one.samples for one in alarm.watch.references)
    kept = f"the {threshold.goal} of {threshold.target:g}"
    promise = f"the promise of at most {percent(threshold.target)} wrong" if threshold.goal == MAX_RISK else kept
    order = (
        "perhaps for their order alone, as the images come folder by folder (told at the end); " if by_folder else ""
    )
    return (
        f"ALARM after {at}: {order}since about image {alarm.since:,} {what} do not look like those of the {samples:,} "
        f"samples of {threshold.samples}, and {promise} does not hold from there (false-alarm rate "
        f"{percent(alarm.watch.rate)})"
    )
