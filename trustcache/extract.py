"""Stage one: run a frozen classifier once over a data set and keep what it said in a cache."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from trustcache.cache.index import Index, create_or_continue
from trustcache.cache.publish import file_sha256
from trustcache.cache.versions import software_versions
from trustcache.cache.view import CacheView, open_cache
from trustcache.cache.workspace import Workspace
from trustcache.data.dataset import Dataset, open_dataset, require_files
from trustcache.data.loader import (
    Viewer,
    choose_device,
    computing,
    machine_at_its_limits,
    shard_batches,
    viewed_batches,
)
from trustcache.data.manifest import Manifest
from trustcache.errors import TrustcacheError, UsageError
from trustcache.models.classifiers import Classifier
from trustcache.models.mc_dropout import McDropout, negative_predictive_entropy, require_dropout
from trustcache.models.stage_features import POOLINGS
from trustcache.progress import Advance, Progress, silent


@dataclass(frozen=True)
class ExtractSettings:
    """How to run an extraction.

    precision: the forward pass in float32, or under bf16 or fp16 autocast (logits come out as float32).
    store: dtype of the stored logits and features; predictions are made before the rounding.
    shard_rows: samples a shard. workers: decoding processes (0: in this process). on_bad_image: "error" or "skip".
    mc_dropout: ask this often more, with dropout on, and store how sure the classifier is then.
    features: "last" (the last layer's input), "stages" (those of `trustcache.models.stage_features` and the
    mirror image's logits too) or "none".
    """

    batch_size: int = 64
    workers: int = 2
    device: str = "auto"
    precision: str = "float32"
    store: str = "float16"
    shard_rows: int = 2048
    on_bad_image: str = "error"
    mc_dropout: McDropout | None = None
    features: str = "last"


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
    where the cache there means something else, and for MC dropout of a classifier without dropout; TrustcacheError
    for bad images and non-finite logits. Everything published before that stays, and the same call goes on from there.
    """
    if settings.mc_dropout:
        require_dropout(classifier)
    return _extract(classifier, label, dataset, data_root, folder, settings, progress)


def _extract(
    classifier: Classifier,
    label: str,
    dataset: Dataset,
    data_root: Path,
    folder: Path,
    settings: ExtractSettings,
    progress: Progress,
) -> CacheView:
    """`extract` by a classifier that is known to have what the settings need."""
    _check_classes(classifier, label, dataset.manifest.name, dataset.classes)
    device = choose_device(settings.device)

    places = classifier.stage_places() if settings.features == "stages" else ()
    index = create_or_continue(
        _index(classifier, label, dataset, data_root, folder, settings, places), dataset.fingerprint
    )
    missing = index.faults(progress)
    if settings.on_bad_image == "error":
        _refuse_gaps(index, missing)
    ranges = [index.ranges()[number] for number in missing]
    total = sum(stop - start for start, stop in ranges)
    with machine_at_its_limits(), progress(f"{label} on {dataset.manifest.name}", total) as advance:
        classifier.model.to(device)
        answers = _answers(classifier, dataset, ranges, settings, places, device, advance)
        for number, (start, stop) in zip(missing, ranges, strict=True):
            columns, skipped = _shard(answers, stop)
            index.add(number, columns, skipped, dataset.fingerprint(start, stop))
    return open_cache(folder)


def extract_each(
    classifier: Classifier,
    label: str,
    manifests: Sequence[Manifest],
    data_root: Path,
    workspace: Workspace,
    settings: ExtractSettings,
    progress: Progress = silent,
) -> Iterator[tuple[Manifest, CacheView | TrustcacheError]]:
    """Extract one data set after the other, and give each one's cache or the error that kept it from being made.

    Raises UsageError for MC dropout of a classifier without dropout.
    """
    if settings.mc_dropout:
        require_dropout(classifier)
    for manifest in manifests:
        try:
            dataset = open_dataset(manifest, data_root)
            folder = workspace.cache_folder(label, manifest.name)
            yield manifest, _extract(classifier, label, dataset, data_root, folder, settings, progress)
        except TrustcacheError as error:
            yield manifest, error


def accuracy_within_subset(cache: CacheView) -> float | None:
    """The share of right answers where only the classes that occur may be answered, None where all of them occur.

    The usual figure for ImageNet-A and -R, whose images are of 200 of the 1000 classes.
    """
    manifest = cache.index.manifest()
    if not manifest.subset or not manifest.classes:
        return None
    members = np.array([manifest.classes.index(name) for name in manifest.subset])
    right = sum(int((members[c.logits[:, members].argmax(axis=1)] == c.labels).sum()) for c in cache.chunks())
    return right / len(cache)


def require_ready(classifier: Classifier, label: str, manifests: Sequence[Manifest], data_root: Path) -> None:
    """Raise UsageError for the first data set that cannot be extracted, before hours of work on those before it."""
    for manifest in manifests:
        require_files(manifest, data_root)
        classes = manifest.classes or open_dataset(manifest, data_root).classes
        _check_classes(classifier, label, manifest.name, classes)


def _check_classes(classifier: Classifier, label: str, data: str, classes: Sequence[str]) -> None:
    if len(classes) != classifier.num_classes:
        raise UsageError(
            f"{data}: {len(classes)} classes, but {label} tells {classifier.num_classes} apart; name the classifier's "
            "classes in its own order as 'classes' in a manifest, or use another classifier"
        )


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
    places: Sequence[str],
    device: torch.device,
    advance: Advance,
) -> Iterator[_Answer]:
    """Answers in order, in batches that never reach from one range into another."""
    batches = shard_batches(ranges, settings.batch_size)
    viewer = Viewer(classifier.preprocessing, device, settings.workers, judged=classifier)
    for asked, batch in zip(batches, viewed_batches(dataset, viewer, batches), strict=True):
        if batch.bad and settings.on_bad_image == "error":
            raise TrustcacheError(next(iter(batch.bad.values())))
        rows, pixels = len(batch.indices), batch.pixels
        if not rows:  # asked about black, for a column of no rows has a width too
            pixels = torch.zeros(1, 3, *classifier.preprocessing.input_size, dtype=torch.uint8, device=device)
        said = _forward(classifier, pixels, settings.precision, places)
        if settings.features == "none":
            del said["features"]
        columns = _columns(dataset, batch.indices, {name: part[:rows] for name, part in said.items()}, settings.store)
        if settings.mc_dropout:
            with computing(classifier.spec.name, batch.pixels, settings.precision):
                entropy = negative_predictive_entropy(classifier, batch.pixels, batch.indices, settings.mc_dropout)
            columns["mc_dropout"] = entropy.cpu().numpy()
        yield _Answer(columns, {dataset.ids[i]: reason for i, reason in batch.bad.items()}, int(asked[-1]))
        advance(len(asked))


