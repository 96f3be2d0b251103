"""The records of a report: one for each scored method, with the curves drawn from its scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustcache.cache.index import Index
from trustcache.cache.provenance import assumption
from trustcache.cache.versions import trustcache_version
from trustcache.data.manifest import Manifest
from trustcache.oracles.runs import Run, RunConfig


@dataclass(frozen=True, eq=False)
class Record:
    """One method's figures on one data set: a line of `results.json`, equal to no other one.

    settings: of the loss, or what was chosen for a post-hoc score. metrics: fractions, nan where one-class data or a
    score without a threshold leaves them undefined. Of runs alone, oracle: the backbone's name; training: "frozen" (a
    head on cached features) or "fine-tuned" (backbone and head). meaning: a post-hoc score's, for legends. duplicates:
    how many of the n samples are byte for byte images of a training cache of the classifier.
    """

    dataset: str
    classifier: str
    method: str
    protocol: str
    n: int
    settings: dict[str, float | str]
    metrics: dict[str, float]
    oracle: str | None = None
    training: str | None = None
    seed: int | None = None
    run: str | None = None
    meaning: str = ""
    duplicates: int = 0


@dataclass(frozen=True, eq=False)
class Scored:
    """A record with the data of its figures, and its source.

    histogram: by TP, FP, TN, FN the counts of samples in equal bins of the trust confidence over [0, 1], by the
    thresholds of TPR and TNR (positive means the classifier is right); None for a score without a threshold.
    coverage, risk: the risk-coverage curve, one point a group of tied scores, thinned to draw. index: its
    cache. run: the oracle, None for a post-hoc score. learnt_from: the number of samples in its
    training cache, validation part included; 0 where that cache is gone.
    """

    record: Record
    histogram: dict[str, np.ndarray] | None
    coverage: np.ndarray
    risk: np.ndarray
    index: Index
    run: Run | None = None
    learnt_from: int = 0

    @property
    def config(self) -> RunConfig:
        """The configuration of the oracle, which a post-hoc score does not have."""
        assert self.run is not None
        return self.run.config


def manifests_of(scored: Iterable[Scored]) -> dict[str, Manifest]:
    """Return the manifest of each data set that something is scored on."""
    return {one.record.dataset: one.index.manifest for one in scored}


def assumed(scored: Sequence[Scored]) -> str:
    """Return the sentence on preprocessing that a classifier's caches were made with and nobody told, "" for none."""
    return next((told for one in scored if (told := assumption(one.index))), "")


ID_FIELDS = (
    *("dataset", "classifier", "oracle", "method", "training", "protocol", "seed"),
    *("n", "duplicates", "settings", "run"),
)
"""The fields of a record that say what its metrics are of, in the order of the files."""


VERSION = "trustcache"
"""The field that says which version of trustcache computed a record."""


def plain(record: Record) -> dict[str, Any]:
    """Return a record for JSON: null stands where a value is not finite."""
    ids = {name: getattr(record, name) for name in ID_FIELDS}
    settings = {name: finite(value) for name, value in sorted(record.settings.items())}
    metrics = {key: finite(value) for key, value in record.metrics.items()}
    return {**ids, "settings": settings, "metrics": metrics, VERSION: trustcache_version()}


def finite(value: float | str) -> float | str | None:
    """Return a plain number or text for JSON, which has neither NumPy's numbers nor any that are not finite."""
    if isinstance(value, str):
        return value
    return float(value) if math.isfinite(value) else None
