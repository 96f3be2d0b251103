"""Stage one: run a frozen classifier once over a data set and keep what it said in a cache."""

from __future__ import annotations

from collections.abc import Iterator
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
    index = create_or_continue(_index(classifier, label, dataset, data_root, folder, settings))
    missing = sorted(index.faults())
    ranges = [index.ranges()[number] for number in missing]
    device = choose_device(settings.device)
    classifier.model.to(device)
    with progress(f"{label} on {dataset.manifest.name}", sum(b - a for a, b in ranges)) as advance:
        answers = _answers(classifier, dataset, ranges, settings, device, advance)
        for number, (_, stop) in zip(missing, ranges, strict=True):
            _add_shard(index, number, dataset, _until(answers, stop), settings.store)
    return open_cache(folder)


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one. Raises UsageError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: not available here ({str(error).splitlines()[0]})") from None


def image_batches(
    dataset: Dataset, transform: Any, batches: list[np.ndarray], workers: int
) -> Iterator[tuple[np.ndarray, torch.Tensor, dict[int, str]]]:
    """Decode images batch by batch: sample indices (B,), uint8 pixels (B, 3, H, W), and the unreadable ones' reasons.

    Rows of unreadable images are left out of the first two; a batch of nothing else has zero rows.
    """
    loader = DataLoader(
        _Decoded(dataset, transform),
        batch_sampler=[batch.tolist() for batch in batches],
        num_workers=min(workers, len(batches)),
        collate_fn=_collate,
        generator=torch.Generator(),  # drawing its seed from the global one would shift a training's dropout
        pin_memory=torch.cuda.is_available(),
    )
    yield from loader


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


@dataclass(frozen=True)
class _Answer:
    """What the classifier said about one batch; `last` is the last sample index the batch was asked for."""

    indices: np.ndarray
    logits: np.ndarray
    features: np.ndarray
    bad: dict[int, str]
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
    transform = classifier.preprocessing.transform()
    precision = PRECISIONS[settings.precision]
    decoded = image_batches(dataset, transform, batches, settings.workers)
    for batch, (indices, pixels, bad) in zip(batches, decoded, strict=True):
        if bad and settings.on_bad_image == "error":
            raise TrustcacheError(next(iter(bad.values())))
        logits = features = torch.empty(0, 0)
        if len(indices):
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                logits, features = classifier(pixels.to(device, non_blocking=True))
        yield _Answer(indices, logits.cpu().numpy(), features.cpu().numpy(), bad, int(batch[-1]))
        advance(len(batch))


def _until(answers: Iterator[_Answer], stop: int) -> list[_Answer]:
    """The answers up to the one that ends at `stop`."""
    taken = [next(answers)]
    while taken[-1].last < stop - 1:
        taken.append(next(answers))
    return taken


def _add_shard(index: Index, number: int, dataset: Dataset, answers: list[_Answer], store: str) -> None:
    full = [a for a in answers if len(a.indices)]
    skipped = {dataset.ids[i]: reason for a in answers for i, reason in a.bad.items()}
    if not full:
        raise TrustcacheError(
            f"{dataset.manifest.name}: none of the images {dataset.ids[answers[0].last]} and before it in its shard "
            "can be read; check that the files are images"
        )
    indices = np.concatenate([a.indices for a in full])
    logits = np.concatenate([a.logits for a in full])
    features = np.concatenate([a.features for a in full])
    ids = [dataset.ids[i] for i in indices]
    labels = dataset.labels[indices]
    prediction = logits.argmax(axis=1)
    columns = {
        "sample_index": indices,
        "sample_id": np.array([name.encode("utf-8", "surrogateescape") for name in ids]),
        "label": labels,
        "prediction": prediction.astype(np.int64),
        "correct": prediction == labels,
        "true_class_prob": _softmax_at(logits, labels),
        "logits": _stored(logits, store, "logits", ids),
        "features": _stored(features, store, "features", ids),
    }
    index.add(number, columns, skipped)


def _softmax_at(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    chosen = np.exp(shifted[np.arange(len(labels)), labels])
    return (chosen / np.exp(shifted).sum(axis=1)).astype(np.float32)


def _stored(values: np.ndarray, store: str, what: str, ids: list[str]) -> np.ndarray:
    """Round to the stored dtype, refusing values that are no numbers or grow infinite by the rounding."""
    if not (finite := np.isfinite(values).all(axis=1)).all():
        raise TrustcacheError(
            f"{ids[int(finite.argmin())]}: the classifier's {what} are not finite; check its weights, "
            "or use --precision float32"
        )
    with np.errstate(over="ignore"):
        rounded = values.astype(store)
    if not (finite := np.isfinite(rounded).all(axis=1)).all():
        raise TrustcacheError(f"{ids[int(finite.argmin())]}: {what} too large for {store}; use --store float32")
    return rounded


def _index(
    classifier: Classifier, label: str, dataset: Dataset, data_root: Path, folder: Path, settings: ExtractSettings
) -> Index:
    manifest = dataset.manifest
    if len(dataset.classes) != classifier.num_classes:
        raise UsageError(
            f"{manifest.name}: {len(dataset.classes)} classes, but {label} tells {classifier.num_classes} apart; name "
            "the classifier's classes in its own order as 'classes' in a manifest, or use another classifier"
        )
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
        "on_bad_image": settings.on_bad_image,
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
