"""Outputs of a classifier that were computed elsewhere: checked, and turned into the columns and the index of a cache.

Such a cache leads to no images and to no classifier: whatever needs neither works as with an extracted one.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from trustcache.cache.columns import COLUMNS
from trustcache.cache.index import Index
from trustcache.cache.meaning import DataMeaning, MadeFrom, Meaning, Stages
from trustcache.cache.outcome import outcome
from trustcache.cache.probabilities import SUM_APART, as_logits
from trustcache.cache.records import fingerprint
from trustcache.cache.versions import software_versions
from trustcache.data.content import content_of
from trustcache.data.manifest import Manifest
from trustcache.errors import UsageError, first_few, percent
from trustcache.models.identity import Identity
from trustcache.models.views import VIEWS, view_column, views_in

SHARD_ROWS = 2048
_OF_LABELS = ("labels", "correct", "true_class_prob")
# Rows from which on a figure of all of them is no accident.
_MANY = 100


@dataclass(frozen=True)
class Origin:
    """Names of a cache: of its classifier, of its data set, and the data set's role.

    identity: the classifier where it is known. stages: the modules whose outputs are kept, and how they are pooled.
    precision: of the forward pass. assumed: as of `MadeFrom`.
    """

    classifier: str = "model"
    data: str = "data"
    role: str = "test"
    identity: Identity | None = None
    stages: Stages | None = None
    precision: str = "unknown"
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportedOutputs:
    """Checked outputs for N samples; `import_outputs` makes one.

    arrays: by the names of a cache's columns, logits (N, K) among them. labels: int64 (N,). ids: N texts. classes: K
    names. store: the dtype they are kept in. precise: the logits before they are rounded to it. labelled: False where
    there are no labels, and zeros stand for them.
    """

    arrays: dict[str, np.ndarray]
    labels: np.ndarray
    ids: Sequence[str]
    classes: tuple[str, ...]
    store: str
    precise: np.ndarray
    labelled: bool = True

    def __len__(self) -> int:
        return len(self.labels)

    def columns(self, data: str, start: int = 0, stop: int | None = None) -> dict[str, np.ndarray]:
        """Return the columns of a cache for some rows, by name. data: the name of the data set."""
        rows = slice(start, stop)
        arrays = {name: array[rows].astype(self.store, copy=False) for name, array in self.arrays.items()}
        ids = [text.encode("utf-8", "surrogateescape") for text in self.ids[rows]]
        # A sample without its image is known by its name and by all that the classifier said about it.
        said = zip(ids, *arrays.values(), strict=True)
        content = [content_of(b"\0".join([data.encode(), one, *(row.tobytes() for row in r)])) for one, *r in said]
        return {
            "sample_indices": np.arange(start, start + len(ids)),
            "sample_ids": np.array(ids, dtype=bytes),
            "content": np.array(content, dtype=np.uint64),
            **outcome(self.precise[rows], self.labels[rows]),
            **arrays,
        }

    def names(self, start: int = 0, stop: int | None = None) -> str:
        """Return the SHA-256 over the ids, the labels and the class names of some samples."""
        digest = hashlib.sha256(self.labels[start:stop].astype("<i8").tobytes())
        digest.update("\0".join([*self.ids[start:stop], *self.classes]).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def index(self, folder: Path, origin: Origin, files: Mapping[str, str] = MappingProxyType({})) -> Index:
        """Return the index of a cache of them, which is not written yet. files: SHA-256 by path of what was read."""
        identity = origin.identity or Identity(origin.classifier, "", {}, "", None)
        meaning = Meaning(
            origin.classifier,
            identity,
            DataMeaning(origin.data, self.names(), len(self)),
            origin.precision,
            self.store,
            SHARD_ROWS,
            "stages" if "stages" in self.arrays else "last" if "features" in self.arrays else "none",
            stages=origin.stages,
            views=views_in(self.arrays),
        )
        manifest = Manifest(origin.data, origin.role, (), title=origin.data, classes=self.classes)
        made_from = MadeFrom(manifest, self.classes, "", None, None, {}, imported=dict(files), assumed=origin.assumed)
        return Index(folder, meaning, made_from, software_versions("numpy", "h5py"))


@dataclass(frozen=True)
class IndexInMemory(Index):
    """The index of a cache in memory; its fingerprint is that of the same cache on disk."""

    content: np.ndarray = field(compare=False)
    labelled: bool = True

    def holds(self, column: str) -> bool:
        return super().holds(column) and (self.labelled or column not in _OF_LABELS)

    def lacks(self, *columns: str) -> str:
        if column := next((name for name in columns if name in _OF_LABELS), None):
            return (
                f"{self.name}: has no labels, and {column} takes them; give them to Cache.from_arrays to fit, "
                "calibrate, compare or report"
            )
        gives = {"features": "features=ARRAY", **{view_column(view): f"views={{'{view}': ARRAY}}" for view in VIEWS}}
        remedy = ", ".join(gives.get(name, f"tc.extract, which keeps {name} of images") for name in columns)
        return f"{self.name}: was made without {', '.join(columns)}; make it again with {remedy}"

    @cached_property
    def rows(self) -> int:
        return len(self.content)

    def finished(self) -> bool:
        return True

    @cached_property
    def _fingerprint(self) -> str:
        parts = (self.content[start:stop].tobytes() for start, stop in self.ranges())
        return fingerprint([self.meaning, [hashlib.sha256(part).hexdigest() for part in parts]])


def import_outputs(
    arrays: Mapping[str, Any],
    labels: Any = None,
    ids: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    kind: str = "logits",
    where: Mapping[str, str] = MappingProxyType({}),
    store: str | None = None,
) -> ImportedOutputs:
    """Check outputs of a classifier, and return them as a cache has them.

    arrays: by the names of a cache's columns, logits (N, K) among them, of any dtype of numbers. labels: numbers (N,)
    from 0 to K - 1, or names among `classes`, None without. kind: "logits" or "probabilities". where: the files
    that things come from, by name, for messages. store: the dtype to keep them in, by default float16 where all are,
    else float32.
    Raises UsageError naming the file where lengths differ, numbers are not finite, labels are out of range, or logits
    are probabilities.

    >>> outputs = import_outputs({"logits": [[2.0, 0.5], [0.1, 0.3]]}, [0, 1])
    >>> len(outputs), outputs.classes, outputs.store
    (2, ('0', '1'), 'float32')
    """
    given = {name: _matrix(array, where.get(name, name)) for name, array in arrays.items()}
    halves = all(array.dtype == np.float16 for array in given.values())
    store = store or ("float16" if halves else "float32")
    name = where.get("logits", "logits")
    logits = given["logits"]
    if logits.shape[1] < 2:
        raise UsageError(f"{name}: has one column, which tells no classes apart; give one for each class")
    for other, array in given.items():
        _require_finite(array, store, where.get(other, other))
        _require_rows(len(array), len(logits), where.get(other, other), name)
    precise = as_logits(logits, kind, name)
    known = _class_names(classes, logits.shape[1], where.get("classes", "classes"), name)
    labelled = labels is not None
    given_labels = labels if labelled else np.zeros(len(logits), np.int64)
    numbers = _labels(given_labels, known, classes is not None, where.get("labels", "labels"), name)
    _require_rows(len(numbers), len(logits), where.get("labels", "labels"), name)
    texts = [str(one) for one in (range(len(logits)) if ids is None else ids)]
    _require_rows(len(texts), len(logits), where.get("ids", "ids"), name)
    if twice := next((text for text, count in Counter(texts).items() if count > 1), None):
        raise UsageError(f"{where.get('ids', 'ids')}: names '{twice}' twice; each sample needs an id of its own")
    columns = {**given, "logits": precise}
    for column in map(view_column, views_in(given)):
        if given[column].shape[1] != logits.shape[1]:
            raise UsageError(
                f"{column}: has {given[column].shape[1]:,} columns, and {name} has {logits.shape[1]:,}; give a view's "
                "outputs for the same classes"
            )
        columns[column] = as_logits(given[column], kind, column)
    return ImportedOutputs(columns, numbers, texts, known, store, precise, labelled)


def _matrix(array: Any, where: str) -> np.ndarray:
    """Return numbers as (N, width). Raises UsageError where they are none."""
    found = _array(array)
    if found.dtype.kind not in "fiu":
        raise UsageError(f"{where}: holds {found.dtype}, not numbers; give an array of floats")
    if found.ndim != 2 or not found.size:
        raise UsageError(
            f"{where}: has shape {found.shape}; give a matrix, a row a sample and a column a class or feature"
        )
    if min(found.strides) < 0:  # reversed rows, which torch does not take
        found = np.ascontiguousarray(found)
    return found if found.dtype in (np.float16, np.float32, np.float64) else found.astype(np.float64)


def _array(given: Any) -> np.ndarray:
    """Return an array, or a tensor of any device and dtype, as NumPy's."""
    if hasattr(given, "detach"):
        given = given.detach().cpu()
        given = given.float() if str(given.dtype) == "torch.bfloat16" else given  # which NumPy has not
    return np.asarray(given)


