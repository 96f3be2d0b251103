"""TrustScore: how much farther the nearest other class lies than the predicted one (Jiang et al. 2018).

arXiv:1805.11783, as its code has it: the distance to a class is that to its second nearest sample, since a
training sample's nearest is itself; a class may first lose the share alpha of its samples that lie least densely.
Exact distances at the speed of float32 matrix products: these only pick each query's candidates.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from trustcache.scores.blocks import over_blocks, rows_beside, squared_lengths
from trustcache.scores.fitted_logit_scores import least_aurc
from trustcache.scores.fitting import FittingData, Outputs, TooFew
from trustcache.scores.neighbour_scores import nearest_squares, product_error

DENSITY_NEIGHBOURS = 10
# The paper's choice, "negative powers of 2", and no filter.
ALPHAS = (0.0, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
LEAST_DISTANCE = 1e-12
QUERY_ROWS = 512
CANDIDATES = 3


def trust_score(features: np.ndarray, predictions: np.ndarray, members: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the distance to the nearest other class over that to the predicted class, float64 (N,) >= 0.

    features (N, D) and members (M, D) of any float dtype; predictions (N,) and labels (M,) int. A class with fewer
    than two members is infinitely far: a sample predicted so scores 0. Raises ValueError where fewer than two
    classes have two members.

    >>> members, labels = np.array([[0.0], [1.0], [5.0], [6.0]]), np.array([0, 0, 1, 1])
    >>> trust_score(np.array([[0.0]]), np.array([0]), members, labels).round(3).tolist()
    [6.0]
    """
    classes = _Classes.sorted(members, labels)

    def one(rows: slice) -> np.ndarray:
        own, other = _own_and_other(features[rows].astype(np.float64) - classes.centre, predictions[rows], classes)
        return other / (own + LEAST_DISTANCE)

    return over_blocks(one, len(features), rows_beside(len(classes.labels), QUERY_ROWS))


@dataclass(frozen=True)
class _Classes:
    """Members about their mean; those of class `labels[c]` lie from `bounds[c]` to `bounds[c + 1]`."""

    centre: np.ndarray
    members: np.ndarray
    single: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    bounds: np.ndarray

    @classmethod
    def sorted(cls, members: np.ndarray, labels: np.ndarray) -> _Classes:
        counts = np.bincount(labels)
        present = np.flatnonzero(counts >= 2)
        if len(present) < 2:
            raise ValueError("TrustScore needs two classes with two members or more")
        order = np.argsort(labels, kind="stable")
        order = order[counts[labels[order]] >= 2]
        double = members[order].astype(np.float64)
        centre = double.mean(axis=0)
        double -= centre
        single = double.astype(np.float32)
        lengths = squared_lengths(single)
        return cls(centre, double, single, lengths, present, np.append(0, counts[present].cumsum()))


def _own_and_other(x: np.ndarray, predictions: np.ndarray, classes: _Classes) -> tuple[np.ndarray, np.ndarray]:
    """Return exact distances of queries x (n, D) to the predicted and to the nearest other class, float64 (n,) each.

    float32 squares pick three candidates in each class, and the class; the candidates' distances are then taken in
    float64. Where rounding may have hidden a nearer one, those to all members are.
    """
    candidates, squares, slack = _candidates(x.astype(np.float32), classes)
    place = np.searchsorted(classes.labels, predictions).clip(max=len(classes.labels) - 1)
    known = classes.labels[place] == predictions
    rows = np.arange(len(x))
    squares[rows[known], place[known]] = np.inf
    nearest = squares.argmin(axis=1)
    own, other = (_second(x, classes.members[candidates[rows, c]]) for c in (place, nearest))

    least = squares[rows, nearest]
    squares[rows, nearest] = np.inf
    gap = np.minimum(np.minimum(slack[rows, place], slack[rows, nearest]), squares.min(axis=1) - least)
    unsure = np.flatnonzero(gap < 2 * product_error(x.astype(np.float32), classes.lengths))
    exact = _exact(x[unsure], classes)
    own[unsure] = exact[np.arange(len(unsure)), place[unsure]]
    exact[known[unsure], place[unsure][known[unsure]]] = np.inf
    other[unsure] = exact.min(axis=1)
    own[~known] = np.inf
    return own, other


