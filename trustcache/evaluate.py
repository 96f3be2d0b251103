"""Scoring: every finished run, and every post-hoc score, on every evaluation cache of the classifier it judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from trustcache.batches import Viewer, choose_device, shard_batches
from trustcache.cache import CacheView, open_cache
from trustcache.cache.index import Index
from trustcache.classifiers import Classifier, load_classifier
from trustcache.errors import TrustcacheError, UsageError
from trustcache.finetune import Machine, in_batches, load_oracle, score_images
from trustcache.heads import score_heads
from trustcache.oracles import validation_rows
from trustcache.origins import original_dataset, original_model
from trustcache.progress import Progress, silent
from trustcache.runs import Run
from trustcache.scores.stored import ScoreStore
from trustcache.train import frozen_head
from trustcache.variants.variation import Batch
from trustcache.workspace import Workspace

# Fine-tuned oracles that look at the same decoded images.
ORACLES_A_PASS = 8
# How far logits may lie from the stored ones, as a share of a sample's largest: rounding to float16 takes 0.0005.
LOGITS_APART = 0.01


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
        _score(missing, index, data_root, machine, progress)
        made += len(missing)
    indices = [index for index in workspace.caches() if index.role == "test" and index.finished()]
    return made + ScoreStore(workspace).fill(indices, progress=progress)


def cache_scores(run: Run, index: Index, data_root: Path, machine: Machine, progress: Progress = silent) -> np.ndarray:
    """A run's z, float64 (N,), for the rows of a cache, made and kept where they are missing. Raises as `evaluate`."""
    z = run.scores(index)
    if z is None:
        _score([run], index, data_root, machine, progress)
        z = run.scores(index)
        assert z is not None
    return z


def validation_scores(
    run: Run, index: Index, data_root: Path, machine: Machine, progress: Progress = silent
) -> tuple[np.ndarray, np.ndarray]:
    """The rows (M,) of the cache a run learnt from that it set aside, and its z there, float64 (M,).

    Raises UsageError where it set none aside, and as `evaluate`.
    """
    cache = open_cache(index.folder)
    held_out = validation_rows(len(cache), run.config.val_fraction, run.config.seed)
    rows = np.flatnonzero(held_out)
    if not len(rows):
        raise UsageError(f"{run.name}: was trained with no validation part; name other data with --data")
    if run.config.training == "frozen":
        head, parts, first = frozen_head(run), [], 0
        for part in cache.chunks():
            parts.append(score_heads([head], part.features[held_out[first : first + len(part)]])[:, 0])
            first += len(part)
        return rows, np.concatenate(parts)
    oracle = load_oracle(original_model(index), run)
    viewer = Viewer(oracle.preprocessing, choose_device(machine.device), machine.workers)
    batches = in_batches(cache.sample_indices[rows])
    return rows, score_images([oracle], original_dataset(index, data_root), batches, viewer, progress)[:, 0]


def _score(runs: Sequence[Run], index: Index, data_root: Path, machine: Machine, progress: Progress) -> None:
    cache = open_cache(index.folder)
    if frozen := [run for run in runs if run.config.training == "frozen"]:
        _score_frozen(frozen, index, cache)
    if tuned := [run for run in runs if run.config.training == "fine-tuned"]:
        _score_fine_tuned(tuned, index, cache, data_root, machine, progress)


def _score_frozen(runs: list[Run], index: Index, cache: CacheView) -> None:
    heads = [frozen_head(run) for run in runs]
    z = np.concatenate([score_heads(heads, part.features) for part in cache.chunks()])
    for run, column in zip(runs, z.T, strict=True):
        run.save_scores(index, column)


def _score_fine_tuned(
    runs: list[Run], index: Index, cache: CacheView, data_root: Path, machine: Machine, progress: Progress
) -> None:
    spec, dataset = original_model(index), original_dataset(index, data_root)
    for start in range(0, len(runs), ORACLES_A_PASS):
        some = runs[start : start + ORACLES_A_PASS]
        oracles = [load_oracle(spec, run) for run in some]
        viewer = Viewer(oracles[0].preprocessing, choose_device(machine.device), machine.workers)
        batches = in_batches(cache.sample_indices)
        if dataset.variation and dataset.variation.needs_classifier:
            judged = load_classifier(spec)
            judged.model.to(viewer.device)
            viewer = replace(viewer, judged=judged, witness=_SameImages(judged, cache))
            batches = _batches_of_extraction(index, cache)
        z = score_images(oracles, dataset, batches, viewer, progress)
        for run, column in zip(some, z.T, strict=True):
            run.save_scores(index, column)


def _batches_of_extraction(index: Index, cache: CacheView) -> list[np.ndarray]:
    """The batches that the classifier saw: the last digits of an attack depend on what is attacked together."""
    batches = shard_batches(index.ranges(), index.meaning["data"]["batch_size"])
    read = [batch[np.isin(batch, cache.sample_indices)] for batch in batches]
    return [batch for batch in read if len(batch)]


class _SameImages:
    """Holds adversarial images, made again for an oracle, to the logits that the classifier gave to the first ones.

    The images are not stored. They follow from the classifier, the settings and the seeds, and this shows that they
    did: a classifier that an attack moved elsewhere would say something else.
    """

    def __init__(self, judged: Classifier, cache: CacheView) -> None:
        self.judged, self.cache, self.done = judged, cache, 0

    def __call__(self, batch: Batch) -> None:
        rows = self.cache[self.done : self.done + len(batch.indices)]
        self.done += len(batch.indices)
        logits = self.judged(batch.pixels)[0].cpu().numpy()
        stored = rows.logits.astype(np.float32)
        apart = np.abs(logits - stored).max(axis=1) > LOGITS_APART * np.abs(stored).max(axis=1)
        if apart.any():
            raise TrustcacheError(
                f"{self.cache.index.folder}: {apart.sum()} of {len(apart)} adversarial images come out otherwise than "
                "at their extraction, as happens on another device or with another torch; remove that folder and "
                "extract them again here"
            )