def _require_rows(here: int, rows: int, where: str, logits: str) -> None:
    if here != rows:
        raise UsageError(f"{where}: has {here:,} rows, and {logits} has {rows:,}; give those of the same samples")


def _require_finite(array: np.ndarray, store: str, where: str) -> None:
    largest = np.finfo(store).max
    for start in range(0, len(array), SHARD_ROWS):  # a column of gigabytes is not copied
        part = array[start : start + SHARD_ROWS]
        # A comparison with nan is False.
        sound = (np.abs(part) <= largest).all(axis=1)
        if not sound.all():
            row = start + int(sound.argmin())
            what = f"too large for {store}" if np.isfinite(array[row]).all() else "not finite (nan or infinite)"
            raise UsageError(f"{where}: row {row} (the first is 0) holds numbers that are {what}; mend or leave it out")


def _class_names(classes: Sequence[str] | None, number: int, where: str, logits: str) -> tuple[str, ...]:
    if classes is None:
        return tuple(map(str, range(number)))
    names = tuple(map(str, classes))
    if len(names) != number:
        raise UsageError(
            f"{where}: has {len(names):,} names, and {logits} has {number:,} columns; name every class once"
        )
    if len(set(names)) < number:
        raise UsageError(
            f"{where}: names '{next(n for n in names if names.count(n) > 1)}' twice; give each its own name"
        )
    return names


