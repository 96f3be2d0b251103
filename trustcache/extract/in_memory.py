"""Stage one for programs in Python: a classifier's outputs for images of any source, as a cache in memory."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from trustcache.cache import CacheView
from trustcache.cache.imported import Origin, import_outputs
from trustcache.cache.known_classes import require_classes
from trustcache.cache.meaning import Stages
from trustcache.cache.provenance import assumption
from trustcache.cache.view import cache_in_memory
from trustcache.data.copies import classifier_copies
from trustcache.data.dataset import Dataset, open_dataset
from trustcache.data.known_data import find_manifests
from trustcache.data.layouts.torch_dataset import class_names_of, label_number
from trustcache.data.loader import (
    Viewer,
    choose_device,
    computing,
    machine_at_its_limits,
    readable,
    shard_batches,
    viewed_batches,
)
from trustcache.data.pictures import parts_of, picture_of
from trustcache.data.pipeline import Waits, fetched
from trustcache.data.progress import Progress, silent
from trustcache.errors import UsageError, in_python
from trustcache.extract.batch_size import USUAL
from trustcache.extract.rows import AsMemoryAllows
from trustcache.extract.settings import ExtractSettings
from trustcache.models.classifiers import Classifier, as_classifier
from trustcache.models.label_spaces import judging
from trustcache.models.memory import keep_freed_memory
from trustcache.models.precision import resolved
from trustcache.models.probing import not_known
from trustcache.models.stage_features import POOLINGS
from trustcache.models.to_device import to_device
from trustcache.models.views import ALL
from trustcache.registry import check_options

_SETTINGS = ("batch_size", "workers", "device", "precision", "store", "features", "views")


@dataclass(frozen=True)
class _Seen:
    """A batch as a classifier takes it, (N, 3, H, W) on its device, with labels (N,)."""

    x: torch.Tensor
    labels: np.ndarray
    prepared: bool = True  # False for tensors of floats, which are what the model takes


@in_python()
def extract_in_memory(
    model: Classifier | nn.Module,
    data: Any,
    *,
    name: str | None = None,
    classes: Sequence[str] | None = None,
    preprocess: Mapping[str, Any] | None = None,
    data_root: str | Path = "data",
    progress: Progress = silent,
    **settings: Any,
) -> CacheView:
    """Return what a frozen classifier says about images, as a cache in memory.

    model: a torch module, which is copied, or a `Classifier`. data: images, a manifest or a known data set as `--data`
    names them (`data_root` holds the files of the last); a torch Dataset of images with labels; or a DataLoader of
    batches. Images are paths, PIL images, uint8 arrays or tensors; tensors of floats are what the model takes.
    name: of the data set, for tables. classes: names in label order, by default the data set's. preprocess: entries
    that replace the model's own preprocessing. settings: batch_size, workers, device, precision, store, features and
    views, as `trustcache extract` has them; unless told otherwise it keeps the logits of all views, which a strong
    oracle reads, and `views=()` takes a part of the time.
    From then on the process keeps freed memory (`keep_freed_memory`). Warns where the preprocessing is assumed.
    Raises UsageError for images of other classes than the model's, TrustcacheError for one that cannot be read.
    """
    if unknown := settings.keys() - _SETTINGS:
        raise TypeError(f"extract has no setting {min(unknown)!r}; it has {', '.join(_SETTINGS)}")
    check_options(ExtractSettings, settings, "extract")
    chosen = ExtractSettings(**{"views": (ALL,), **settings})
    if chosen.decode != "pil":
        raise UsageError(f"decode={chosen.decode!r}: is of trustcache extract, whose caches record it; leave it out")
    classifier, device = as_classifier(model, preprocess), choose_device(chosen.device)
    keep_freed_memory()
    chosen.require_ready(classifier)
    chosen = replace(chosen, precision=resolved(chosen.precision, device))
    classifier.model.to(device)
    dataset = _dataset(data, Path(data_root))
    known = classes or (dataset.classes if dataset else class_names_of(data, "extract")) or None
    if known:
        classifier = judging(classifier, name or "the data set", lambda: known)
        require_classes(classifier.num_classes, classifier.spec.name, name or "the data set", known)
    places = classifier.stage_places() if chosen.features == "stages" else ()
    if dataset:
        for line in dataset.notes() if isinstance(data, str | Path) else ():
            warnings.warn(f"{dataset.manifest.name}: {line}", stacklevel=2)
        seen = _of_dataset(dataset, classifier, device, chosen)
    else:
        seen = _of_given(data, classifier, device, chosen, known or ())
    with machine_at_its_limits(), progress(classifier.spec.name, _length(dataset or data)) as advance:
        made = list(_outputs(classifier, seen, places, chosen, device, advance))
    if not made:
        raise UsageError("extract: there are no images in the data; give some")
    ids = dataset.ids if dataset else None
    columns = {key: np.concatenate([part[key] for _, part in made]) for key in made[0][1]}
    found = import_outputs(columns, columns.pop("labels"), ids, known, store=chosen.store)
    stages = Stages(tuple(places), tuple(POOLINGS)) if places else None
    data_name = name or (dataset.manifest.name if dataset else "data")
    assumed = not_known(classifier) if any(prepared for prepared, _ in made) else ()
    origin = Origin(classifier.spec.name, data_name, "test", classifier.identity(), stages, chosen.precision, assumed)
    cache = cache_in_memory(found, origin)
    if told := assumption(cache.index):
        warnings.warn(told, stacklevel=4)
    return cache


def _outputs(
    classifier: Classifier,
    seen: Iterator[_Seen],
    places: Sequence[str],
    settings: ExtractSettings,
    device: torch.device,
    advance: Callable[[int], None],
) -> Iterator[tuple[bool, dict[str, np.ndarray]]]:
    """Yield for each batch if its images were prepared, and outputs and labels by the names of a cache's columns."""

    in_parts = AsMemoryAllows(lambda line: warnings.warn(line, stacklevel=2))

    def outputs_of(classifier: Classifier, batch: _Seen) -> dict[str, torch.Tensor]:
        with computing(classifier.spec.name, batch.x, settings.precision), torch.inference_mode():
            outputs = in_parts(len(batch.x), lambda some: classifier.outputs(batch.x[some], places, settings.views))
        if settings.features == "none":
            del outputs["features"]
        return outputs

    waits, copies = Waits(), classifier_copies(classifier, settings.batch_size or USUAL)
    with closing(copies.each(outputs_of, seen, waits)) as made:
        for batch, columns in fetched(made, device, waits):
            kept = {key: np.array(column) for key, column in columns.items()}  # a GPU's lie in memory that is pinned
            yield batch.prepared, {"labels": batch.labels, **kept}
            advance(len(batch.labels))


