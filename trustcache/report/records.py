"""What a report is made of: one record for each scored method, and the curves drawn from its scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustcache.cache.index import Index
from trustcache.oracles.runs import Run, RunConfig


@dataclass(frozen=True)
class Record:
    """One method's figures on one data set: a line of `results.json`.

    `oracle` names the oracle's backbone and is None for a post-hoc score; `training` is "frozen" (a head on
    cached features), "fine-tuned" (backbone and head), or None for a post-hoc score; `settings` holds the
    loss's hyperparameters, or what was chosen for a post-hoc score. Metrics are fractions, nan where one-class data
    or a score without a threshold leaves them undefined. `meaning` is the method's, for legends, where it is a
    post-hoc score.
    """

    dataset: str
    classifier: str
    oracle: str | None
    method: str
    training: str | None
    protocol: str
    seed: int | None
    n: int
    settings: dict[str, float | str]
    metrics: dict[str, float]
    run: str | None
    meaning: str = ""


@dataclass(frozen=True)
class Origin:
    """Where a record comes from, for what asks more than it says.

    index: the cache it was scored on. run: the oracle, None for a post-hoc score; learnt_from: how many samples the
    cache has that it learnt from, its validation part included, 0 where that cache is gone.
    """

    index: Index
    run: Run | None = None
    learnt_from: int = 0


@dataclass(frozen=True)
class Scored:
    """A record together with what its figures need.

    `histogram` maps TP, FP, TN, FN to the counts of samples in equal bins of the trust confidence over [0, 1]
    (trusted means confidence above the method's threshold; positive means the classifier is right); it is None for
    a score without a threshold.
    `coverage` and `risk` are the risk-coverage curve, one point a group of tied scores, thinned for drawing.
    """

    record: Record
    histogram: dict[str, np.ndarray] | None
    coverage: np.ndarray
    risk: np.ndarray
    origin: Origin

    @property
    def config(self) -> RunConfig | None:
        """The settings of the run, None for a post-hoc score."""
        return self.origin.run.config if self.origin.run else None
