"""Stage one: run a frozen classifier once over a data set and keep what it said in a cache."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trustcache.cache.index import Index, create_or_continue
from trustcache.cache.meaning import DataMeaning, MadeFrom, Meaning, Stages
from trustcache.cache.publish import file_sha256
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

    `label` is the classifier's name in the workspace, `data_root` where the data set was found. Raises UsageError
    where the cache there means something else, and for MC dropout of a classifier without dropout; TrustcacheError
    for bad images and non-finite logits. Everything published before that stays, and the same call goes on from there.
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
    """`extract` by a classifier that is known to have what the settings need."""
    from trustcache.data.loader import choose_device, machine_at_its_limits

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
    import torch

    from trustcache.data.loader import Viewer, computing, shard_batches, viewed_batches
    from trustcache.models.mc_dropout import negative_predictive_entropy

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
    """Return the classifier's outputs, by the names of a shard's columns."""
    import torch

    from trustcache.data.loader import computing

    with computing(classifier.spec.name, pixels, precision), torch.inference_mode():
        said = classifier.said(classifier.preprocessing.normalise(pixels), places, mirrored=bool(places))
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
