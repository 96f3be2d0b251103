"""Fitting a classifier to be judged: from a data set and a model's name to a file of weights."""

from __future__ import annotations

import glob
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import save
from torch.nn import functional as F

from trustcache.cache.claims import dealt, lock_beside
from trustcache.cache.meaning import Entry
from trustcache.cache.provenance import require_as_fitted
from trustcache.cache.publish import file_sha256
from trustcache.cache.records import as_read, fingerprint, parse_record, record_text
from trustcache.cache.seal import publish_sealed
from trustcache.data.augmentations import AUGMENTATIONS
from trustcache.data.dataset import Dataset
from trustcache.data.in_memory import DECODED_AT_ONCE, Images
from trustcache.data.loader import Viewer, choose_device, machine_at_its_limits, model_at_work
from trustcache.data.pipeline import unheard
from trustcache.data.progress import Progress, silent
from trustcache.data.ranks import ranks
from trustcache.data.splits import validation_rows
from trustcache.errors import UsageError
from trustcache.models.building import ModelSpec, new_model, with_channels_last
from trustcache.models.fitted_weights import FITTED, as_fitted, fitted_text
from trustcache.models.precision import arithmetic, resolved
from trustcache.models.preprocessing import preprocessing_of, preprocessing_words
from trustcache.oracles.optim import FitSettings, Machine, fitting_optimiser
from trustcache.oracles.process_group import ProcessGroup, process_group
from trustcache.oracles.training_loop import TrainingLoop, epoch_batches, require_enough

# Training images that the accuracy on them is measured on, at most.
MEASURED = 5000


@dataclass(frozen=True)
class Fitted:
    """The outcome of a fitting: numbers of images learnt from and held out, and the accuracy on them.

    accuracy: on `measured` of the images learnt from. val_accuracy: None where none were held out.
    """

    learnt_from: int
    measured: int
    accuracy: float
    held_out: int
    val_accuracy: float | None


@dataclass(frozen=True)
class FitOrigin:
    """All that decides what a classifier becomes. start, data: fingerprints of its first weights and of
    the images with their bytes. use_ema: of the first weights the averaged ones, if there are.
    """

    classifier: str
    model_arg: dict[str, Any]
    preprocess: dict[str, Entry]
    start: str | None
    use_ema: bool
    data: str
    settings: FitSettings


@dataclass(frozen=True)
class FitRecord:
    """The metadata of a fitted classifier's file. preprocessing: in full, in the words of --preprocess."""

    SCHEMA: ClassVar[int] = 4

    origin: FitOrigin
    fitted: Fitted
    preprocessing: str


