"""The records of a report: one for each scored method, with the curves drawn from its scores."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustcache.cache.index import Index
from trustcache.data.manifest import Manifest
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
    """The source of a record.

    index: the cache it was scored on. run: the oracle, None for a post-hoc score. learnt_from: the number of samples in
    its training cache, validation part included; 0 where that cache is gone.
    """

    index: Index
    run: Run | None = None
    learnt_from: int = 0


@dataclass(frozen=True)
class Scored:
    """A record with the data of its figures.

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


def manifests_of(scored: Iterable[Scored]) -> dict[str, Manifest]:
    """Return the manifest of each data set that something is scored on."""
    indices = {one.record.dataset: one.origin.index for one in scored}
    return {name: index.manifest for name, index in indices.items()}


ID_FIELDS = ("dataset", "classifier", "oracle", "method", "training", "protocol", "seed", "n", "settings", "run")
"""The fields of a record that say what its metrics are of, in the order of the files."""


def plain(record: Record) -> dict[str, Any]:
    """Return a record for JSON: null stands where a value is not finite."""
    ids = {name: getattr(record, name) for name in ID_FIELDS}
    settings = {name: finite(value) for name, value in sorted(record.settings.items())}
    return {**ids, "settings": settings, "metrics": {key: finite(value) for key, value in record.metrics.items()}}


def finite(value: float | str) -> float | str | None:
    """Return a plain number or text for JSON, which has neither NumPy's numbers nor any that are not finite."""
    if isinstance(value, str):
        return value
    return float(value) if math.isfinite(value) else None
