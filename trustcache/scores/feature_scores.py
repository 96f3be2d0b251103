"""Trust scores from moments of training features: Delta-Mahalanobis, ViM and SIRC; in float64, blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy

from trustcache.scores.blocks import over_blocks, row_products, rows_beside, squared_lengths
from trustcache.scores.fitting import FittingData, Outputs, Rows, TooFew
from trustcache.scores.logit_scores import maximum_class_probability, negative_energy

BLOCK_ROWS = 4096
# Directions of less variance than this share of the largest hold nothing but the rounding of float16.
RANK_TOLERANCE = 1e-7
# A covariance whose least variance is below this share of the largest has no inverse in float64. Where shrinking helped
# at all, the least is above it: 1 / (samples x features) or so.
SINGULAR = 1e-12


def _blocks(*arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield equal slices of arrays of one length, as float64, a few thousand rows at a time."""
    for start in range(0, len(arrays[0]), BLOCK_ROWS):
        yield tuple(array[start : start + BLOCK_ROWS].astype(np.float64) for array in arrays)


@dataclass(frozen=True)
class ClassGaussians:
    """Classes as Gaussians of one covariance: means (K, D), and whitening (D, D) with W W^T its inverse, float64.

    >>> square = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> fitted = ClassGaussians.fit(square, np.zeros(4, int))
    >>> fitted.least_squares(np.array([[0.0, 0.0], [2.0, 0.0]])).round(6).tolist()
    [0.0, 4.0]
    """

    means: np.ndarray
    whitening: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, labels: np.ndarray) -> ClassGaussians:
        """Fit means of the classes there are, and the covariance about them, shrunk as Ledoit & Wolf (2004) have it.

        features (N, D) of any float dtype, labels (N,) int. With many samples this is the empirical covariance; with
        fewer wrong answers than features, as is common, that one has no inverse. Raises TooFew where there are too few
        for this one: two samples leave the uncertainty of their covariance unknown, so it is not shrunk; and where the
        features do not vary within a class.
        """
        from sklearn.covariance import ledoit_wolf

        present, rows = np.unique(labels, return_inverse=True)
        counts = np.bincount(rows)
        means = np.zeros((len(present), features.shape[1]))
        for x, own in _blocks(features, rows):
            np.add.at(means, own.astype(np.int64), x)
        means /= counts[:, None]
        centred = features.astype(np.float64)
        centred -= means[rows]
        if not centred.any():
            raise TooFew("its features do not vary within a class")
        values, vectors = scipy.linalg.eigh(ledoit_wolf(centred, assume_centered=True)[0])
        if values[0] <= SINGULAR * values[-1]:
            raise TooFew("it has too few right or too few wrong answers to tell how their features vary")
        return cls(means, vectors / np.sqrt(values))

    def least_squares(self, features: np.ndarray) -> np.ndarray:
        """Return the squared Mahalanobis distance to the nearest class mean, float64 (N,), from features (N, D)."""
        centre = self.means.mean(axis=0)  # about it, differences of large numbers stay small
        means = (self.means - centre) @ self.whitening
        lengths = squared_lengths(means)

        def one(rows: slice) -> np.ndarray:
            x = row_products(features[rows].astype(np.float64) - centre, self.whitening)
            return (lengths - 2 * row_products(x, means.T)).min(axis=1) + squared_lengths(x)

        return over_blocks(one, len(features), rows_beside(len(means), BLOCK_ROWS))


@dataclass(frozen=True)
class DeltaMahalanobis:
    """Squared Mahalanobis distance to the nearest class of wrong samples less that to the nearest of right ones.

    Heng & Soh 2025 (arXiv:2505.15008), Delta-MDS; classes are the true ones, each kind has a covariance of its own.

    >>> rows = Outputs({"features": np.zeros((1, 2))}.__getitem__)
    >>> DeltaMahalanobis(np.zeros((1, 2)), np.eye(2), np.ones((1, 2)), np.eye(2)).score(rows).round(6).tolist()
    [2.0]
    """

    right_means: np.ndarray
    right_whitening: np.ndarray
    wrong_means: np.ndarray
    wrong_whitening: np.ndarray

    @classmethod
    def fit(cls, data: FittingData) -> DeltaMahalanobis:
        right, wrong = (ClassGaussians.fit(kind.features, kind.labels) for kind in data.right_and_wrong())
        return cls(right.means, right.whitening, wrong.means, wrong.whitening)

    def score(self, rows: Outputs) -> np.ndarray:
        features = rows.features
        right = ClassGaussians(self.right_means, self.right_whitening).least_squares(features)
        return ClassGaussians(self.wrong_means, self.wrong_whitening).least_squares(features) - right


