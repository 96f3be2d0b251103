"""Stage two, full: an oracle's backbone and head tuned on images, resumable to the step."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from trustcache.cache import CacheView
from trustcache.cache.content import unchanged
from trustcache.cache.index import Index
from trustcache.cache.workspace import file_name
from trustcache.data.dataset import Dataset
from trustcache.data.loader import Viewer, choose_device, machine_at_its_limits, model_at_work, readable, viewed_batches
from trustcache.data.pipeline import unheard
from trustcache.data.progress import Progress, silent
from trustcache.data.splits import validation_rows
from trustcache.errors import TrustcacheError
from trustcache.models.building import ModelSpec
from trustcache.models.precision import arithmetic, resolved
from trustcache.models.to_device import to_device
from trustcache.oracles.network import Oracle
from trustcache.oracles.optim import Machine, build_optimiser
from trustcache.oracles.process_group import ALONE, ProcessGroup
from trustcache.oracles.runs import Run, RunConfig
from trustcache.oracles.tracking import Track, untracked
from trustcache.oracles.training_loop import Diverged, TrainingLoop, WholeSteps, epoch_batches, require_enough
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
    oracles: Sequence[Oracle],
    dataset: Dataset,
    batches: Sequence[np.ndarray],
    viewer: Viewer,
    cache: CacheView,
    precision: str,
    group: ProcessGroup = ALONE,
    progress: Progress = silent,
) -> np.ndarray:
    """Return z, float64 (N, oracles), for samples of a cache; the oracles, of one viewer, see each batch in turn.

    batches: numbers (B,) of samples, in the order of the rows of z. In a group each process scores some of the batches.
    Raises TrustcacheError for an image that is unreadable, or not the cached one.
    """
    for oracle in oracles:
        oracle.to(viewer.device).eval()
    starts = np.cumsum([0, *map(len, batches)])
    z = torch.zeros(int(starts[-1]), len(oracles), dtype=torch.float64)
    own, own_starts = batches[group.rank :: group.count], starts[:-1][group.rank :: group.count]
    seen = unchanged(readable(viewed_batches(dataset, viewer, own)), cache)
    with progress(f"scoring {dataset.manifest.name}", sum(map(len, own))) as advance:
        for start, numbers, batch in zip(own_starts, own, seen, strict=True):
            each = [z_of(oracle, batch.pixels, viewer, precision) for oracle in oracles]
            z[start : start + len(numbers)] = torch.from_numpy(np.stack(each, axis=1))
            advance(len(numbers))
    return group.summed(z.to(viewer.device)).cpu().numpy() if group.count > 1 else z.numpy()


def z_of(oracle: Oracle, pixels: torch.Tensor, viewer: Viewer, precision: str) -> np.ndarray:
    """Return an oracle's z, float64 (B,), for images (B, 3, H, W) as the viewer sees them, on its device."""
    with torch.inference_mode(), arithmetic(precision, viewer.device):
        return oracle(viewer.preprocessing.normalise(pixels)).cpu().double().numpy()


def finetune(
    runs: Sequence[Run],
    spec: ModelSpec,
    dataset: Dataset,
    cache: CacheView,
    machine: Machine,
    progress: Progress = silent,
    track: Track = untracked,
    group: ProcessGroup = ALONE,
    note: Callable[[str], None] = unheard,
) -> None:
    """Train the oracles of runs of one seed and call, built on the model of `spec`, on the images of their cache.

    All take each batch of images in turn, and each becomes what it becomes alone. Every `checkpoint_every_s` seconds
    all state of each is saved; after a kill the same call continues from there, and ends where the uninterrupted one
    ends. The last epoch's weights are kept. group: the processes that each take a share of every batch. note: told the
    step that a training goes on from.

    Raises TrustcacheError for an image that is unreadable, or not the cached one; where memory runs out; and, once the
    others are finished, for a loss that is no longer finite.
    """
    remedy = "use a smaller --batch-size, or another --device"
    with machine_at_its_limits(f"{remedy}, or leave out --together" if len(runs) > 1 else remedy):
        trainings = [_Training(run, spec, cache, machine, track, group) for run in runs]
        for training in trainings:
            training.loop.tell_begun(note)
        diverged = _Pass(trainings, dataset, cache, group).run(progress)
    for run, training in zip(runs, trainings, strict=True):
        if group.rank == 0 and training not in diverged:
            run.finish(training.oracle.state_dict(), training.loop.history["log"])
            training.loop.checkpoint.unlink(missing_ok=True)
    group.wait()
    if diverged:
        raise TrustcacheError("; ".join(map(str, diverged.values())))


