"""The images that lie there now against those that a cache was extracted from, by the hashes of their bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trustcache.cache.index import OTHER_IMAGES, Index
from trustcache.cache.meaning import ShardRecord
from trustcache.cache.view import CacheView, open_cache
from trustcache.data.dataset import Dataset
from trustcache.data.progress import Progress, silent
from trustcache.data.samples import BadImage
from trustcache.errors import TrustcacheError, UsageError, first_few

if TYPE_CHECKING:
    from trustcache.data.variants.variation import Batch

_NAMED = 3
_CLASSES_NAMED = 10


@dataclass(frozen=True)
class Differences:
    """Ids of the images that differ from a cache's, by how they do; `str` counts them and names the first.

    changed: have other bytes, or were skipped as unreadable and can be read. relabelled: are of another class. gone:
    only the cache has them. new: only the data set has them. classes: a sentence if the class names differ.
    """

    changed: list[str]
    relabelled: list[str]
    gone: list[str]
    new: list[str]
    classes: str = ""

    def __bool__(self) -> bool:
        return bool(self.changed or self.relabelled or self.gone or self.new or self.classes)

    def __str__(self) -> str:
        parts = [
            f"{len(ids)} {how} ({first_few(ids, _NAMED)})"
            for how, ids in vars(self).items()
            if ids and how != "classes"
        ]
        return "; ".join([*parts, *filter(None, [self.classes])])


def require_same_images(index: Index, dataset: Dataset, numbers: Iterable[int], progress: Progress = silent) -> None:
    """Compare the images of sound shards, by number, whose files were touched since they were compared last.

    The data set has the names, labels and sizes that the shards were extracted from. Raises UsageError where the bytes
    of an image are others.
    """
    touched = []
    for number in numbers:
        record = index.record(number)
        if record and (stamp := dataset.stamp(record.start, record.stop)) != record.stamp:
            touched.append((record, stamp))
    if not touched:
        return
    with progress(f"comparing images of {index.data}", sum(record.rows for record, _ in touched)) as advance:
        for record, _ in touched:
            view = _shard(index, record)
            numbers = view.sample_indices
            skipped = np.setdiff1d(np.arange(record.start, record.stop), numbers).tolist()
            if changed := _changed(dataset, numbers, view.content, skipped):
                names = first_few([dataset.ids[i] for i in changed], _NAMED)
                raise UsageError(
                    f"{index.folder}: {len(changed)} of the {record.stop - record.start} images of {record.file} have "
                    f"changed since they were extracted ({names}); {OTHER_IMAGES}"
                )
            advance(record.rows)
    with contextlib.suppress(OSError):  # a cache that cannot be written to is compared again next time
        for record, stamp in touched:
            index.restamp(record, stamp)


def compare_images(index: Index, dataset: Dataset, progress: Progress = silent, contents: bool = True) -> Differences:
    """Compare a data set with the images that a cache was extracted from, by id.

    contents: read every image; otherwise only if ids and labels are the same, and in shards where sizes are not.
    """
    found = Differences([], [], [], [], class_differences(dataset.classes, index.made_from.classes))
    here = {name: number for number, name in enumerate(dataset.ids)}
    kept: list[tuple[ShardRecord, np.ndarray, np.ndarray]] = []
    known: set[str] = set()
    for record in index.records():
        view = _shard(index, record)
        ids = view.sample_ids
        numbers = np.array([here.get(name, -1) for name in ids], dtype=np.int64)
        there = numbers >= 0
        known.update(ids, record.skipped)
        found.gone.extend(name for name in (*ids, *record.skipped) if name not in here)
        other = dataset.labels[numbers[there]] != view.labels[there]
        found.relabelled.extend(dataset.ids[number] for number in numbers[there][other])
        kept.append((record, numbers[there], view.content[there]))
    if index.finished():
        found.new.extend(name for name in dataset.ids if name not in known)
    if contents or not found:
        with progress(f"comparing images of {index.data}", len(known)) as advance:
            for record, numbers, content in kept:
                if contents or dataset.fingerprint(record.start, record.stop) != record.images:
                    skipped = [here[name] for name in record.skipped if name in here]
                    found.changed.extend(dataset.ids[i] for i in _changed(dataset, numbers, content, skipped))
                advance(record.stop - record.start)
    return found


def refuse_gaps(index: Index, missing: Collection[int]) -> None:
    """Raise TrustcacheError for a cache that was begun with unreadable images skipped, where they are an error now.

    missing: numbers of the shards that are to be made.

    >>> refuse_gaps(demo_workspace.find_cache("test"), [])
    """
    sound = [index.record(number) for number in range(len(index.ranges())) if number not in missing]
    skipped = [sample for record in sound if record for sample in record.skipped]
    if skipped:
        raise TrustcacheError(
            f"{index.folder}: {len(skipped)} unreadable images were skipped, the first {skipped[0]}; keep it so with "
            "--on-bad-image skip, or mend them, remove that folder and extract again"
        )


def class_differences(here: Sequence[str], there: Sequence[str]) -> str:
    """Say where two lists of class names in label order differ, the first ten labels; "" if they do not.

    >>> class_differences(["cat", "dog"], ["Cat", "dog"])
    "1 of 2 class names differ (label 0: 'cat' here, 'Cat' there)"
    """
    number = max(len(here), len(there))
    pairs = [tuple(repr(names[i]) if i < len(names) else "none" for names in (here, there)) for i in range(number)]
    apart = [f"label {i}: {ours} here, {theirs} there" for i, (ours, theirs) in enumerate(pairs) if ours != theirs]
    more = f" and {len(apart) - _CLASSES_NAMED} more" if len(apart) > _CLASSES_NAMED else ""
    return f"{len(apart)} of {number} class names differ ({'; '.join(apart[:_CLASSES_NAMED])}{more})" if apart else ""


def training_images(caches: Iterable[Index]) -> dict[str, np.ndarray]:
    """Return the contents, sorted, of the images in each finished training cache, uint64 (N,), by its data's name.

    >>> training_images([demo_workspace.find_cache("test")])
    {}
    """
    training = {index.data: index for index in caches if index.role == "train" and index.finished()}
    return {name: np.unique(open_cache(training[name].folder).content) for name in sorted(training)}


def unchanged(batches: Iterator[Batch], cache: CacheView) -> Iterator[Batch]:
    """Yield the batches of images of a cache. Raises UsageError at the first image that has changed since."""
    for batch in batches:
        rows = np.searchsorted(cache.sample_indices, batch.indices)
        other = np.flatnonzero(cache.content[rows] != batch.content)
        if len(other):
            name = cache[rows[other[0]] : rows[other[0]] + 1].sample_ids[0]
            raise UsageError(
                f"{cache.index.data}: {name} has changed since {cache.index.folder} was extracted; put the image back, "
                "or remove that folder and extract again"
            )
        yield batch


def _shard(index: Index, record: ShardRecord) -> CacheView:
    return CacheView(index, [record], 0, record.rows)


def _changed(dataset: Dataset, numbers: np.ndarray, content: np.ndarray, skipped: Iterable[int]) -> list[int]:
    """Return the numbers of images whose bytes are others, or that were skipped as unreadable and can be read now."""
    now = dataset.contents(numbers.tolist())
    changed = [n for n, was, here in zip(numbers.tolist(), content.tolist(), now, strict=True) if was != here]
    return changed + [number for number in skipped if _readable(dataset, number)]


def _readable(dataset: Dataset, number: int) -> bool:
    try:
        dataset.samples.read(number)
    except BadImage:
        return False
    return True
