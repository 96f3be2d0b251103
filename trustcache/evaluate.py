"""Scoring: every finished run, and every post-hoc score, on every evaluation cache of the classifier it judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trustcache.cache import CacheView, open_cache
from trustcache.cache.index import Index
from trustcache.finetune import Machine, load_oracle, score_images
from trustcache.heads import score_heads
from trustcache.origins import original_dataset, original_model
from trustcache.progress import Progress, silent
from trustcache.runs import Run
from trustcache.scores.stored import ScoreStore
from trustcache.train import frozen_head
from trustcache.workspace import Workspace


def unscored(workspace: Workspace, runs: Sequence[Run]) -> list[tuple[Index, list[Run]]]:
    """The evaluation caches (those of role "test") and, for each, the runs judging its classifier that lack scores."""
    pending = []
    for index in workspace.caches():
        if index.role == "test":
            missing = [run for run in runs if run.judges(index) and run.scores(index) is None]
            if missing:
                pending.append((index, missing))
    return pending


def evaluate(
    workspace: Workspace, runs: Sequence[Run], data_root: Path, machine: Machine, progress: Progress = silent
) -> int:
    """Score what has not been scored; returns how many scores (runs and post-hoc scores x data sets) were made.

    Raises UsageError where a fine-tuned oracle needs images or weights that are gone, TrustcacheError for a cache
    whose extraction is not finished.
    """
    made = 0
    for index, missing in unscored(workspace, runs):
        cache = open_cache(index.folder)
        if frozen := [run for run in missing if run.config.training == "frozen"]:
            _score_frozen(frozen, index, cache)
        if tuned := [run for run in missing if run.config.training == "fine-tuned"]:
            _score_fine_tuned(tuned, index, cache, data_root, machine, progress)
        made += len(missing)
    indices = [index for index in workspace.caches() if index.role == "test" and index.finished()]
    return made + ScoreStore(workspace).fill(indices, progress=progress)


def _score_frozen(runs: list[Run], index: Index, cache: CacheView) -> None:
    heads = [frozen_head(run) for run in runs]
    z = np.concatenate([score_heads(heads, part.features) for part in cache.chunks()])
    for run, column in zip(runs, z.T, strict=True):
        run.save_scores(index, column)


def _score_fine_tuned(
    runs: list[Run], index: Index, cache: CacheView, data_root: Path, machine: Machine, progress: Progress
) -> None:
    spec, dataset = original_model(index), original_dataset(index, data_root)
    for run in runs:
        z = score_images(load_oracle(spec, run), dataset, cache.sample_indices, machine, progress=progress)
        run.save_scores(index, z)