class _Training:
    """One fine-tuning: its loop, and all that is rebuilt from the run's config."""

    def __init__(
        self, run: Run, spec: ModelSpec, cache: CacheView, machine: Machine, track: Track, group: ProcessGroup
    ) -> None:
        config = run.config
        if group.rank == 0:
            run.begin()
        self.track = functools.partial(track if group.rank == 0 else untracked, run)
        self.config, self.group = config, group
        self.device = choose_device(machine.device)
        torch.manual_seed(config.seed)  # what the spec has no weights for
        self.oracle = Oracle(spec, config.signed_distance, config.seed).to(self.device)
        if config.start:
            self.oracle.load_state_dict(Run(run.folder.with_name(file_name(config.start)), config).weights())
        self.viewer = oracle_viewer(self.oracle, config, cache.index, machine)
        self.held_out = validation_rows(len(cache), config.val_fraction, config.seed)
        rows = np.flatnonzero(~self.held_out)
        right = int(cache.correct[rows].sum())
        losses = PROTOCOLS[config.protocol].losses
        self.formula, self.settings = config.loss.bind((len(rows) - right, right), losses)
        self.target = losses[config.loss.name].target
        self.negative = negative_threshold(config.loss.name, cache[:1].logits.shape[1])
        column = cache.true_class_prob if self.target == "true_class_prob" else cache.correct
        self.targets = torch.from_numpy(column.astype(np.float32))
        settings = config.optimiser
        self.batches = epoch_batches(rows, settings.batch_size, settings.epochs, [config.seed])
        require_enough(self.batches, group, config.accumulate)
        precision = resolved(config.precision, self.device)
        optimiser = build_optimiser(settings, list(self.oracle.parameters()), len(self.batches))
        place = run.folder / CHECKPOINT, machine.checkpoint_every_s
        # The losses of this epoch's steps, and the entries of finished epochs.
        history: dict[str, list[Any]] = {"losses": [], "log": []}
        whose = run.name, self.oracle, *optimiser, len(self.batches)
        self.loop = TrainingLoop(*whose, *place, config.seed, group, history, precision)

    def take(self, pixels: torch.Tensor, rows: np.ndarray) -> None:
        """Take a step on this process's images, on the model's device, of a batch of rows of the cache."""
        targets, first = to_device(self.targets[rows], self.device), self.group.share(len(rows)).start
        cuts = [len(pixels) * i // self.config.accumulate for i in range(self.config.accumulate + 1)]
        parts = [(pixels[a:b], targets, slice(first + a, first + b)) for a, b in itertools.pairwise(cuts)]
        self.loop.take(parts, self._loss)

    def _loss(self, part: tuple[torch.Tensor, torch.Tensor, slice]) -> torch.Tensor:
        """Return the part of some images in the mean loss of a whole batch, whose targets and their place are given."""
        pixels, targets, place = part
        with model_at_work(self.config.oracle, pixels):
            z = self.loop.network(self.oracle.preprocessing.normalise(pixels))
        compared = targets.mean() if self.target == "mean_correct" else targets[place]
        return self.formula(z, compared, **self.settings).sum() / len(targets)

    def end_epoch(self, epoch: int, z: np.ndarray, correct: np.ndarray) -> None:
        """Log an epoch. z (M,), correct (M,): of the held-out rows."""
        self.loop.read_losses()
        history = self.loop.history
        entry: dict[str, Any] = {"epoch": epoch, "loss": float(np.mean(history["losses"]))}
        if len(z):
            entry["validation"] = validation_entry(z, correct, self.config.protocol, self.negative)
        history["log"].append(entry)
        self.track(entry)
        history["losses"] = []


class _Pass:
    """Fine-tunings of one seed in one pass over the images, which are decoded and mirrored once for all of them."""

    def __init__(self, trainings: Sequence[_Training], dataset: Dataset, cache: CacheView, group: ProcessGroup) -> None:
        self.trainings, self.dataset, self.cache, self.group = trainings, dataset, cache, group
        self.config, self.viewer = trainings[0].config, trainings[0].viewer
        self.validation = np.flatnonzero(trainings[0].held_out)
        self.diverged: dict[_Training, TrustcacheError] = {}

    def run(self, progress: Progress) -> dict[_Training, TrustcacheError]:
        """Take the steps that are left, and return the errors of those whose loss is no longer finite.

        A training that is ahead, as it was begun alone, waits for the others.
        """
        first, count = self.trainings[0], len(self.trainings)
        steps, begun = first.loop.steps, min(each.loop.step for each in self.trainings)
        left = first.batches[begun:]
        own = [self.cache.sample_indices[rows[self.group.share(len(rows))]] for rows in left]
        seen = unchanged(readable(viewed_batches(self.dataset, self.viewer, own)), self.cache)
        for each in self.trainings:
            each.oracle.train()
        an_epoch = len(first.batches) // self.config.optimiser.epochs
        whole = WholeSteps(lambda: [each.loop for each in self.trainings if each not in self.diverged])
        with (
            whole.saved_at_interruption(),
            progress(f"steps of {first.loop.name if count == 1 else f'{count} oracles'}", steps) as advance,
        ):
            advance(begun)
            for step, (rows, batch) in enumerate(zip(left, seen, strict=True), begun):
                ends = (step + 1) % an_epoch == 0
                with whole.one(waits=not ends):  # at an epoch's end, the validation split is scored
                    self._step(step, rows, batch.pixels, (step + 1) // an_epoch if ends else 0)
                advance(1)
                if len(self.diverged) == count:
                    break
        return self.diverged

    def _step(self, step: int, rows: np.ndarray, pixels: torch.Tensor, ended: int) -> None:
        """Take a step of all that have come so far. ended: the epoch that it ends, 0 for none; it is scored then."""
        if PROTOCOLS[self.config.protocol].flip:
            drawn = np.random.default_rng([self.config.seed, 1, step]).random(len(rows)) < 0.5
            mirrored = to_device(torch.from_numpy(drawn[self.group.share(len(rows))]), self.viewer.device)
            pixels = torch.where(mirrored.view(-1, 1, 1, 1), pixels.flip(-1), pixels)
        taking = [each for each in self.trainings if each.loop.step == step and each not in self.diverged]
        for each in taking:
            with self._noting(each):
                each.take(pixels, rows)
                if ended:
                    each.loop.read_losses()
        if ended:
            self._end_epoch([each for each in taking if each not in self.diverged], ended)
        for each in taking:
            if each not in self.diverged:
                each.loop.save_if_due()

    @contextlib.contextmanager
    def _noting(self, training: _Training) -> Iterator[None]:
        """Note that a training's loss is no longer finite, so that the others go on."""
        try:
            yield
        except Diverged as error:
            self.diverged[training] = error

    def _end_epoch(self, trainings: Sequence[_Training], epoch: int) -> None:
        z = np.empty((0, len(trainings)))
        if len(self.validation):
            batches, oracles = in_batches(self.cache.sample_indices[self.validation]), [t.oracle for t in trainings]
            seen = self.dataset, batches, self.viewer, self.cache
            z = score_images(oracles, *seen, self.config.precision, self.group)
        for training, own in zip(trainings, z.T, strict=True):
            training.end_epoch(epoch, own, self.cache.correct[self.validation])
            training.oracle.train()


def in_batches(indices: np.ndarray) -> list[np.ndarray]:
    """Return sample numbers (N,) in batches of a size that suits scoring."""
    return [indices[i : i + SCORING_BATCH] for i in range(0, len(indices), SCORING_BATCH)]
