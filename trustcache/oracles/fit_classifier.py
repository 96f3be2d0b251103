"""Fitting a classifier of one's own, to be judged: from a data set and a model's name to a file of weights."""

from __future__ import annotations

import glob
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch.nn import functional as F

from trustcache.cache.meaning import Entry
from trustcache.cache.publish import file_sha256, publish
from trustcache.cache.records import as_read, fingerprint, parse_record, record_text
from trustcache.data.augmentations import AUGMENTATIONS
from trustcache.data.dataset import Dataset
from trustcache.data.in_memory import DECODED_AT_ONCE, Images
from trustcache.data.loader import Viewer, choose_device, machine_at_its_limits, model_at_work
from trustcache.data.splits import validation_rows
from trustcache.errors import TrustcacheError, UsageError
from trustcache.models.classifiers import ModelSpec, new_model
from trustcache.models.preprocessing import preprocessing_of
from trustcache.oracles.optim import Machine, Stateful, load_state, save_state
from trustcache.progress import Progress, silent

# Training images that the accuracy on them is measured on, at most.
MEASURED = 5000
_METADATA = "trustcache"


@dataclass(frozen=True)
class Recipe:
    """An optimiser, with the highest learning rate and weight decay it has unless told otherwise."""

    build: Callable[..., torch.optim.Optimizer]
    lr: float
    weight_decay: float


OPTIMISERS: dict[str, Recipe] = {
    "adamw": Recipe(torch.optim.AdamW, lr=1e-3, weight_decay=0.05),
    "sgd": Recipe(partial(torch.optim.SGD, momentum=0.9, nesterov=True), lr=0.05, weight_decay=5e-4),
}


@dataclass(frozen=True)
class FitSettings:
    """How a classifier is fitted: cross entropy, the rate going up to `lr` and down again once (OneCycle).

    optimiser: a name in OPTIMISERS, whose own lr and weight_decay count where these are None. augment: a name in
    AUGMENTATIONS. val_fraction: the part that is held out, to tell how good the classifier is on images it has not
    seen. seed: draws that part, the first weights, the order, the augmentation and the dropout.
    """

    epochs: int = 10
    batch_size: int = 128
    optimiser: str = "adamw"
    lr: float | None = None
    weight_decay: float | None = None
    augment: str = "none"
    val_fraction: float = 0.1
    seed: int = 0

    def filled(self) -> FitSettings:
        """The same with the optimiser's own numbers where none were given."""
        recipe = OPTIMISERS[self.optimiser]
        return replace(
            self,
            lr=recipe.lr if self.lr is None else self.lr,
            weight_decay=recipe.weight_decay if self.weight_decay is None else self.weight_decay,
        )


@dataclass(frozen=True)
class Fitted:
    """What became of a fitting: images learnt from and held out, and the shares of them that are classified rightly.

    The first share is of `measured` of the images learnt from; the second is None where none were held out.
    """

    learnt_from: int
    measured: int
    accuracy: float
    held_out: int
    val_accuracy: float | None


@dataclass(frozen=True)
class FitOrigin:
    """All that decides what a classifier becomes. start, data: fingerprints of its first weights and of the images."""

    classifier: str
    model_arg: dict[str, Any]
    preprocess: dict[str, Entry]
    start: str | None
    data: str
    settings: FitSettings


@dataclass(frozen=True)
class FitRecord:
    """The metadata of a fitted classifier's file."""

    SCHEMA: ClassVar[int] = 1

    origin: FitOrigin
    fitted: Fitted


def fit_classifier(
    spec: ModelSpec,
    dataset: Dataset,
    out: Path,
    settings: FitSettings,
    machine: Machine,
    progress: Progress = silent,
) -> Fitted:
    """Fit the model of a spec on a data set and publish its weights as safetensors.

    The model begins with the spec's weights (all but a last layer for other classes), or with fresh ones. Every
    `checkpoint_every_s` seconds all state is saved beside `out`; the same call after a kill goes on from there, and
    ends where the uninterrupted one ends. Where `out` was made by the same call, only what it became is returned.

    Raises UsageError where `out` is another file, for data that are no training data, and for a model that cannot be
    built for their classes; TrustcacheError for an unreadable image and for a loss that is no longer finite.
    """
    settings = settings.filled()
    origin = _origin(spec, dataset, settings)
    if out.exists():
        return _finished(out, origin)
    if dataset.manifest.role != "train":
        raise UsageError(
            f"{dataset.manifest.name}: its role is '{dataset.manifest.role}', and a classifier would be tested on what "
            "it has learnt; fit it on data whose manifest says role = 'train'"
        )
    digest = fingerprint(origin)[:8]
    checkpoint = out.with_name(f"{out.name}.{digest}.checkpoint")
    with torch.random.fork_rng(), machine_at_its_limits():
        fitting = _Fitting(spec, dataset, settings, machine, progress)
        fitting.run(checkpoint, machine.checkpoint_every_s, progress)
        fitted = fitting.measured(progress)
    weights = {name: tensor.cpu().contiguous() for name, tensor in fitting.model.state_dict().items()}
    publish(out, save(weights, {_METADATA: record_text(FitRecord(origin, fitted))}))
    for left in out.parent.glob(f"{glob.escape(out.name)}.*.checkpoint"):  # of other settings too: `out` is taken now
        left.unlink(missing_ok=True)
    return fitted


