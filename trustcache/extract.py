"""Stage one: run a frozen classifier once over a data set and keep what it said in a cache."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from PIL import __version__ as pillow_version
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

import trustcache
from trustcache.cache.index import Index, create_or_continue
from trustcache.cache.publish import file_sha256
from trustcache.cache.view import CacheView, open_cache
from trustcache.classifiers import Classifier
from trustcache.errors import TrustcacheError, UsageError
from trustcache.images import BadImage, Dataset
from trustcache.progress import Advance, Progress, silent

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class ExtractSettings:
    """How to run an extraction.

    precision: the forward pass in float32, or under bf16 or fp16 autocast (logits come out as float32).
    store: dtype of the stored logits and features; predictions are made before the rounding.
    shard_rows: samples a shard. workers: decoding processes (0: in this process). on_bad_image: "error" or "skip".
    """

    batch_size: int = 64
    workers: int = 2
    device: str = "auto"
    precision: str = "float32"
    store: str = "float16"
    shard_rows: int = 2048
    on_bad_image: str = "error"


def extract(
    classifier: Classifier,
    label: str,
    dataset: Dataset,
    data_root: Path,
    folder: Path,
    settings: ExtractSettings,
    progress: Progress = silent,
) -> CacheView:
    """Fill the cache in `folder`, shard by shard; shards that are there and sound are kept.

    `label` is the classifier's name in the workspace, `data_root` where the data set was found. Raises UsageError
    where the cache there means something else, TrustcacheError for bad images and non-finite logits; everything
    published before that stays, and the same call goes on from there.
    """
    check_classes(classifier, label, dataset)
    device = choose_device(settings.device)

    def images(start: int, stop: int) -> str:
        return Dataset(dataset.manifest, dataset.samples.keep(start, stop)).fingerprint()

    index = create_or_continue(_index(classifier, label, dataset, data_root, folder, settings), images)
    missing = index.faults(progress)
    if settings.on_bad_image == "error":
        _refuse_gaps(index, missing)
    ranges = [index.ranges()[number] for number in missing]
    total = sum(stop - start for start, stop in ranges)
    with _machine_at_its_limits(), progress(f"{label} on {dataset.manifest.name}", total) as advance:
        classifier.model.to(device)
        answers = _answers(classifier, dataset, ranges, settings, device, advance)
        for number, (start, stop) in zip(missing, ranges, strict=True):
            columns, skipped = _shard(answers, stop)
            index.add(number, columns, skipped, images(start, stop))
    return open_cache(folder)


def check_classes(classifier: Classifier, label: str, dataset: Dataset) -> None:
    """Raise UsageError where a classifier and a data set differ in their number of classes."""
    if len(dataset.classes) != classifier.num_classes:
        raise UsageError(
            f"{dataset.manifest.name}: {len(dataset.classes)} classes, but {label} tells {classifier.num_classes} "
            "apart; name the classifier's classes in its own order as 'classes' in a manifest, or use another "
            "classifier"
        )


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one. Raises UsageError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: not available here ({_first_line(error)})") from None


def image_batches(
    dataset: Dataset, transform: Any, batches: list[np.ndarray], workers: int
) -> Iterator[tuple[np.ndarray, torch.Tensor, dict[int, str]]]:
    """Decode images batch by batch: sample indices (B,), uint8 pixels (B, 3, H, W), and the unreadable ones' reasons.

    Rows of unreadable images are left out of the first two; a batch of nothing else has zero rows. Raises
    TrustcacheError where a decoding process dies.
    """
    loader = DataLoader(
        _Decoded(dataset, transform),
        batch_sampler=[batch.tolist() for batch in batches],
        num_workers=min(workers, len(batches)),
        collate_fn=_collate,
        worker_init_fn=_hold_tongue,
        generator=torch.Generator(),  # drawing its seed from the global one would shift a training's dropout
        pin_memory=torch.cuda.is_available(),
    )
    with _machine_at_its_limits():
        try:
            yield from loader
        except (ConnectionError, EOFError) as error:
            # What a decoding process sent last dies with it, sometimes a moment before torch hears of its death.
            time.sleep(1)
            raise RuntimeError(f"{_WORKER_DIED} unknown): {error}") from error


def _hold_tongue(worker: int) -> None:
    """Keep a decoding process from printing tracebacks: its errors travel to the main process by themselves.

    What is left is the complaint of a thread that hands over memory while the main process is being stopped.
    """
    sys.excepthook = lambda *error: None


class _Decoded(TorchDataset):
    def __init__(self, dataset: Dataset, transform: Any) -> None:
        self.dataset, self.transform = dataset, transform

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor | str]:
        try:
            return index, self.transform(self.dataset.read(index))
        except BadImage as error:
            return index, str(error)


def _collate(samples: list[tuple[int, torch.Tensor | str]]) -> tuple[np.ndarray, torch.Tensor, dict[int, str]]:
    good = [(i, x) for i, x in samples if isinstance(x, torch.Tensor)]
    bad = {i: x for i, x in samples if isinstance(x, str)}
    pixels = torch.stack([x for _, x in good]) if good else torch.empty(0, dtype=torch.uint8)
    return np.array([i for i, _ in good], dtype=np.int64), pixels, bad


_WORKER_DIED = "DataLoader worker (pid"


@contextmanager
def _machine_at_its_limits() -> Iterator[None]:
    """Say in words that a decoding process died (raised wherever the main process happens to be) or the GPU is full."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise TrustcacheError(
            f"the GPU's memory is full ({_first_line(error)}); use a smaller --batch-size, or another --device"
        ) from error
    except RuntimeError as error:
        if not str(error).startswith(_WORKER_DIED):
            raise
        raise TrustcacheError(
            f"a decoding process died ({_first_line(error)}); often memory or shared memory ran out: run the same "
            "command again with fewer --workers (0 decodes in the main process)"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


@dataclass(frozen=True)
class _Answer:
    """What the classifier said about one batch, as a shard's columns; `last` is the last index it was asked for."""

    columns: dict[str, np.ndarray]
    skipped: dict[str, str]
    last: int


def _answers(
    classifier: Classifier,
    dataset: Dataset,
    ranges: list[tuple[int, int]],
    settings: ExtractSettings,
    device: torch.device,
    advance: Advance,
) -> Iterator[_Answer]:
    """Answers in order, in batches that never reach from one range into another."""
    size = settings.batch_size
    batches = [np.arange(i, min(i + size, stop)) for start, stop in ranges for i in range(start, stop, size)]
    decoded = image_batches(dataset, classifier.preprocessing.transform(), batches, settings.workers)
    for batch, (indices, pixels, bad) in zip(batches, decoded, strict=True):
        if bad and settings.on_bad_image == "error":
            raise TrustcacheError(next(iter(bad.values())))
        if not len(indices):  # asked about black, for a column of no rows has a width too
            pixels = torch.zeros(1, 3, *classifier.preprocessing.input_size, dtype=torch.uint8)
        logits, features = _forward(classifier, pixels, settings.precision, device)
        columns = _columns(dataset, indices, logits[: len(indices)], features[: len(indices)], settings.store)
        yield _Answer(columns, {dataset.ids[i]: reason for i, reason in bad.items()}, int(batch[-1]))
        advance(len(batch))


def _forward(
    classifier: Classifier, pixels: torch.Tensor, precision: str, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    dtype = PRECISIONS[precision]
    try:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits, features = classifier(pixels.to(device, non_blocking=True))
        return logits.cpu().numpy(), features.cpu().numpy()
    except (TrustcacheError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:  # a user's own model may raise anything
        if str(error).startswith(_WORKER_DIED):
            raise
        raise TrustcacheError(
            f"{classifier.spec.name}: fails on images of {pixels.shape[-2]} x {pixels.shape[-1]} pixels "
            f"({type(error).__name__}: {_first_line(error)}); check --preprocess input_size, or the model"
        ) from error


def _shard(answers: Iterator[_Answer], stop: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The columns and skipped images of the answers up to the one that ends at `stop`."""
    taken = [next(answers)]
    while taken[-1].last < stop - 1:
        taken.append(next(answers))
    columns = {name: np.concatenate([answer.columns[name] for answer in taken]) for name in taken[0].columns}
    return columns, {sample: reason for answer in taken for sample, reason in answer.skipped.items()}


def _columns(
    dataset: Dataset, indices: np.ndarray, logits: np.ndarray, features: np.ndarray, store: str
) -> dict[str, np.ndarray]:
    ids = [dataset.ids[i] for i in indices]
    stored = {
        "logits": _stored(logits, store, "logits", dataset, ids),
        "features": _stored(features, store, "features", dataset, ids),
    }
    labels = dataset.labels[indices]
    prediction = logits.argmax(axis=1).astype(np.int64)
    return {
        "sample_index": indices,
        "sample_id": np.array([name.encode("utf-8", "surrogateescape") for name in ids], dtype=bytes),
        "label": labels,
        "prediction": prediction,
        "correct": prediction == labels,
        "true_class_prob": _softmax_at(logits, labels),
        **stored,
    }


def _softmax_at(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    chosen = np.exp(shifted[np.arange(len(labels)), labels])
    return (chosen / np.exp(shifted).sum(axis=1)).astype(np.float32)


def _stored(values: np.ndarray, store: str, what: str, dataset: Dataset, ids: list[str]) -> np.ndarray:
    """Round to the stored dtype, refusing values that are no numbers or grow infinite by the rounding."""
    with np.errstate(over="ignore"):
        rounded = values.astype(store)
    finite = np.isfinite(rounded).all(axis=1)
    if finite.all():
        return rounded
    row = int(finite.argmin())
    where = f"{dataset.manifest.name}: {ids[row]}"
    if np.isfinite(values[row]).all():
        raise TrustcacheError(f"{where}: {what} too large for {store}; use --store float32")
    raise TrustcacheError(
        f"{where}: the classifier's {what} are not finite; check its weights, or use --precision float32"
    )


def _refuse_gaps(index: Index, missing: Collection[int]) -> None:
    """Refuse a cache that was begun with unreadable images skipped, where they are an error now."""
    sound = [index.record(number) for number in range(len(index.ranges())) if number not in missing]
    skipped = [sample for record in sound if record for sample in record.skipped]
    if skipped:
        raise TrustcacheError(
            f"{index.folder}: {len(skipped)} unreadable images were skipped, the first {skipped[0]}; keep it so with "
            "--on-bad-image skip, or mend them, remove that folder and extract again"
        )


def _index(
    classifier: Classifier, label: str, dataset: Dataset, data_root: Path, folder: Path, settings: ExtractSettings
) -> Index:
    manifest = dataset.manifest
    meaning = {
        "classifier": {"label": label, **classifier.identity()},
        "data": {
            "name": manifest.name,
            "fingerprint": dataset.fingerprint(),
            "samples": len(dataset),
            "variant": manifest.record()["variant"],
        },
        "precision": settings.precision,
        "store": settings.store,
        "shard_rows": settings.shard_rows,
    }
    made_with = {
        "trustcache": trustcache.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": pillow_version,
        "h5py": h5py.__version__,
    }
    weights = classifier.spec.weights
    made_from = {
        "manifest": manifest.record(),
        "data_root": str(data_root.resolve()),
        "weights": str(Path(weights).resolve()) if weights else None,
        "weights_sha256": file_sha256(Path(weights)) if weights else None,
    }
    return Index(folder, len(dataset), settings.shard_rows, meaning, made_from, made_with)