def _forward(
    classifier: Classifier, pixels: torch.Tensor, precision: str, places: Sequence[str]
) -> dict[str, np.ndarray]:
    """What the classifier says, by the names of a shard's columns."""
    with computing(classifier.spec.name, pixels, precision), torch.inference_mode():
        said = classifier.outputs(classifier.preprocessing.normalise(pixels), places, mirrored=bool(places))
        return {name: part.cpu().numpy() for name, part in said.items()}


def _shard(answers: Iterator[_Answer], stop: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The columns and skipped images of the answers up to the one that ends at `stop`."""
    taken = [next(answers)]
    while taken[-1].last < stop - 1:
        taken.append(next(answers))
    columns = {name: np.concatenate([answer.columns[name] for answer in taken]) for name in taken[0].columns}
    return columns, {sample: reason for answer in taken for sample, reason in answer.skipped.items()}


def _columns(dataset: Dataset, indices: np.ndarray, said: dict[str, np.ndarray], store: str) -> dict[str, np.ndarray]:
    ids = [dataset.ids[i] for i in indices]
    stored = {name: _stored(part, store, name, dataset, ids) for name, part in said.items()}
    logits = said["logits"]
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
    classifier: Classifier,
    label: str,
    dataset: Dataset,
    data_root: Path,
    folder: Path,
    settings: ExtractSettings,
    places: Sequence[str],
) -> Index:
    manifest = dataset.manifest
    meaning = {
        "classifier": {"label": label, **classifier.identity()},
        "data": {
            "name": manifest.name,
            "fingerprint": dataset.fingerprint(),
            "samples": len(dataset),
            "variant": manifest.record()["variant"],
            "crops": manifest.shows_crops,
            # The last digits of an attack's images depend on which of them are made together.
            "batch_size": settings.batch_size if dataset.variation and dataset.variation.needs_classifier else None,
            # Left out of a whole data set's, so that caches from before it was thought of go on meaning the same.
            **({"subset": dataset.part} if dataset.part else {}),
        },
        "precision": settings.precision,
        "store": settings.store,
        "shard_rows": settings.shard_rows,
        # Left out where it is off, so that caches from before it was thought of go on meaning the same.
        **({"mc_dropout": asdict(settings.mc_dropout)} if settings.mc_dropout else {}),
        **({"features": settings.features} if settings.features != "last" else {}),
        **({"stages": {"places": list(places), "poolings": list(POOLINGS)}} if places else {}),
    }
    made_with = software_versions("torch", "numpy", "pillow", "h5py")
    weights = classifier.spec.weights
    made_from = {
        "manifest": manifest.record(),
        "classes": list(dataset.classes),
        "data_root": str(data_root.resolve()),
        "weights": str(Path(weights).resolve()) if weights else None,
        "weights_sha256": file_sha256(Path(weights)) if weights else None,
    }
    return Index(folder, len(dataset), settings.shard_rows, meaning, made_from, made_with)
