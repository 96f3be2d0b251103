"""Stage two, full: an oracle's backbone and head tuned on images, resumable to the step."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from trustcache.cache import CacheView
from trustcache.cache.content import unchanged
from trustcache.cache.index import Index
from trustcache.cache.workspace import file_name
from trustcache.data.dataset import Dataset
from trustcache.data.loader import Viewer, choose_device, machine_at_its_limits, model_at_work, readable, viewed_batches
from trustcache.data.pipeline import to_device
from trustcache.data.progress import Advance, Progress, silent
from trustcache.data.splits import validation_rows
from trustcache.models.building import ModelSpec
from trustcache.models.precision import arithmetic, resolved
from trustcache.oracles.network import Oracle
from trustcache.oracles.optim import Machine, build_optimiser
from trustcache.oracles.runs import Run, RunConfig
from trustcache.oracles.tracking import Track, untracked
from trustcache.oracles.training_loop import TrainingLoop, epoch_batches
from trustcache.protocols import PROTOCOLS, negative_threshold, validation_entry

CHECKPOINT = "checkpoint.pt"
SCORING_BATCH = 128


def load_oracle(run: Run) -> Oracle:
    """Return a finished run's oracle; its weights are all in the run. Raises DamagedError where they do not fit it."""
    oracle = Oracle(run.config.oracle_spec(), run.config.signed_distance, run.config.seed, pretrained=False)
    try:
        oracle.load_state_dict(run.weights())
    except RuntimeError as error:
        raise run.misfit(error) from None
    return oracle


def oracle_viewer(oracle: Oracle, config: RunConfig, judged: Index, machine: Machine) -> Viewer:
    """Return the viewer through which a run's oracle sees the images of a cache of the classifier it judges."""
    via = None
    if PROTOCOLS[config.protocol].through_judged_size:
        via = judged.identity.images.input_size
    return Viewer(oracle.preprocessing, choose_device(machine.device), machine.workers, via=via)


def score_images(
    oracle: Oracle,
    dataset: Dataset,
    batches: Sequence[np.ndarray],
    viewer: Viewer,
    cache: CacheView,
    precision: str,
    progress: Progress = silent,
) -> np.ndarray:
    """Return an oracle's z, float64 (N,), for the samples of a cache in batches of numbers (B,), in their order.

    Raises TrustcacheError for an image that is unreadable, or not the cached one.
    """
    oracle.to(viewer.device).eval()
    parts = []
    with progress(f"scoring {dataset.manifest.name}", sum(map(len, batches))) as advance:
        for batch in unchanged(readable(viewed_batches(dataset, viewer, batches)), cache):
            parts.append(z_of(oracle, batch.pixels, viewer, precision))
            advance(len(parts[-1]))
    return np.concatenate(parts)


def z_of(oracle: Oracle, pixels: torch.Tensor, viewer: Viewer, precision: str) -> np.ndarray:
    """Return an oracle's z, float64 (B,), for images (B, 3, H, W) as the viewer sees them, on its device."""
    with torch.inference_mode(), arithmetic(precision, viewer.device):
        return oracle(viewer.preprocessing.normalise(pixels)).cpu().double().numpy()


def finetune(
    run: Run,
    spec: ModelSpec,
    dataset: Dataset,
    cache: CacheView,
    machine: Machine,
    progress: Progress = silent,
    track: Track = untracked,
) -> None:
    """Train a run's oracle, built on the model of `spec`, on the images of the cache it learns from; finish the run.

    Every `checkpoint_every_s` seconds all state is saved; after a kill the same call continues from there, and ends
    where the uninterrupted one ends. The last epoch's weights are kept.

    Raises TrustcacheError for an image that is unreadable, or not the cached one; for a loss that is no longer finite;
    and where memory runs out.
    """
    run.begin()
    with machine_at_its_limits():
        training = _Training(run, spec, dataset, cache, machine, track)
        with progress(run.name, training.loop.steps) as advance:
            advance(training.loop.step)
            training.run(advance)
    run.finish(training.oracle.state_dict(), training.loop.history["log"])
    training.loop.checkpoint.unlink(missing_ok=True)


