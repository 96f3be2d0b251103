"""Gathering what a report shows: every run's and every post-hoc score's figures on every evaluation cache."""

from __future__ import annotations

import math
import warnings

import numpy as np

from trustcache.cache import CacheView, open_cache
from trustcache.errors import TrustcacheError, UsageError
from trustcache.metrics import trust_metrics
from trustcache.report.records import Record, Scored
from trustcache.runs import Run, finished_runs
from trustcache.scores import POST_HOC, post_hoc_score
from trustcache.selective import risk_coverage
from trustcache.workspace import Workspace

BINS = 40
CURVE_POINTS = 300


def collect(workspace: Workspace) -> tuple[list[Scored], list[str]]:
    """Everything scored in a workspace, and the gaps: sentences that name what is missing and what fills it.

    Raises UsageError where there is nothing to report on.
    """
    indices = [index for index in workspace.caches() if index.role == "test"]
    if not indices:
        raise UsageError(
            f"nothing to report: {workspace.root / 'cache'} holds no evaluation data; "
            "begin with trustcache extract --classifier vit, or trustcache demo"
        )
    runs = finished_runs(workspace)
    settings = _told_apart(runs)
    found: list[Scored] = []
    notes: list[str] = []
    for index in indices:
        try:
            cache = open_cache(index.folder)
        except TrustcacheError as error:
            notes.append(f"{index.data} is left out: {error}")
            continue
        post_hoc = {name: z for name in POST_HOC if (z := post_hoc_score(name, cache)) is not None}
        found += [_scored_post_hoc(name, z, cache) for name, z in post_hoc.items()]
        here = [run for run in runs if run.config.classifier == index.classifier]
        judging = [run for run in here if run.judges(index)]
        if strangers := len(here) - len(judging):
            notes.append(
                f"{strangers} runs judge another {index.classifier} than the one {index.data} was extracted with; "
                "train them again"
            )
        scored = [(run, z) for run in judging if (z := run.scores(index)) is not None]
        found += [_scored_run(run, settings[run.name], z, cache) for run, z in scored]
        if missing := len(judging) - len(scored):
            notes.append(f"{missing} runs are not scored on {index.data}: run `trustcache evaluate`")
    if not runs:
        notes.append("No oracle has been trained: run `trustcache train --loss all --frozen`")
    if not found:
        raise UsageError(f"nothing to report: {notes[0]}")
    return found, notes


def _scored_post_hoc(name: str, z: np.ndarray, cache: CacheView) -> Scored:
    scored = _with_figures(_record(cache, None, name, None, {}, None), z, cache.correct, None)
    if POST_HOC[name].column:  # an entropy has no threshold at 0
        scored.record.metrics.update(tpr=math.nan, tnr=math.nan)
    return scored


def _told_apart(runs: list[Run]) -> dict[str, dict[str, float | str]]:
    """By run, the settings of its loss, and those of its training in which runs of one loss and way differ.

    Without these, runs that learnt for 20 epochs and for 40 would be averaged as if they were seeds of one.
    """
    alike: dict[tuple[str, str, str], list[tuple[Run, dict[str, float | str]]]] = {}
    for run in runs:
        c = run.config
        told: dict[str, float | str] = {
            "data": c.data,
            "cache": c.cache[:8],  # the same data, extracted anew
            "signed_distance": str(c.signed_distance).lower(),
            "val_fraction": c.val_fraction,
            "epochs": c.optimiser.epochs,
            "batch_size": c.optimiser.batch_size,
            "lr": c.optimiser.lr,
            "momentum": c.optimiser.momentum,
        }
        alike.setdefault((c.judged, c.training, c.loss.name), []).append((run, told))
    settings = {}
    for group in alike.values():
        differing = [key for key in group[0][1] if len({told[key] for _, told in group}) > 1]
        for run, told in group:
            settings[run.name] = run.config.loss.settings | {key: told[key] for key in differing}
    return settings


def _scored_run(run: Run, settings: dict[str, float | str], z: np.ndarray, cache: CacheView) -> Scored:
    record = _record(cache, run.config.oracle, run.config.loss.name, run, settings, run.config.seed)
    # TCP regresses a probability, and calls a sample untrustworthy below chance level (Corbiere et al. 2019).
    negative = 1 / cache[:1].logits.shape[1] if run.config.loss.name == "tcp" else None
    return _with_figures(record, z, cache.correct, negative)


def _record(
    cache: CacheView,
    oracle: str | None,
    method: str,
    run: Run | None,
    settings: dict[str, float | str],
    seed: int | None,
) -> Record:
    return Record(
        dataset=cache.index.data,
        classifier=cache.index.classifier,
        oracle=oracle,
        method=method,
        training=run.config.training if run else None,
        protocol=run.config.protocol if run else "equations",
        seed=seed,
        n=len(cache),
        settings=settings,
        metrics={},
        run=run.name if run else None,
    )


def _with_figures(record: Record, z: np.ndarray, correct: np.ndarray, negative_threshold: float | None) -> Scored:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # undefined metrics stand as gaps in the tables
        record.metrics.update(trust_metrics(z, correct, negative_threshold=negative_threshold))
    curve = risk_coverage(z, correct)
    kept = np.unique(np.linspace(0, len(curve.coverage) - 1, CURVE_POINTS).round().astype(int))
    return Scored(record, confidence_histogram(z, correct), curve.coverage[kept], curve.risk[kept])


def confidence_histogram(z: np.ndarray, correct: np.ndarray, bins: int = BINS) -> dict[str, np.ndarray]:
    """Counts of TP, FP, TN, FN in equal bins of p = sigmoid(z) over [0, 1] (the paper's Fig. 3); trusted is z > 0."""
    confidence = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
    trusted, right = z > 0, correct.astype(bool)
    groups = {"TP": trusted & right, "FP": trusted & ~right, "TN": ~trusted & ~right, "FN": ~trusted & right}
    return {name: np.histogram(confidence[rows], bins, (0, 1))[0] for name, rows in groups.items()}