def _dataset(data: Any, data_root: Path) -> Dataset | None:
    """Return the data set that a name or a path leads to, None for images that are given themselves."""
    if isinstance(data, Dataset):
        return data
    if not isinstance(data, str | Path):
        return None
    manifests = find_manifests(str(data))
    if len(manifests) > 1:
        raise UsageError(f"{data}: names {len(manifests)} data sets; name one, such as {manifests[0].name}")
    return open_dataset(manifests[0], data_root)


def _of_dataset(
    dataset: Dataset, classifier: Classifier, device: torch.device, settings: ExtractSettings
) -> Iterator[_Seen]:
    viewer = Viewer(classifier.preprocessing, device, settings.workers, judged=classifier)
    batches = shard_batches([(0, len(dataset))], settings.batch_size or USUAL)
    for batch in readable(viewed_batches(dataset, viewer, batches)):
        yield _Seen(classifier.preprocessing.normalise(batch.pixels), batch.labels)


def _of_given(
    data: Any, classifier: Classifier, device: torch.device, settings: ExtractSettings, classes: Sequence[str]
) -> Iterator[_Seen]:
    transform = classifier.preprocessing.transform()
    pairs = iter(_pairs(data))
    while some := list(itertools.islice(pairs, settings.batch_size or USUAL)):
        pixels = to_device(torch.stack([picture_of(image).pixels(transform) for image, _ in some]), device)
        prepared = not pixels.is_floating_point()
        x = classifier.preprocessing.normalise(pixels) if prepared else pixels
        labels = np.array([label_number(label, classes, "extract") for _, label in some], dtype=np.int64)
        yield _Seen(x, labels, prepared)


def _pairs(data: Any) -> Iterable[tuple[Any, Any]]:
    """Yield images with their labels, of a DataLoader each of every batch."""
    if isinstance(data, DataLoader):
        for batch in data:
            yield from zip(*parts_of(batch), strict=True)
    else:
        try:
            rows = (data[i] for i in range(len(data)))
        except TypeError:  # no length: an iterable
            rows = iter(data)
        for row in rows:
            image, label = parts_of(row)
            yield image, label


def _length(data: Any) -> int:
    try:
        return len(getattr(data, "dataset", data))
    except TypeError:
        return 0
