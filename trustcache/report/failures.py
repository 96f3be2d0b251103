"""Failures of a classifier's chosen score: by class, by pairs of classes that are confused, and image by image.

All of it is of the images that the answer is stated on; counts by class and pair are of each threshold of the page.
"""

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
from trustcache.report.explorer import trusted_counts
from trustcache.report.samples import Samples, ScoreReader
from trustcache.report.units import Unit

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


@dataclass(frozen=True, eq=False)
class ClassFailures:
    """The samples of one true class: how many there are, and how many of them are right.

    trusted, wrong_trusted: at each threshold of the method, int64 (K,), how many are trusted, and how many of these are
    wrong.
    """

    name: str
    n: int
    right: int
    trusted: np.ndarray
    wrong_trusted: np.ndarray

    @property
    def accuracy(self) -> Share:
        """Share of right answers."""
        return share(self.right, self.n)

    def risk(self, step: int) -> Share:
        """Return the share of wrong answers among the trusted."""
        return share(int(self.wrong_trusted[step]), int(self.trusted[step]))


@dataclass(frozen=True, eq=False)
class Confusion:
    """Samples of one class that the classifier takes for another; trusted: how many at each threshold, int64 (K,)."""

    label: str
    prediction: str
    n: int
    trusted: np.ndarray


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

    @property
    def seen(self) -> bool:
        """True if there is an image to look at."""
        return any(one.image for kind in vars(self).values() for one in kind)


@dataclass(frozen=True)
class Failures:
    """The failures of an answer's score on the images that it is stated on.

    step: the place of its threshold among those of its method. classes: those that occur, as labelled. examples: at
    its threshold.
    """

    answer: Answer
    step: int
    classes: Sequence[ClassFailures]
    confused: Sequence[Confusion]
    examples: Examples


def failures(units: Sequence[Unit], reader: ScoreReader, data_root: Path | None) -> list[Failures]:
    """Return the failures of the answer of each unit.

    data_root: where images may lie beside where they were; None for no images. Raises what reading scores raises.
    """
    found, budget = [], IMAGE_BYTES // max(len(units), 1)
    for unit in units:
        answer, thresholds = unit.answer, unit.methods[unit.chosen].explored.thresholds
        samples = reader.read(answer.record).among(answer.rows)
        names = class_names(samples.cache)
        shown = Examples()
        if data_root is not None:
            trusted = samples.z > answer.threshold
            shown = examples(samples, trusted, reader.confidence(samples), names, data_root, budget)
        counted = per_class(samples, thresholds, names), confused(samples, thresholds, names)
        found.append(Failures(answer, unit.step, *counted, shown))
    return found


def class_names(cache: CacheView) -> Sequence[str]:
    """Return the names of the K classes in label order, their numbers where the cache has none."""
    names = cache.index.made_from.classes
    return *names, *map(str, range(len(names), cache.classes))


def per_class(samples: Samples, thresholds: np.ndarray, names: Sequence[str]) -> list[ClassFailures]:
    """Return the figures of each class that occurs. thresholds: float64 (K,), falling."""
    labels, wrong = samples.cache.labels[samples.rows], ~samples.correct
    trusted, wrong_trusted = (
        trusted_counts(samples.z[which], labels[which], len(names), thresholds) for which in (slice(None), wrong)
    )
    n, bad = trusted[:, -1].tolist(), wrong_trusted[:, -1].tolist()
    counted = zip(names, n, bad, trusted, wrong_trusted, strict=True)
    return [ClassFailures(name, n, n - bad, *counts) for name, n, bad, *counts in counted if n]


def confused(samples: Samples, thresholds: np.ndarray, names: Sequence[str]) -> list[Confusion]:
    """Return the pairs of true and predicted class that are confused most often."""
    wrong = ~samples.correct
    labels, predictions = (column[samples.rows][wrong] for column in (samples.cache.labels, samples.cache.predictions))
    codes, pairs, counts = np.unique(labels * len(names) + predictions, return_inverse=True, return_counts=True)
    trusted = trusted_counts(samples.z[wrong], pairs, len(codes), thresholds)
    most = np.argsort(-counts, kind="stable")[:_PAIRS].tolist()
    return [
        Confusion(names[codes[i] // len(names)], names[codes[i] % len(names)], int(counts[i]), trusted[i]) for i in most
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