def _candidates(x: np.ndarray, classes: _Classes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each class the nearest members (n, C, 3), the second's square, and the third's less that (n, C).

    Squares are float32 and less the query's own length. A class of two has no third, and no certainty.
    """
    shape = len(x), len(classes.labels)
    candidates = np.empty((*shape, CANDIDATES), np.int64)
    values = np.empty((*shape, CANDIDATES), np.float32)
    rows = np.arange(len(x))
    for c, (first, last) in enumerate(itertools.pairwise(classes.bounds)):
        squares = x @ (-2 * classes.single[first:last].T)
        squares += classes.lengths[first:last]
        for i in range(CANDIDATES):
            nearest = squares.argmin(axis=1)
            candidates[:, c, i] = first + nearest
            values[:, c, i] = squares[rows, nearest]
            squares[rows, nearest] = np.inf
    third = np.where(np.isinf(values[:, :, 2]), values[:, :, 1], values[:, :, 2])
    return candidates, values[:, :, 1], third - values[:, :, 1]


def _exact(x: np.ndarray, classes: _Classes) -> np.ndarray:
    """Return the distance of queries (n, D) to the second nearest of all members of each class, float64 (n, C)."""
    exact = np.empty((len(x), len(classes.labels)))
    if len(x):
        for c, (first, last) in enumerate(itertools.pairwise(classes.bounds)):
            exact[:, c] = np.sqrt(nearest_squares(x, classes.members[first:last], 2)[:, 1])
    return exact


def _second(x: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return the second smallest distance of each query (n, D) to its own members (n, 3, D)."""
    return np.sqrt(np.partition(np.square(x[:, None] - members).sum(axis=2), 1, axis=1)[:, 1])


def density_radii(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each sample's distance to the tenth nearest of its class, itself the first, float64 (M,).

    features (M, D) of any float dtype, labels (M,) int. In a class of fewer than ten, the farthest counts.

    >>> density_radii(np.array([[0.0], [3.0]]), np.array([0, 0])).tolist()
    [3.0, 3.0]
    """
    radii = np.empty(len(features))
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        x = features[own].astype(np.float64)
        x -= x.mean(axis=0)  # about it, products round less
        k = min(DENSITY_NEIGHBOURS, len(own))
        radii[own] = np.sqrt(nearest_squares(x, x, k)[:, -1])
    return radii


def densest(radii: np.ndarray, labels: np.ndarray, alpha: float) -> np.ndarray:
    """Return True for the samples that stay if each class loses the share alpha of largest radius, bool (M,).

    >>> densest(np.array([1.0, 2.0, 9.0]), np.array([0, 0, 0]), alpha=0.5).tolist()
    [True, True, False]
    """
    kept = np.zeros(len(radii), dtype=bool)
    for label in np.unique(labels):
        own = labels == label
        kept[own] = radii[own] <= np.percentile(radii[own], (1 - alpha) * 100)
    return kept


@dataclass(frozen=True)
class TrustScore:
    """TrustScore to the densest samples of each class, alpha by least AURC. members (M, D), labels (M,)."""

    alpha: float
    members: np.ndarray
    labels: np.ndarray

    @classmethod
    def fit(cls, data: FittingData) -> TrustScore:
        features, labels = data.everyone.features, data.everyone.labels
        if np.count_nonzero(np.bincount(labels) >= 2 * DENSITY_NEIGHBOURS) < 2:
            raise TooFew(f"it needs {2 * DENSITY_NEIGHBOURS} samples of at least two classes")
        radii = density_radii(features, labels)
        kept, rows = [densest(radii, labels, alpha) for alpha in ALPHAS], data.validation
        scores = [trust_score(rows.features, rows.predictions, features[some], labels[some]) for some in kept]
        best = least_aurc(scores, rows.correct)
        return cls(ALPHAS[best], features[kept[best]], labels[kept[best]])

    def score(self, rows: Outputs) -> np.ndarray:
        return trust_score(rows.features, rows.predictions, self.members, self.labels)

    @property
    def chosen(self) -> dict[str, float | str]:
        return {"alpha": self.alpha}
