"""Where a classifier's chosen score fails: by class, by pairs of classes that are confused, and image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trustcache.cache import CacheView
from trustcache.cache.provenance import data_roots
from trustcache.data.content import content_of
from trustcache.data.dataset import Dataset, open_dataset
from trustcache.data.samples import BadImage
from trustcache.errors import TrustcacheError
from trustcache.metrics.calibration import wilson
from trustcache.report.answer import Answer
from trustcache.report.samples import Samples, ScoreReader

if TYPE_CHECKING:
    from PIL import Image

SIDE = 96
"""Pixels of a thumbnail's longer side, at most."""
IMAGE_BYTES = 220_000
"""Bytes of all thumbnails of a report, at most: 300 kB as text."""
EACH = 8
"""Examples of each kind."""
_PAIRS = 12
_QUALITY = 80


class Share(NamedTuple):
    """A share, and the ends of its 95 % interval (Wilson's)."""

    value: float
    low: float
    high: float


def share(part: int, whole: int) -> Share:
    """Return a share with its interval; 0 with [0, 1] of nothing."""
    return Share(part / max(whole, 1), *map(float, wilson(part, whole)))


@dataclass(frozen=True)
class ClassFailures:
    """The samples of one true class: how many, how many of them are right, trusted, and trusted though wrong."""

    name: str
    n: int
    right: int
    trusted: int
    wrong_trusted: int

    @property
    def accuracy(self) -> Share:
        """Share of right answers."""
        return share(self.right, self.n)

    @property
    def risk(self) -> Share:
        """Share of wrong answers among the trusted."""
        return share(self.wrong_trusted, self.trusted)


@dataclass(frozen=True)
class Confusion:
    """Samples of one class that the classifier takes for another: how many, and how many of these are trusted."""

    label: str
    prediction: str
    n: int
    trusted: int


@dataclass(frozen=True)
class Example:
    """One sample. z: its score; mcp: the classifier's own confidence, in [0, 1]; image: WebP, b"" where it is gone."""

    sample: str
    label: str
    prediction: str
    right: bool
    trusted: bool
    z: float
    mcp: float
    image: bytes


@dataclass(frozen=True)
class Examples:
    """The most trusted wrong answers, the most doubted right ones, and those whose rank by mcp differs most."""

    trusted_wrong: Sequence[Example] = ()
    doubted_right: Sequence[Example] = ()
    disagreements: Sequence[Example] = ()


@dataclass(frozen=True)
class Failures:
    """The failures of an answer's score at its threshold, on its data set. classes: those that occur, as labelled."""

    answer: Answer
    classes: Sequence[ClassFailures]
    confused: Sequence[Confusion]
    examples: Examples


def failures(answers: Sequence[Answer], reader: ScoreReader, data_root: Path | None) -> list[Failures]:
    """Return the failures of each answer. data_root: where images may lie beside where they were; None for no images.

    Raises what reading scores raises.
    """
    found, budget = [], IMAGE_BYTES // max(len(answers), 1)
    for answer in answers:
        samples = reader.read(answer.record)
        names = class_names(samples.cache)
        trusted = samples.z > answer.threshold
        shown = Examples()
        if data_root is not None:
            shown = examples(samples, trusted, reader.confidence(samples), names, data_root, budget)
        found.append(Failures(answer, per_class(samples, trusted, names), confused(samples, trusted, names), shown))
    return found


def class_names(cache: CacheView) -> Sequence[str]:
    """Return the class names in label order, their numbers where the cache has none."""
    return cache.index.made_from.classes or tuple(map(str, range(cache.classes)))