class _Fitting:
    """A model on its way from its first weights to its last."""

    def __init__(
        self, spec: ModelSpec, dataset: Dataset, settings: FitSettings, machine: Machine, progress: Progress
    ) -> None:
        self.name, self.settings, self.device = spec.name, settings, choose_device(machine.device)
        torch.manual_seed(settings.seed)  # first weights and dropout
        model = new_model(spec, len(dataset.classes))
        self.preprocessing = preprocessing_of(model, spec.preprocessing)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        held_out = validation_rows(len(dataset), settings.val_fraction, settings.seed)
        self.training, self.validation = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        if not len(self.training):
            raise UsageError(f"{dataset.manifest.name}: no image is left to learn from; use a smaller --val-fraction")
        # An epoch's last, incomplete batch is dropped, unless it is its only one.
        self.steps_per_epoch = max(len(self.training) // settings.batch_size, 1)
        self.steps = self.steps_per_epoch * settings.epochs
        groups = _decaying(self.model, settings.weight_decay or 0.0)
        self.optimiser = OPTIMISERS[settings.optimiser].build(groups, lr=settings.lr)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, settings.lr or 0.0, total_steps=self.steps)
        self.images = Images(dataset, Viewer(self.preprocessing, self.device, machine.workers), progress)

    def run(self, checkpoint: Path, save_every_s: float, progress: Progress) -> None:
        """All steps that are left after the checkpoint, where there is one."""
        parts: dict[str, Stateful] = {"model": self.model, "optimiser": self.optimiser, "schedule": self.schedule}
        done = load_state(checkpoint, parts)
        left = [rows for epoch in range(self.settings.epochs) for rows in self._epoch(epoch)][done:]
        size = len(left[0]) if left else 0
        saved = time.monotonic()
        self.model.train()
        with progress(f"fitting {self.name}", self.steps * size) as advance:
            advance(done * size)
            for step, (pixels, labels) in enumerate(self.images.batches(left), done):
                self._step(step, pixels, labels)
                if time.monotonic() - saved >= save_every_s:
                    save_state(checkpoint, parts, step + 1)
                    saved = time.monotonic()
                advance(len(pixels))

    def measured(self, progress: Progress) -> Fitted:
        """The accuracy on training and held-out images, in evaluation mode."""
        some = np.random.default_rng(self.settings.seed).permutation(self.training)[:MEASURED]
        with progress(f"testing {self.name}", len(some) + len(self.validation)) as advance:
            right = [self._right(np.sort(rows), advance) for rows in (some, self.validation)]
        val_accuracy = right[1] / len(self.validation) if len(self.validation) else None
        return Fitted(len(self.training), len(some), right[0] / len(some), len(self.validation), val_accuracy)

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        """The rows of each step of an epoch."""
        order = np.random.default_rng([self.settings.seed, 0, epoch]).permutation(self.training)
        size = self.settings.batch_size
        return [order[i * size : (i + 1) * size] for i in range(self.steps_per_epoch)]

    def _step(self, step: int, pixels: torch.Tensor, labels: torch.Tensor) -> None:
        rng = np.random.default_rng([self.settings.seed, 1, step])
        varied = AUGMENTATIONS[self.settings.augment](pixels, rng)
        with model_at_work(self.name, pixels):
            loss = F.cross_entropy(self._logits(varied), labels)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        if not np.isfinite(float(loss.detach())):
            raise TrustcacheError(
                f"{self.name}: the loss is no longer finite at step {step + 1} of {self.steps}; use a smaller --lr"
            )

    def _logits(self, pixels: torch.Tensor) -> torch.Tensor:
        logits = self.model(self.preprocessing.normalise(pixels))
        if not isinstance(logits, torch.Tensor):
            raise UsageError(f"--classifier {self.name}: gives no plain logits while it learns; fit another model")
        return logits.flatten(1)

    def _right(self, rows: np.ndarray, advance: Callable[[int], None]) -> int:
        """How many of some samples are classified rightly."""
        self.model.eval()
        right = 0
        parts = [rows[i : i + DECODED_AT_ONCE] for i in range(0, len(rows), DECODED_AT_ONCE)]
        for pixels, labels in self.images.batches(parts):
            with torch.inference_mode(), model_at_work(self.name, pixels):
                right += int((self._logits(pixels).argmax(1) == labels).sum())
            advance(len(labels))
        return right


def _decaying(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """A model's parameters in two groups: those that decay, and biases, norms and what else it says does not."""
    exempt: Any = getattr(model, "no_weight_decay", set)  # a ViT's position embedding
    groups: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[parameter.ndim > 1 and name not in exempt()].append(parameter)
    decays = {True: weight_decay, False: 0.0}
    return [{"params": group, "weight_decay": decays[key]} for key, group in groups.items()]


def _origin(spec: ModelSpec, dataset: Dataset, settings: FitSettings) -> FitOrigin:
    start = Path(spec.weights) if spec.weights else None
    digest = file_sha256(start) if start and start.is_file() else None
    return as_read(FitOrigin(spec.name, spec.arguments, spec.preprocessing, digest, dataset.fingerprint(), settings))


def _finished(out: Path, origin: FitOrigin) -> Fitted:
    """Return what the classifier in `out` became. Raises UsageError where it is not the one of this origin."""
    try:
        with safe_open(out, "pt") as file:
            text = file.metadata()[_METADATA]
    except (SafetensorError, OSError, KeyError, TypeError):
        raise UsageError(
            f"--out {out}: there already, and not a classifier that fit-classifier made; name another file"
        ) from None
    kept = parse_record(text, FitRecord, f"--out {out}", "remove it, or name another file")
    there, here = _by_option(kept.origin), _by_option(origin)
    if differing := [f"--{key}" for key in here if there[key] != here[key]]:
        raise UsageError(
            f"--out {out}: there already, fitted with other settings ({', '.join(differing)}); remove it, or name "
            "another file"
        )
    return kept.fitted


def _by_option(origin: FitOrigin) -> dict[str, Any]:
    table = {key: value for key, value in vars(origin).items() if key != "settings"} | asdict(origin.settings)
    return {key.replace("_", "-"): value for key, value in table.items()}
