"""Choose among oracles by their validation rows: the ranking, and the record of a sweep.

The evaluation data take no part. What ranks first of many by validation is partly lucky there, so its validation figure
is better than what it is worth; the report therefore shows each sweep's validation and test figures side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta

from trustcache.cache import CacheView, open_cache
from trustcache.cache.index import Index
from trustcache.cache.records import fingerprint, read_record, write_record
from trustcache.cache.workspace import Workspace
from trustcache.data.splits import validation_rows
from trustcache.errors import UsageError
from trustcache.oracles.runs import Run, RunConfig
from trustcache.protocols import validation_entry
from trustcache.scores import post_hoc_score

CRITERION = "aurc"
"""Metric to choose by, as for post-hoc scores: the area under risk over coverage, lower is better."""

REFERENCE = "mcp"

Metrics = dict[str, float | None]


@dataclass(frozen=True)
class Candidate:
    """A loss (`method`) with its settings: its runs, one a seed, and their mean metrics on validation rows.

    Each seed set aside rows of its own. A metric that a seed lacks is None.
    """

    method: str
    settings: dict[str, float | str]
    runs: Annotated[tuple[str, ...], Meta(min_length=1)]
    validation: Metrics


@dataclass(frozen=True)
class Sweep:
    """`sweeps/<name>.json`: candidates of one training, best first by validation, and mcp on the same rows.

    classifier, data: the cache they learnt from; judged: the classifier's fingerprint. The first candidate is the
    winner. Its first run is the one to go on with: seeds have validation rows of their own, so they are not compared.
    """

    SCHEMA: ClassVar[int] = 2

    classifier: str
    data: str
    judged: str
    oracle: str
    training: str
    protocol: str
    seeds: tuple[int, ...]
    candidates: Annotated[tuple[Candidate, ...], Meta(min_length=1)]
    reference: Metrics

    @property
    def winner(self) -> Candidate:
        return self.candidates[0]

    @property
    def name(self) -> str:
        """A name by the set of runs: the same sweep again replaces itself."""
        runs = sorted(name for candidate in self.candidates for name in candidate.runs)
        return f"{self.oracle}-on-{self.classifier}-{self.training}-{fingerprint(runs)[:8]}"

    def reference_leads(self) -> bool:
        """Return True if mcp is better by validation than every candidate."""
        return standing(self.reference) < standing(self.winner.validation)


def ranked(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Sort candidates by validation AURC, lowest first; ties keep their order, candidates without a value are last."""
    return tuple(sorted(candidates, key=lambda candidate: standing(candidate.validation)))


def standing(metrics: Metrics) -> float:
    """Return the figure that candidates are chosen by, infinite where it is undefined: lower is better."""
    value = metrics.get(CRITERION)
    return math.inf if value is None else value


def choose(index: Index, runs: Sequence[Run]) -> Sweep:
    """Rank finished runs of one training, which differ in their loss's settings and seed only.

    `index` is the cache they learnt from. Raises UsageError where the rows set aside to choose by hold only right or
    only wrong answers.
    """
    config = runs[0].config
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(fingerprint(replace(run.config, seed=0, start="")), []).append(run)
    candidates = ranked([_candidate(group) for group in groups.values()])
    if candidates[0].validation.get(CRITERION) is None:
        raise UsageError(
            f"--sweep: the rows of {index.data} set aside for validation hold only right or only wrong answers, which "
            "leaves nothing to choose by; set more aside with --val-fraction"
        )
    seeds = tuple(sorted({run.config.seed for run in runs}))
    training = config.classifier, config.data, config.judged, config.oracle, config.training, config.protocol
    return Sweep(*training, seeds, candidates, mean_reference(index, runs))


def _candidate(runs: Sequence[Run]) -> Candidate:
    by_seed = sorted(runs, key=lambda run: run.config.seed)
    logs = [run.log()[-1].validation for run in by_seed]
    loss = runs[0].config.loss
    return Candidate(loss.name, loss.settings, tuple(run.name for run in by_seed), mean_metrics(logs))


def mean_metrics(seeds: Sequence[Metrics]) -> Metrics:
    """Return the mean of each metric over seeds, None where a seed lacks it."""
    keys = dict.fromkeys(key for metrics in seeds for key in metrics)
    known = {key: [value for metrics in seeds if (value := metrics.get(key)) is not None] for key in keys}
    return {
        key: math.fsum(values) / len(values) if len(values) == len(seeds) else None for key, values in known.items()
    }


def reference(cache: CacheView, z: np.ndarray, config: RunConfig) -> Metrics:
    """Return the metrics of the classifier's own confidence z (N,) on the rows of a training cache that a run held out.

    cache: the one that the run learnt from.
    """
    rows = _held_out(cache, config)
    return validation_entry(z[rows], cache.correct[rows], config.protocol, None)


def mean_reference(index: Index, runs: Sequence[Run]) -> Metrics:
    """Return `reference` on the rows that each seed of a training held out, the mean; nothing where they held none out.

    index: the cache that they learnt from.
    """
    configs = {run.config.seed: run.config for run in runs}
    if not runs[0].config.val_fraction:
        return {}
    cache = open_cache(index.folder)
    z = post_hoc_score(REFERENCE, cache)
    return mean_metrics([reference(cache, z, config) for config in configs.values()])


def fewest_held_out(index: Index, runs: Sequence[Run]) -> tuple[int, int] | None:
    """Return how many right and wrong answers the seed of a training held out that has fewest of either; None for none.

    index: the cache that they learnt from.
    """
    if not runs[0].config.val_fraction:
        return None
    cache = open_cache(index.folder)
    right = []
    for config in {run.config.seed: run.config for run in runs}.values():
        correct = cache.correct[_held_out(cache, config)]
        right.append((int(correct.sum()), int((~correct).sum())))
    return min(right, key=min)


def _held_out(cache: CacheView, config: RunConfig) -> np.ndarray:
    """Return the rows of a training cache that a run held out, as numbers."""
    learnt = config.learnt_rows(cache)
    return learnt[validation_rows(len(learnt), config.val_fraction, config.seed)]


def save(workspace: Workspace, sweep: Sweep) -> Sweep:
    """Write a sweep for the report, and return it."""
    write_record(workspace.sweep_file(sweep.name), sweep)
    return sweep


def saved_sweeps(workspace: Workspace) -> list[Sweep]:
    """Return all sweeps of a workspace, by name. Raises TrustcacheError for a damaged one."""
    remedy = "remove it, and run the same trustcache train --sweep"
    return [read_record(path, Sweep, remedy) for path in sorted(workspace.sweeps.glob("*.json"))]
