"""Stage one: run a frozen classifier once over a data set and keep its outputs in a cache."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trustcache.cache.index import Index, create_or_continue
from trustcache.cache.meaning import DataMeaning, MadeFrom, Meaning, Stages
from trustcache.cache.publish import file_sha256, sole_writer
from trustcache.cache.versions import software_versions
from trustcache.cache.view import CacheView, open_cache
from trustcache.cache.workspace import Workspace, plain_name
from trustcache.data.dataset import Dataset, open_dataset, require_files
from trustcache.data.machine import device_option, workers_option
from trustcache.data.manifest import Manifest
from trustcache.errors import TrustcacheError, UsageError
from trustcache.models.identity import McDropout
from trustcache.models.model_options import ModelOptions
from trustcache.progress import Advance, Progress, silent
from trustcache.protocols import PROTOCOLS
from trustcache.registry import option

if TYPE_CHECKING:  # torch takes seconds to import, and the command line reads the settings
    import torch

    from trustcache.models.classifiers import Classifier


@dataclass(frozen=True)
class ExtractSettings:
    """How to run an extraction.

    Logits come out as float32 under autocast too, and predictions are made before they are rounded to `store`.
    mc_dropout: ask this often more, with dropout on, and store how sure the classifier is then.
    features: "last" (the last layer's input), "stages" (those of `trustcache.models.stage_features` and the
    mirror image's logits too) or "none".
    """

    batch_size: int = option(64, "Images a forward pass.", min=1)
    workers: int = workers_option()
    device: str = device_option()
    precision: str = option(
        "float32", "Forward pass in float32 or under autocast.", choices=("float32", "bf16", "fp16")
    )
    store: str = option("float16", "Dtype of the stored logits and features.", choices=("float16", "float32"))
    shard_rows: int = option(2048, "Samples a shard.", min=1)
    on_bad_image: str = option(
        "error", "Stop at an unreadable image, or record and skip it.", choices=("error", "skip")
    )
    mc_dropout: McDropout | None = None
    features: str = option(
        "last",
        "What the last layer sees; for strong oracles every stage's output, pooled, and the mirror image's "
        "logits too, which takes twice the time; or none.",
        choices=("last", "stages", "none"),
    )


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

    label: the classifier's name in the workspace. data_root: the folder where the data set was found. Raises UsageError
    for a cache of another meaning, and for MC dropout of a classifier without dropout; TrustcacheError for bad images,
    non-finite logits, and a cache that another process is writing. What was published before stays, and the same call
    continues from there.
    """
    from trustcache.models.mc_dropout import require_dropout

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
    """Extract by a classifier that is known to have what the settings need."""
    from trustcache.data.loader import choose_device

    _check_classes(classifier, label, dataset.manifest.name, dataset.classes)
    device = choose_device(settings.device)
    places = classifier.stage_places() if settings.features == "stages" else ()
    wanted = _index(classifier, label, dataset, data_root, folder, settings, places)
    with sole_writer(folder):
        index = create_or_continue(wanted, dataset.fingerprint)
        missing = index.faults(progress)
        if settings.on_bad_image == "error":
            _refuse_gaps(index, missing)
        _fill(index, list(missing), classifier, dataset, settings, places, device, progress)
    return open_cache(folder)


def _fill(
    index: Index,
    missing: Sequence[int],
    classifier: Classifier,
    dataset: Dataset,
    settings: ExtractSettings,
    places: Sequence[str],
    device: torch.device,
    progress: Progress,
) -> None:
    """Make the shards of some numbers, in order."""
    from trustcache.data.loader import machine_at_its_limits

    ranges = [index.ranges()[number] for number in missing]
    total = sum(stop - start for start, stop in ranges)
    with machine_at_its_limits(), progress(f"{index.classifier} on {index.data}", total) as advance:
        classifier.model.to(device)
        batches = _batches(classifier, dataset, ranges, settings, places, device, advance)
        for number, (start, stop) in zip(missing, ranges, strict=True):
            columns, skipped = _shard(batches, stop)
            index.add(number, columns, skipped, dataset.fingerprint(start, stop))


def extract_each(
    classifier: Classifier,
    label: str,
    manifests: Sequence[Manifest],
    data_root: Path,
    workspace: Workspace,
    settings: ExtractSettings,
    progress: Progress = silent,
) -> Iterator[tuple[Manifest, CacheView | TrustcacheError]]:
    """Extract one data set after the other, and yield each one's cache, or the error that prevented it.

    Raises UsageError for MC dropout of a classifier without dropout.
    """
    from trustcache.models.mc_dropout import require_dropout

    if settings.mc_dropout:
        require_dropout(classifier)
    for manifest in manifests:
        try:
            dataset = open_dataset(manifest, data_root)
            folder = workspace.cache_folder(label, manifest.name)
            yield manifest, _extract(classifier, label, dataset, data_root, folder, settings, progress)
        except TrustcacheError as error:
            yield manifest, error


def load_as_asked(model: ModelOptions, weights: str | None, name: str | None, protocol: str) -> tuple[Classifier, str]:
    """Return the classifier that is asked for, as a protocol shows images to it, and its name in the workspace."""
    from trustcache.models.classifiers import load_classifier

    suffix = "" if protocol == "equations" else f"-{protocol}"
    classifier = load_classifier(model.spec(weights, PROTOCOLS[protocol].preprocessing))
    return classifier, plain_name(name or model.classifier + suffix)


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
class _Outputs:
    """The classifier's outputs for one batch, as a shard's columns. last: the last sample index of the batch."""

    columns: dict[str, np.ndarray]
    skipped: dict[str, str]
    last: int


def _batches(
    classifier: Classifier,
    dataset: Dataset,
    ranges: list[tuple[int, int]],
    settings: ExtractSettings,
    places: Sequence[str],
    device: torch.device,
    advance: Advance,
) -> Iterator[_Outputs]:
    """Yield outputs in order, in batches that never reach from one range into another."""
    import torch

    from trustcache.data.loader import Viewer, computing, shard_batches, viewed_batches
    from trustcache.models.mc_dropout import negative_predictive_entropy

    samples = shard_batches(ranges, settings.batch_size)
    viewer = Viewer(classifier.preprocessing, device, settings.workers, judged=classifier)
    for asked, batch in zip(samples, viewed_batches(dataset, viewer, samples), strict=True):
        if batch.bad and settings.on_bad_image == "error":
            raise TrustcacheError(next(iter(batch.bad.values())))
        rows, pixels = len(batch.indices), batch.pixels
        if not rows:  # a column of no rows has a width too: that of a black image
            pixels = torch.zeros(1, 3, *classifier.preprocessing.input_size, dtype=torch.uint8, device=device)
        outputs = _forward(classifier, pixels, settings.precision, places)
        if settings.features == "none":
            del outputs["features"]
        outputs = {name: output[:rows] for name, output in outputs.items()}
        columns = _columns(dataset, batch.indices, outputs, settings.store)
        if settings.mc_dropout:
            with computing(classifier.spec.name, batch.pixels, settings.precision):
                entropy = negative_predictive_entropy(classifier, batch.pixels, batch.indices, settings.mc_dropout)
            columns["mc_dropout"] = entropy.cpu().numpy()
        yield _Outputs(columns, {dataset.ids[i]: reason for i, reason in batch.bad.items()}, int(asked[-1]))
        advance(len(asked))


def _forward(
    classifier: Classifier, pixels: torch.Tensor, precision: str, places: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the classifier's outputs, by the names of a shard's columns."""
    import torch

    from trustcache.data.loader import computing

    with computing(classifier.spec.name, pixels, precision), torch.inference_mode():
        outputs = classifier.said(classifier.preprocessing.normalise(pixels), places, mirrored=bool(places))
        return {name: output.cpu().numpy() for name, output in outputs.items()}


def _shard(batches: Iterator[_Outputs], stop: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the columns and skipped images of the batches up to the one that ends at `stop`."""
    taken = [next(batches)]
    while taken[-1].last < stop - 1:
        taken.append(next(batches))
    columns = {name: np.concatenate([batch.columns[name] for batch in taken]) for name in taken[0].columns}
    return columns, {sample: reason for batch in taken for sample, reason in batch.skipped.items()}


def _columns(
    dataset: Dataset, indices: np.ndarray, outputs: dict[str, np.ndarray], store: str
) -> dict[str, np.ndarray]:
    ids = [dataset.ids[i] for i in indices]
    stored = {name: _stored(part, store, name, dataset, ids) for name, part in outputs.items()}
    logits = outputs["logits"]
    labels = dataset.labels[indices]
    prediction = logits.argmax(axis=1).astype(np.int64)
    return {
        "sample_indices": indices,
        "sample_ids": np.array([name.encode("utf-8", "surrogateescape") for name in ids], dtype=bytes),
        "labels": labels,
        "predictions": prediction,
        "correct": prediction == labels,
        "true_class_prob": _softmax_at(logits, labels),
        **stored,
    }


def _softmax_at(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    chosen = np.exp(shifted[np.arange(len(labels)), labels])
    return (chosen / np.exp(shifted).sum(axis=1)).astype(np.float32)


def _stored(values: np.ndarray, store: str, what: str, dataset: Dataset, ids: list[str]) -> np.ndarray:
    """Round to the stored dtype. Raises TrustcacheError for values that are not finite, before or after rounding."""
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
    from trustcache.models.stage_features import POOLINGS

    manifest = dataset.manifest
    data = DataMeaning(
        manifest.name,
        dataset.fingerprint(),
        len(dataset),
        manifest.variant,
        manifest.shows_crops,
        settings.batch_size if dataset.variation and dataset.variation.needs_classifier else None,
        dataset.part,
    )
    meaning = Meaning(
        label,
        classifier.identity(),
        data,
        settings.precision,
        settings.store,
        settings.shard_rows,
        settings.mc_dropout,
        settings.features,
        Stages(tuple(places), tuple(POOLINGS)) if places else None,
    )
    weights = Path(classifier.spec.weights).resolve() if classifier.spec.weights else None
    made_from = MadeFrom(
        manifest,
        tuple(dataset.classes),
        str(data_root.resolve()),
        str(weights) if weights else None,
        file_sha256(weights) if weights else None,
        classifier.spec.preprocessing,
    )
    return Index(folder, meaning, made_from, software_versions("torch", "numpy", "pillow", "h5py"))