def _labels(labels: Any, classes: tuple[str, ...], named: bool, where: str, logits: str) -> np.ndarray:
    """Return the numbers of the classes, int64 (N,)."""
    found = _array(labels)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise UsageError(f"{where}: has shape {found.shape}; give one label a sample, the number of its class")
    if found.dtype.kind in "USO":
        numbers = {name: number for number, name in enumerate(classes)}
        if strange := [str(name) for name in found if str(name) not in numbers]:
            remedy = "correct it" if named else "name the classes in the order of the logits' columns with --classes"
            raise UsageError(
                f"{where}: has the label '{strange[0]}', which is none of {first_few(classes, 5)}; {remedy}"
            )
        return np.array([numbers[str(name)] for name in found], dtype=np.int64)
    if found.dtype.kind not in "fiu" or (found.dtype.kind == "f" and not (found == np.round(found)).all()):
        raise UsageError(
            f"{where}: holds {found.dtype} that are no whole numbers; give the number of each sample's class"
        )
    outside = (found < 0) | (found >= len(classes))
    if outside.any():
        row = int(outside.argmax())
        from_one = found.min() == 1 and found.max() == len(classes)
        remedy = "they seem to begin at 1: subtract 1" if from_one else "leave out samples of no class"
        raise UsageError(
            f"{where}: row {row} (the first is 0) has label {found[row]:g}, and {logits} has the classes 0 to "
            f"{len(classes) - 1}; {remedy}"
        )
    return found.astype(np.int64)


def doubts(outputs: ImportedOutputs) -> list[str]:
    """Return sentences on what can be right and seldom is: scaled probabilities as logits, labels of other rows.

    >>> doubts(import_outputs({"logits": [[40.0, 10.0], [5.0, 45.0]] * 60}, [0, 1] * 60))[0].split(";")[0]
    'logits: no number is negative and each row sums to 50, as in scaled probabilities'
    """
    found, rows, classes = [], len(outputs), len(outputs.classes)
    sums = outputs.precise.sum(axis=1, dtype=np.float64)
    if rows >= _MANY and outputs.precise.min() >= 0 and np.ptp(sums) <= SUM_APART * sums.mean():
        found.append(
            f"logits: no number is negative and each row sums to {sums.mean():.4g}, as in scaled probabilities; give "
            "logits, or probabilities that sum to one with --outputs probabilities (in Python, outputs='probabilities')"
        )
    right = float((outputs.precise.argmax(axis=1) == outputs.labels).mean())
    # Two standard deviations above the share that guesses get right.
    if outputs.labelled and rows >= _MANY and right <= 1 / classes + 2 * np.sqrt((1 - 1 / classes) / classes / rows):
        found.append(
            f"labels: the largest logit is the label's in {percent(right)} of {rows:,} rows, as if by chance; check "
            "that labels stand in the order of the rows and count the columns from 0"
        )
    return found


def in_memory(outputs: ImportedOutputs, origin: Origin) -> tuple[IndexInMemory, dict[str, np.ndarray]]:
    """Return the index and the columns of a cache that is kept in memory.

    >>> index, columns = in_memory(import_outputs({"logits": [[2.0, 0.5], [0.1, 0.3]]}, [0, 1]), Origin())
    >>> index.samples, index.holds("features"), columns["correct"]
    (2, False, array([ True,  True]))
    """
    columns = outputs.columns(origin.data)
    index = outputs.index(Path(origin.classifier, origin.data), origin)
    kept = IndexInMemory(**vars(index), content=columns["content"], labelled=outputs.labelled)
    return kept, {name: columns[name] for name in COLUMNS if name in columns and kept.holds(name)}
