"""Conformal prediction: how probable a class has to be to belong to an image's set of classes.

A class is in the set where its probability is at least its cut, a quantile of the probabilities that calibration images
gave to their true class: least ambiguous sets (Sadinle, Lei & Wasserman 2019, arXiv:1609.00451), by split conformal
prediction (Vovk, Gammerman & Shafer 2022). The package crepes makes the same sets from a p-value for each image and
class, which takes half an hour for 50,000 images of 1,000 classes; tests compare with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt


def fewest_samples(confidence: float) -> int:
    """Return how many samples a class takes at least, lest it be in every set: confidence / (1 - confidence).

    >>> fewest_samples(0.9), fewest_samples(0.95)
    (9, 19)
    """
    share = _exact(confidence)
    return math.ceil(share / (1 - share))


def cut(probabilities: npt.ArrayLike, confidence: float) -> float:
    """Return the least probability of a class in a set; 0, which takes in everything, where samples are too few.

    probabilities: (N,), which calibration samples gave to their true class. It is the one of rank ⌈(N + 1) confidence⌉
    from the largest, so a further sample like these reaches it with chance `confidence` or more.

    >>> cut([0.9, 0.2, 0.8, 0.7], 0.6), cut([0.9, 0.2, 0.8, 0.7], 0.9)
    (0.7, 0.0)
    """
    p = np.asarray(probabilities, dtype=np.float64)
    rank = math.ceil(_exact(confidence) * (len(p) + 1))
    return float(np.partition(p, len(p) - rank)[len(p) - rank]) if rank <= len(p) else 0.0


def class_cuts(probabilities: npt.ArrayLike, labels: npt.ArrayLike, classes: int, confidence: float) -> np.ndarray:
    """Return the cut of each of K classes, by the samples of that class alone (Mondrian), float64 (K,).

    probabilities: (N,), of the true class. labels: (N,) int.

    >>> class_cuts([0.9, 0.2, 0.8, 0.7], [0, 1, 0, 0], 2, 0.6)
    array([0.7, 0. ])
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    order = np.argsort(y, kind="stable")
    parts = np.split(p[order], np.searchsorted(y[order], np.arange(1, classes)))
    return np.array([cut(part, confidence) for part in parts])


@dataclass(frozen=True)
class SetFigures:
    """Worth of sets of classes on labelled samples.

    coverage: share of sets that hold the true class. mean_size: classes in a set. singletons, empty: shares of the sets
    of one class and of none. worst_class: the number of the class with the least coverage, which is `worst_coverage`
    on its `worst_samples`; the first of several.
    """

    samples: int
    coverage: float
    mean_size: float
    singletons: float
    empty: float
    worst_class: int
    worst_coverage: float
    worst_samples: int


def set_figures(sizes: npt.ArrayLike, covered: npt.ArrayLike, labels: npt.ArrayLike) -> SetFigures:
    """Return the figures of N > 0 sets. sizes: (N,) int; covered: bool (N,), if the label is in; labels: (N,) int.

    >>> found = set_figures([1, 2, 1], [True, True, False], [0, 0, 1])
    >>> found.worst_class, found.worst_coverage, found.singletons == 2 / 3
    (1, 0.0, True)
    """
    size, hit, y = np.asarray(sizes), np.asarray(covered, dtype=bool), np.asarray(labels)
    of_class = np.bincount(y)
    shares = np.where(of_class > 0, np.bincount(y, weights=hit) / np.maximum(of_class, 1), np.inf)
    worst = int(shares.argmin())
    return SetFigures(
        len(y),
        float(hit.mean()),
        float(size.mean()),
        float((size == 1).mean()),
        float((size == 0).mean()),
        worst,
        float(shares[worst]),
        int(of_class[worst]),
    )


def _exact(confidence: float) -> Fraction:
    """Return a confidence as it is written: in binary, 0.9 of 10 may be more than 9, which would be another rank."""
    return Fraction(repr(float(confidence)))