@dataclass(frozen=True)
class VirtualLogit:
    """ViM: energy less the features' residual outside their principal space, scaled like a logit.

    Wang et al. 2022 (arXiv:2203.10807). origin: (D,) the point that the classifier's last layer maps nearest to 0;
    residual: (D, R) an orthonormal basis of what the principal space leaves. The layer itself is found from
    features and logits, by least squares.

    >>> rows = Outputs({"features": np.array([[3.0, 4.0]]), "logits": np.array([[2.0, 1.0]])}.__getitem__)
    >>> VirtualLogit(origin=np.zeros(2), residual=np.eye(2)[:, :1], alpha=0.1).score(rows).round(3).tolist()
    [2.013]
    """

    origin: np.ndarray
    residual: np.ndarray
    alpha: float

    @classmethod
    def fit(cls, data: FittingData) -> VirtualLogit:
        rows = data.everyone
        weight, bias = fitted_last_layer(rows)
        origin = -np.linalg.pinv(weight.T) @ bias
        second = np.zeros((len(origin),) * 2)
        for (x,) in _blocks(rows.features):
            x -= origin
            second += x.T @ x
        _, vectors = scipy.linalg.eigh(second)  # ascending: the first are the residual's
        residual = vectors[:, : len(origin) - principal_dimensions(len(origin))]
        lengths = residual_length(rows.features, origin, residual)
        largest = np.concatenate([z.max(axis=1) for (z,) in rows.blocks(BLOCK_ROWS, "logits")])
        mean = float(largest.mean(dtype=np.float64))
        return cls(origin, residual, mean / max(float(lengths.mean()), np.finfo(np.float64).tiny))

    def score(self, rows: Outputs) -> np.ndarray:
        return negative_energy(rows.logits) - self.alpha * residual_length(rows.features, self.origin, self.residual)


def principal_dimensions(features: int) -> int:
    """Return the dimensions of ViM's principal space, those of the authors' code: 1000, 512 below 2048, half below 768.

    >>> principal_dimensions(2048), principal_dimensions(768), principal_dimensions(64)
    (1000, 512, 32)
    """
    return 1000 if features >= 2048 else 512 if features >= 768 else features // 2


def residual_length(features: np.ndarray, origin: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Return the length of the part of features (N, D) - origin (D,) within residual (D, R), float64 (N,).

    >>> residual_length(np.array([[3.0, 4.0]]), np.zeros(2), np.eye(2)[:, :1]).tolist()
    [3.0]
    """

    def one(rows: slice) -> np.ndarray:
        return np.sqrt(squared_lengths(row_products(features[rows].astype(np.float64) - origin, residual)))

    return over_blocks(one, len(features), BLOCK_ROWS)


def fitted_last_layer(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return what `last_layer` finds from training samples. Raises TooFew for no more of them than features.

    >>> from trustcache.cache import open_cache
    >>> cache = open_cache(demo_workspace.cache_folder("net", "birds"))
    >>> weight, bias = fitted_last_layer(Rows(cache, np.arange(30)))
    >>> weight.shape == (cache.features.shape[1], cache.logits.shape[1])
    True
    """
    samples, width = rows.features.shape
    if samples <= width:
        raise TooFew(f"it needs more samples than features, {width:,}, to find the last layer")
    return last_layer(lambda: rows.blocks(BLOCK_ROWS, "features", "logits"))


def last_layer(blocks: Callable[[], Iterable[tuple[np.ndarray, ...]]]) -> tuple[np.ndarray, np.ndarray]:
    """Find the linear layer that turns features into logits: weight (D, K) and bias (K,), float64.

    By least squares; along directions in which the features do not vary the weight is 0. blocks: gives the rows anew
    each time, as features (n, D) and logits (n, K).

    >>> weight, bias = last_layer(lambda: [(np.array([[0.0], [1.0]]), np.array([[1.0], [3.0]]))])
    >>> weight.round(6).tolist(), bias.round(6).tolist()
    ([[2.0]], [1.0])
    """
    x_mean, z_mean = _means(blocks())
    second, cross = np.zeros((len(x_mean),) * 2), np.zeros((len(x_mean), len(z_mean)))
    for features, logits in blocks():
        x = features - x_mean
        second += x.T @ x
        cross += x.T @ (logits - z_mean)
    values, vectors = scipy.linalg.eigh(second)
    kept = values > RANK_TOLERANCE * values[-1]
    basis = vectors[:, kept]
    weight = basis @ ((basis.T @ cross) / values[kept, None])
    return weight, z_mean - x_mean @ weight


def _means(blocks: Iterable[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    """Return the means of arrays' columns, float64 (D,) each, from blocks of rows: the same bits in any blocks."""
    sums: list[np.ndarray] | None = None
    count = 0
    for arrays in blocks:
        sums = sums or [np.zeros(array.shape[1]) for array in arrays]
        sums = [np.concatenate([total[None], array]).sum(axis=0) for total, array in zip(sums, arrays, strict=True)]
        count += len(arrays[0])
    assert sums
    return [total / count for total in sums]


@dataclass(frozen=True)
class SoftmaxRetaining:
    """SIRC of MCP with the features' L1 norm s: -log((1 - p)(1 + e^(-b (s - a)))), p the largest softmax probability.

    Xia & Bouganis 2022 (arXiv:2207.07506), Eq. 8, in logarithms, as in its code, so that p does not saturate.
    a = mean - 3 deviations and b = 1 / deviation of s on training data.

    >>> rows = Outputs({"features": np.array([[3.0, 4.0]]), "logits": np.array([[2.0, 1.0]])}.__getitem__)
    >>> SoftmaxRetaining(mean=7.0, deviation=1.0).score(rows).round(3).tolist()
    [1.265]
    """

    mean: float
    deviation: float

    @classmethod
    def fit(cls, data: FittingData) -> SoftmaxRetaining:
        lengths = _absolute_length(data.everyone.features)
        return cls(float(lengths.mean()), max(float(lengths.std()), np.finfo(np.float64).tiny))

    def score(self, rows: Outputs) -> np.ndarray:
        log_odds, lengths = maximum_class_probability(rows.logits), _absolute_length(rows.features)
        return np.logaddexp(0, log_odds) - np.logaddexp(0, -(lengths - self.mean) / self.deviation - 3)


def _absolute_length(features: np.ndarray) -> np.ndarray:
    return np.concatenate([np.abs(x).sum(axis=1) for (x,) in _blocks(features)])