def fit_classifier(
    spec: ModelSpec,
    dataset: Dataset,
    out: Path,
    settings: FitSettings,
    machine: Machine,
    progress: Progress = silent,
    note: Callable[[str], None] = unheard,
) -> Fitted:
    """Fit the model of a spec on a data set and publish its weights as safetensors.

    The model begins with the spec's weights (all but a last layer for other classes), or with fresh ones. Every
    `checkpoint_every_s` seconds all state is saved beside `out`; after a kill the same call continues from there, and
    ends where the uninterrupted one ends. Where `out` was made by the same call, its recorded outcome is returned.
    Where the first weights are fit-classifier's too, it sees images as they were fitted with, if the spec does not say
    otherwise.

    note: told where it does, what was chosen in the weights, and the step that it goes on from. Raises UsageError where
    `out` is another file, for data that are no training data, and for a model that cannot be built for their classes;
    TrustcacheError for an unreadable image and for a loss that is no longer finite.
    """
    if spec.weights:
        require_as_fitted(Path(spec.weights))
    spec, settings = as_fitted(spec, note), settings.filled()
    origin = _origin(spec, dataset, settings)
    if not out.exists() and dataset.manifest.role != "train":
        raise UsageError(
            f"{dataset.manifest.name}: its role is '{dataset.manifest.role}', and a classifier would be tested on what "
            "it has learnt; fit it on data whose manifest says role = 'train'"
        )
    with process_group(choose_device(machine.device)) as group:
        # Processes that cannot meet leave it to one of them.
        for _ in dealt({out: lock_beside(out)}, ranks().count // group.count, lambda _: out.exists()):
            if not out.exists():
                _fit(spec, dataset, out, origin, machine, progress, note, group)
        group.wait()
    fitted = _finished(out, origin)
    _remove_checkpoints(out)  # a disk that failed may have left them
    return fitted


def _fit(
    spec: ModelSpec,
    dataset: Dataset,
    out: Path,
    origin: FitOrigin,
    machine: Machine,
    progress: Progress,
    note: Callable[[str], None],
    group: ProcessGroup,
) -> None:
    settings = origin.settings
    checkpoint = out.with_name(f"{out.name}.{fingerprint(origin)[:8]}.checkpoint")
    device = choose_device(machine.device)
    own = [device] if device.type == "cuda" else []  # by default all GPUs are started for it
    with torch.random.fork_rng(own), machine_at_its_limits():
        fitting = _Fitting(spec, dataset, settings, machine, checkpoint, progress, note, group)
        fitting.loop.tell_begun(note)
        fitting.run(progress)
        with arithmetic(fitting.loop.precision, fitting.device):
            fitted = fitting.measured(progress)
    if group.rank == 0:
        weights = {name: tensor.cpu().contiguous() for name, tensor in fitting.model.state_dict().items()}
        record = FitRecord(origin, fitted, " ".join(preprocessing_words(vars(fitting.preprocessing))))
        publish_sealed(out, save(weights, {FITTED: record_text(record)}))


def _remove_checkpoints(out: Path) -> None:
    """Remove the checkpoints beside a finished classifier, of other settings too: its name is taken now."""
    for left in out.parent.glob(f"{glob.escape(out.name)}.*.checkpoint"):
        left.unlink(missing_ok=True)


class _Fitting:
    """A model on its way from its first weights to its last."""

    def __init__(
        self,
        spec: ModelSpec,
        dataset: Dataset,
        settings: FitSettings,
        machine: Machine,
        checkpoint: Path,
        progress: Progress,
        note: Callable[[str], None],
        group: ProcessGroup,
    ) -> None:
        self.name, self.settings, self.device = spec.name, settings, choose_device(machine.device)
        self.group = group
        torch.manual_seed(settings.seed)  # first weights
        model = new_model(spec, len(dataset.classes), note)
        self.preprocessing = preprocessing_of(model, spec.preprocessing)
        self.model = with_channels_last(model.to(self.device))
        held_out = validation_rows(len(dataset), settings.val_fraction, settings.seed)
        self.training, self.validation = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        if not len(self.training):
            raise UsageError(f"{dataset.manifest.name}: no image is left to learn from; use a smaller --val-fraction")
        self.batches = epoch_batches(self.training, settings.batch_size, settings.epochs, [settings.seed, 0])
        require_enough(self.batches, group)
        groups = _decaying(self.model, settings.weight_decay or 0.0)
        optimiser = fitting_optimiser(settings, groups, len(self.batches))
        self.images = Images(dataset, Viewer(self.preprocessing, self.device, machine.workers), progress)
        place = checkpoint, machine.checkpoint_every_s
        whose = self.name, self.model, *optimiser, len(self.batches)
        precision = resolved(settings.precision, self.device)
        self.loop = TrainingLoop(*whose, *place, settings.seed, group, precision=precision)

    def run(self, progress: Progress) -> None:
        """Take the steps that are left."""
        size = len(self.batches[0])
        with progress(f"fitting {self.name}", self.loop.steps * size) as advance:
            advance(self.loop.step * size)
            left = self.batches[self.loop.step :]
            seen = self.images.batches([rows[self.group.share(len(rows))] for rows in left])
            self.loop.run(seen, self._loss, lambda: advance(size))

    def measured(self, progress: Progress) -> Fitted:
        """Return the accuracy on training and held-out images, in evaluation mode."""
        some = np.random.default_rng(self.settings.seed).permutation(self.training)[:MEASURED]
        with progress(f"testing {self.name}", len(some) + len(self.validation)) as advance:
            right = [self._right(np.sort(rows), advance) for rows in (some, self.validation)]
        val_accuracy = right[1] / len(self.validation) if len(self.validation) else None
        return Fitted(len(self.training), len(some), right[0] / len(some), len(self.validation), val_accuracy)

    def _loss(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        pixels, labels = batch
        rng, size = np.random.default_rng([self.settings.seed, 1, self.loop.step]), len(self.batches[self.loop.step])
        varied = AUGMENTATIONS[self.settings.augment](pixels, rng, self.group.share(size).start, size)
        with model_at_work(self.name, pixels):
            return F.cross_entropy(self._logits(self.loop.network, varied), labels, reduction="sum") / size

    def _logits(self, network: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        logits = network(self.preprocessing.normalise(pixels))
        if not isinstance(logits, torch.Tensor):
            raise UsageError(f"--classifier {self.name}: gives no plain logits while it learns; fit another model")
        return logits.flatten(1)

    def _right(self, rows: np.ndarray, advance: Callable[[int], None]) -> int:
        """Return the number of samples that are classified rightly; each process of a group looks at some of them."""
        self.model.eval()
        right = torch.zeros((), dtype=torch.int64, device=self.device)
        parts = [rows[i : i + DECODED_AT_ONCE] for i in range(0, len(rows), DECODED_AT_ONCE)]
        for pixels, labels in self.images.batches(parts[self.group.rank :: self.group.count]):
            with torch.inference_mode(), model_at_work(self.name, pixels):
                right += (self._logits(self.model, pixels).argmax(1) == labels).sum()
            advance(len(labels))
        return int(self.group.summed(right))


def _decaying(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return a model's parameters in two groups: those that decay, and biases, norms and those the model exempts."""
    exempt: Any = getattr(model, "no_weight_decay", set)  # a ViT's position embedding
    groups: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[parameter.ndim > 1 and name not in exempt()].append(parameter)
    decays = {True: weight_decay, False: 0.0}
    return [{"params": group, "weight_decay": decays[key]} for key, group in groups.items()]


def _origin(spec: ModelSpec, dataset: Dataset, settings: FitSettings) -> FitOrigin:
    start = Path(spec.weights) if spec.weights else None
    digest = file_sha256(start) if start and start.is_file() else None
    images = fingerprint([dataset.fingerprint(), dataset.contents(range(len(dataset)))])
    return as_read(
        FitOrigin(spec.name, spec.arguments, spec.preprocessing, digest, spec.reading.use_ema, images, settings)
    )


def _finished(out: Path, origin: FitOrigin) -> Fitted:
    """Return what the classifier in `out` became. Raises UsageError where it is not the one of this origin."""
    remedy = "remove it, or name another file"
    text = fitted_text(out)
    if not text:
        raise UsageError(
            f"--out {out}: there already, and not a classifier that fit-classifier made; name another file"
        )
    require_as_fitted(out, remedy)
    kept = parse_record(text, FitRecord, f"--out {out}", remedy)
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
