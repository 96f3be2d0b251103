"""Stage two, full: an oracle's backbone and head tuned on images, resumable to the step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from trustcache.cache import CacheView
from trustcache.cache.index import Index
from trustcache.data.dataset import Dataset
from trustcache.data.loader import Viewer, choose_device, machine_at_its_limits, model_at_work, readable, viewed_batches
from trustcache.data.splits import validation_rows
from trustcache.errors import TrustcacheError
from trustcache.models.classifiers import ModelSpec
from trustcache.oracles.network import Oracle
from trustcache.oracles.optim import Machine, Stateful, build_optimiser, load_state, save_state
from trustcache.oracles.runs import Run, RunConfig
from trustcache.progress import Progress, silent
from trustcache.protocols import PROTOCOLS, negative_threshold, validation_entry

CHECKPOINT = "checkpoint.pt"
SCORING_BATCH = 128


def load_oracle(run: Run) -> Oracle:
    """A finished run's oracle; its weights are all in the run."""
    oracle = Oracle(run.config.oracle_spec(), run.config.signed_distance, run.config.seed, pretrained=False)
    oracle.load_state_dict(run.weights())
    return oracle


def oracle_viewer(oracle: Oracle, config: RunConfig, judged: Index, machine: Machine) -> Viewer:
    """How a run's oracle gets to see the images of a cache of the classifier that it judges."""
    via = None
    if PROTOCOLS[config.protocol].through_judged_size:
        height, width = judged.meaning["classifier"]["preprocessing"]["input_size"]
        via = height, width
    return Viewer(oracle.preprocessing, choose_device(machine.device), machine.workers, via=via)


def score_images(
    oracle: Oracle,
    dataset: Dataset,
    batches: Sequence[np.ndarray],
    viewer: Viewer,
    progress: Progress = silent,
) -> np.ndarray:
    """An oracle's z, float64 (N,), of the samples in batches of numbers (B,), in their order.

    Raises TrustcacheError for an unreadable image.
    """
    oracle.to(viewer.device).eval()
    parts = []
    with progress(f"scoring {dataset.manifest.name}", sum(map(len, batches))) as advance:
        for batch in readable(viewed_batches(dataset, viewer, batches)):
            parts.append(z_of(oracle, batch.pixels, viewer))
            advance(len(parts[-1]))
    return np.concatenate(parts)


def z_of(oracle: Oracle, pixels: torch.Tensor, viewer: Viewer) -> np.ndarray:
    """An oracle's z, float64 (B,), of images (B, 3, H, W) as the viewer sees them, on its device."""
    with torch.inference_mode():
        return oracle(viewer.preprocessing.normalise(pixels)).double().cpu().numpy()


def finetune(
    run: Run, spec: ModelSpec, dataset: Dataset, cache: CacheView, machine: Machine, progress: Progress = silent
) -> None:
    """Train a run's oracle, built on the model of `spec`, on the images of the cache it learns from; finish the run.

    Every `checkpoint_every_s` seconds all state is saved; the same call after a kill goes on from there, and ends
    where the uninterrupted one ends. The last epoch's weights are kept.

    Raises TrustcacheError for an unreadable image, for a loss that is no longer finite, and where memory runs out.
    """
    run.begin()
    with machine_at_its_limits():
        training = _Training(run, spec, dataset, cache, machine)
        with progress(run.name, len(training.batches)) as advance:
            advance(training.step)
            training.run_steps(advance)
    run.finish(training.oracle.state_dict(), training.history.log)
    (run.folder / CHECKPOINT).unlink(missing_ok=True)


class _History:
    """What training reported so far: finished epochs' entries, and the losses of this epoch's steps."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.log: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses, "log": self.log}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.losses, self.log = state_dict["losses"], state_dict["log"]


class _Training:
    """The state of one fine-tuning: what a checkpoint saves, and what is rebuilt from the run's config."""

    def __init__(self, run: Run, spec: ModelSpec, dataset: Dataset, cache: CacheView, machine: Machine) -> None:
        config = run.config
        self.run, self.machine, self.dataset = run, machine, dataset
        self.device = choose_device(machine.device)
        torch.manual_seed(config.seed)  # dropout
        self.oracle = Oracle(spec, config.signed_distance, config.seed).to(self.device)
        if config.start:
            self.oracle.load_state_dict(Run(run.folder.with_name(config.start), config).weights())
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
        self.batches = _batches(rows, config.optimiser.batch_size, config.optimiser.epochs, config.seed)
        self.steps_per_epoch = len(self.batches) // config.optimiser.epochs
        self.optimiser, self.schedule = build_optimiser(config.optimiser, self.oracle.parameters(), len(self.batches))
        self.history = _History()
        self.parts: dict[str, Stateful] = {
            "oracle": self.oracle,
            "optimiser": self.optimiser,
            "history": self.history,
            **({"schedule": self.schedule} if self.schedule else {}),
        }
        self.step = load_state(run.folder / CHECKPOINT, self.parts)

    def run_steps(self, advance: Any) -> None:
        saved = time.monotonic()
        left = self.batches[self.step :]
        self.oracle.train()
        seen = readable(viewed_batches(self.dataset, self.viewer, [self.indices[b] for b in left]))
        for rows, batch in zip(left, seen, strict=True):
            self._step(batch.pixels, self.targets[rows].to(self.device))
            self.step += 1
            if self.step % self.steps_per_epoch == 0:
                self._end_epoch()
            if time.monotonic() - saved >= self.machine.checkpoint_every_s:
                save_state(self.run.folder / CHECKPOINT, self.parts, self.step)
                saved = time.monotonic()
            advance(1)

    def _step(self, pixels: torch.Tensor, targets: torch.Tensor) -> None:
        if self.protocol.flip:
            mirrored = torch.rand(len(pixels)) < 0.5  # drawn on the CPU, as a checkpoint keeps that generator
            pixels = torch.where(mirrored.to(self.device).view(-1, 1, 1, 1), pixels.flip(-1), pixels)
        with model_at_work(self.run.config.oracle, pixels):
            z = self.oracle(self.oracle.preprocessing.normalise(pixels))
        compared = targets.mean() if self.target == "mean_correct" else targets
        loss = self.formula(z, compared, **self.settings).mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        if self.schedule:
            self.schedule.step()
        self.history.losses.append(float(loss.detach()))
        if not np.isfinite(self.history.losses[-1]):
            raise TrustcacheError(
                f"{self.run.name}: the loss is no longer finite at step {self.step}; use a smaller --lr"
            )

    def _end_epoch(self) -> None:
        entry: dict[str, Any] = {
            "epoch": self.step // self.steps_per_epoch,
            "loss": float(np.mean(self.history.losses)),
        }
        if len(self.validation):
            batches = in_batches(self.indices[self.validation])
            z = score_images(self.oracle, self.dataset, batches, self.viewer)
            entry["validation"] = validation_entry(
                z, self.correct[self.validation], self.run.config.protocol, self.negative
            )
            self.oracle.train()
        self.history.log.append(entry)
        self.history.losses = []


def _batches(rows: np.ndarray, size: int, epochs: int, seed: int) -> list[np.ndarray]:
    """The rows of every step of all epochs; an epoch's last, incomplete batch is dropped unless it is its only one."""
    batches = []
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(rows)
        whole = max(len(order) // size, 1)
        batches += [order[i * size : (i + 1) * size] for i in range(whole)]
    return batches


def in_batches(indices: np.ndarray) -> list[np.ndarray]:
    """Sample numbers (N,) in batches of a size that suits scoring."""
    return [indices[i : i + SCORING_BATCH] for i in range(0, len(indices), SCORING_BATCH)]