def per_class(samples: Samples, trusted: np.ndarray, names: Sequence[str]) -> list[ClassFailures]:
    """Return the figures of each class that occurs. trusted: bool (n,)."""
    labels, right = samples.cache.labels[samples.rows], samples.correct

    def count(which: np.ndarray) -> list[int]:
        found: list[int] = np.bincount(labels[which], minlength=len(names)).tolist()
        return found

    everyone = np.ones(len(labels), dtype=bool)
    counted = zip(names, count(everyone), count(right), count(trusted), count(trusted & ~right), strict=True)
    return [ClassFailures(*each) for each in counted if each[1]]


def confused(samples: Samples, trusted: np.ndarray, names: Sequence[str], most: int = _PAIRS) -> list[Confusion]:
    """Return the pairs of true and predicted class that are confused most often."""
    labels, predictions = (column[samples.rows] for column in (samples.cache.labels, samples.cache.predictions))
    wrong = ~samples.correct
    pairs = labels * len(names) + predictions
    codes, counts = np.unique(pairs[wrong], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return [
        Confusion(
            names[code // len(names)], names[code % len(names)], int(n), int((trusted & wrong & (pairs == code)).sum())
        )
        for code, n in zip(codes[order].tolist(), counts[order].tolist(), strict=True)
    ]


def examples(
    samples: Samples, trusted: np.ndarray, mcp: np.ndarray, names: Sequence[str], data_root: Path, budget: int
) -> Examples:
    """Return examples with thumbnails of at most `budget` bytes in all. mcp: its log-odds (n,) of the same samples."""
    from scipy.special import expit

    order, right = np.argsort(samples.z, kind="stable"), samples.correct
    apart = np.abs(_ranks(samples.z) - _ranks(mcp))
    kinds = (
        order[::-1][~right[order[::-1]]][:EACH],
        order[right[order]][:EACH],
        np.argsort(-apart, kind="stable")[: EACH if apart.any() else 0],
    )
    dataset = _images(samples.cache, data_root)
    positions = np.flatnonzero(samples.rows)
    each = budget // max(sum(map(len, kinds)), 1)

    def example(i: int) -> Example:
        row = int(positions[i])
        view = samples.cache[row : row + 1]
        label, prediction = names[int(view.labels[0])], names[int(view.predictions[0])]
        image = _thumbnail(dataset, view, each) if dataset else b""
        about = bool(right[i]), bool(trusted[i]), float(samples.z[i]), float(expit(mcp[i]))
        return Example(view.sample_ids[0], label, prediction, *about, image)

    return Examples(*([example(i) for i in kind.tolist()] for kind in kinds))


def _ranks(z: np.ndarray) -> np.ndarray:
    """Return the rank of each score (n,), of equal ones their mean. (scipy.stats takes half a second to import.)"""
    _, group, sizes = np.unique(z, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    return ranks


def _images(cache: CacheView, data_root: Path) -> Dataset | None:
    """Return the data set of a cache, None where its images are gone or a classifier is needed to change them."""
    for root in data_roots(cache.index, data_root):
        try:
            dataset = open_dataset(cache.index.manifest, root)
        except TrustcacheError:
            continue
        return None if dataset.variation and dataset.variation.in_batches else dataset
    return None


def _thumbnail(dataset: Dataset, view: CacheView, limit: int) -> bytes:
    """Return the one image of a view as WebP of at most `limit` bytes; b"" where it is another one now, or larger."""
    number = int(view.sample_indices[0])
    try:
        if number >= len(dataset) or dataset.ids[number] != view.sample_ids[0]:
            return b""
        raw = dataset.samples.raw(number)
        if content_of(raw) != int(view.content[0]):
            return b""
        image = dataset.varied(number, dataset.prepared(number, raw))
    except BadImage:
        return b""
    data = _webp(image)
    return data if len(data) <= limit else b""


def _webp(image: Image.Image) -> bytes:
    image.thumbnail((SIDE, SIDE))
    file = BytesIO()
    # Of few pixels each counts, and they take few bytes.
    image.save(file, "WEBP", quality=_QUALITY, lossless=max(image.size) <= SIDE // 3)
    return file.getvalue()