class _Training:
    """One fine-tuning: its loop, and all that is rebuilt from the run's config."""

    def __init__(
        self, run: Run, spec: ModelSpec, dataset: Dataset, cache: CacheView, machine: Machine, track: Track
    ) -> None:
        config = run.config
        self.track = functools.partial(track, run)
        self.config, self.dataset, self.cache = config, dataset, cache
        self.device = choose_device(machine.device)
        torch.manual_seed(config.seed)  # dropout
        self.oracle = Oracle(spec, config.signed_distance, config.seed).to(self.device)
        if config.start:
            self.oracle.load_state_dict(Run(run.folder.with_name(file_name(config.start)), config).weights())
        self.viewer = oracle_viewer(self.oracle, config, cache.index, machine)
        held_out = validation_rows(len(cache), config.val_fraction, config.seed)
        self.validation = np.flatnonzero(held_out)
        rows = np.flatnonzero(~held_out)
        right = int(cache.correct[rows].sum())
        self.protocol = PROTOCOLS[config.protocol]
        self.formula, self.settings = config.loss.bind((len(rows) - right, right), self.protocol.losses)
        self.target = self.protocol.losses[config.loss.name].target
        self.negative = negative_threshold(config.loss.name, cache[:1].logits.shape[1])
        column = cache.true_class_prob if self.target == "true_class_prob" else cache.correct
        self.targets = torch.from_numpy(column.astype(np.float32))
        self.correct, self.indices = cache.correct, cache.sample_indices
        settings = config.optimiser
        self.batches = epoch_batches(rows, settings.batch_size, settings.epochs, [config.seed])
        resolved(config.precision, self.device)  # refused where the device has no such
        optimiser = build_optimiser(settings, list(self.oracle.parameters()), len(self.batches))
        place = run.folder / CHECKPOINT, machine.checkpoint_every_s
        # The losses of this epoch's steps, and the entries of finished epochs.
        history: dict[str, list[Any]] = {"losses": [], "log": []}
        self.loop = TrainingLoop(run.name, self.oracle, *optimiser, len(self.batches), *place, history)

    def run(self, advance: Advance) -> None:
        """Take the steps that are left; at each epoch's end, score the validation split."""
        an_epoch = self.loop.steps // self.config.optimiser.epochs
        left = self.batches[self.loop.step :]
        numbers = [self.indices[rows] for rows in left]
        seen = unchanged(readable(viewed_batches(self.dataset, self.viewer, numbers)), self.cache)

        def note() -> None:
            if self.loop.step % an_epoch == 0:
                self._end_epoch(self.loop.step // an_epoch)
            advance(1)

        pairs = (
            (batch.pixels, to_device(self.targets[rows], self.device)) for rows, batch in zip(left, seen, strict=True)
        )
        with arithmetic(self.config.precision, self.device):
            self.loop.run(pairs, self._loss, note)

    def _loss(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        pixels, targets = batch
        if self.protocol.flip:
            # Drawn on the CPU, whose generator a checkpoint keeps.
            mirrored = to_device(torch.rand(len(pixels)) < 0.5, self.device)
            pixels = torch.where(mirrored.view(-1, 1, 1, 1), pixels.flip(-1), pixels)
        with model_at_work(self.config.oracle, pixels):
            z = self.oracle(self.oracle.preprocessing.normalise(pixels))
        compared = targets.mean() if self.target == "mean_correct" else targets
        return self.formula(z, compared, **self.settings).mean()

    def _end_epoch(self, epoch: int) -> None:
        self.loop.read_losses()
        history = self.loop.history
        entry: dict[str, Any] = {"epoch": epoch, "loss": float(np.mean(history["losses"]))}
        if len(self.validation):
            batches = in_batches(self.indices[self.validation])
            z = score_images(self.oracle, self.dataset, batches, self.viewer, self.cache, self.config.precision)
            correct = self.correct[self.validation]
            entry["validation"] = validation_entry(z, correct, self.config.protocol, self.negative)
            self.oracle.train()
        history["log"].append(entry)
        self.track(entry)
        history["losses"] = []


def in_batches(indices: np.ndarray) -> list[np.ndarray]:
    """Return sample numbers (N,) in batches of a size that suits scoring."""
    return [indices[i : i + SCORING_BATCH] for i in range(0, len(indices), SCORING_BATCH)]
