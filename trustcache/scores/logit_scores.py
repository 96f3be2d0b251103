"""Trust scores that need no fitting: functions of a classifier's logits alone, higher = more trustworthy.

All are written in the gaps between the largest logit and the others, so that none saturates where a softmax
probability is 1 to machine precision, and all take rows in small blocks, whose intermediate arrays stay in a CPU's
cache.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trustcache.scores.blocks import over_blocks

# 128 rows of 1000 classes are 1 MB: larger arrays leave the cache, and take three times as long.
BLOCK_ROWS = 128
GENERALISED_POWER, GENERALISED_CLASSES = 0.1, 100


def by_blocks(score: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Make a score of float64 logits (n, K) take logits of any float dtype and length; extra arguments are passed on.

    Raises ValueError on logits that are not (N, K) with K >= 2: one class leaves nothing to doubt.

    >>> second = by_blocks(lambda z: np.sort(z, axis=1)[:, -2])
    >>> second(np.array([[4, 1, 0]], np.float16)).tolist()
    [1.0]
    """

    @functools.wraps(score)
    def in_blocks(logits: np.ndarray, *settings: object) -> np.ndarray:
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise ValueError(f"expected logits of shape (N, K) with K >= 2, not {logits.shape}")
        return over_blocks(lambda rows: score(logits[rows].astype(np.float64), *settings), len(logits), BLOCK_ROWS)

    return in_blocks


@dataclass(frozen=True)
class Odds:
    """Odds of the classes that are not predicted against the one that is; their sum is (1 - p)/p.

    gap: (n, K) each logit less the largest, 0 at the prediction. margin: (n,) the least of the others' gaps, >= 0.
    weight: (n, K) odds over the largest of them, e^(gap + margin), 0 at the prediction. log_sum: (n,) log of their
    sum; as odds underflow where the classifier is sure, only `log_sum` tells such samples apart.
    """

    gap: np.ndarray
    margin: np.ndarray
    weight: np.ndarray
    log_sum: np.ndarray


def odds(z: np.ndarray) -> Odds:
    """Return the odds of float64 logits (n, K).

    >>> odds(np.array([[4.0, 1.0, 0.0]])).gap.tolist()
    [[0.0, -3.0, -4.0]]
    """
    top = z.argmax(axis=1)[:, None]
    gap = z - np.take_along_axis(z, top, axis=1)
    np.put_along_axis(gap, top, -np.inf, axis=1)
    margin = -gap.max(axis=1)
    weight = gap + margin[:, None]
    np.exp(weight, out=weight)
    np.put_along_axis(gap, top, 0.0, axis=1)
    return Odds(gap, margin, weight, np.log(weight.sum(axis=1)) - margin)


@by_blocks
def maximum_class_probability(z: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return the log-odds of the largest softmax probability p, float64 (N,), from logits (N, K) of any float dtype.

    Hendrycks & Gimpel 2017 (arXiv:1610.02136); p is that of softmax(logits / temperature) (Guo et al. 2017,
    arXiv:1706.04599). log(p / (1 - p)) ranks as p does and never saturates at 1; it is above 0 where p is above one
    half, as an oracle's z is.

    >>> logits = np.array([[4.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    >>> maximum_class_probability(logits).round(3).tolist()
    [2.687, -0.693]
    """
    return -odds(z / temperature).log_sum


@by_blocks
def logit_margin(z: np.ndarray) -> np.ndarray:
    """Return the largest logit less the second largest, float64 (N,) >= 0, from logits (N, K) of any float dtype.

    The softmax's confidence margin before normalisation: Liang et al. 2024 (arXiv:2405.05160); a likelihood ratio in
    Heng & Soh 2025 (arXiv:2505.15008).

    >>> logit_margin(np.array([[4.0, 1.0, 0.0], [2.0, 1.5, 1.0]])).tolist()
    [3.0, 0.5]
    """
    return odds(z).margin


@by_blocks
def max_logit(z: np.ndarray) -> np.ndarray:
    """Return the largest logit, float64 (N,), from logits (N, K) of any float dtype.

    Hendrycks et al. 2022 (arXiv:1911.11132). Unlike the others here it changes when a constant is added to all logits
    of a sample.

    >>> max_logit(np.array([[4.0, 1.0, 0.0]])).tolist()
    [4.0]
    """
    return z.max(axis=1)


@by_blocks
def negative_entropy(z: np.ndarray) -> np.ndarray:
    """Return minus the entropy of the softmax in nats, float64 (N,) in [-log K, 0], from logits (N, K) of any dtype.

    Shannon's entropy as a measure of a prediction's total uncertainty: Malinin & Gales 2018 (arXiv:1802.10501).

    >>> negative_entropy(np.array([[4.0, 1.0, 0.0], [1.0, 1.0, 1.0]])).round(3).tolist()
    [-0.274, -1.099]
    """
    against = odds(z)
    # H = -log p + sum of odds * -gap, times p; every term is positive, so nothing cancels where H is small.
    normaliser = np.logaddexp(0.0, against.log_sum)
    rest = (against.weight * against.gap).sum(axis=1)
    return rest * np.exp(-against.margin - normaliser) - normaliser


@by_blocks
def negative_generalised_entropy(z: np.ndarray) -> np.ndarray:
    """Return minus the sum of (p (1 - p))^0.1 over the 100 likeliest classes, float64 (N,) < 0, from logits (N, K).

    GEN with the settings of its paper: Liu et al. 2023 (openreview.net/forum?id=Sie7oeTABS). p is the softmax.

    >>> negative_generalised_entropy(np.array([[4.0, 1.0, 0.0], [1.0, 1.0, 1.0]])).round(3).tolist()
    [-2.152, -2.581]
    """
    against = odds(z)
    normaliser = np.logaddexp(0.0, against.log_sum)[:, None]
    log_p = against.gap - normaliser
    top = z.argmax(axis=1)[:, None]
    rest = np.log1p(-np.exp(np.minimum(log_p, -np.log(2))))  # no class but the first has more than a half
    np.put_along_axis(rest, top, against.log_sum[:, None] - normaliser, axis=1)
    terms = np.exp(GENERALISED_POWER * (log_p + rest))
    likeliest = np.argsort(-log_p, axis=1, kind="stable")[:, :GENERALISED_CLASSES]
    return -np.take_along_axis(terms, likeliest, axis=1).sum(axis=1)


def negative_predictive_entropy(mc_dropout: np.ndarray) -> np.ndarray:
    """Return the cached column, minus the entropy of the mean softmax with dropout on, as float64 (N,).

    Gal & Ghahramani 2016 (arXiv:1506.02142).

    >>> negative_predictive_entropy(np.array([-0.5], np.float32)).tolist()
    [-0.5]
    """
    return mc_dropout.astype(np.float64)


@by_blocks
def negative_energy(z: np.ndarray) -> np.ndarray:
    """Return log of the sum of e^logit, the negative free energy at temperature 1, float64 (N,), from logits (N, K).

    Liu et al. 2020 (arXiv:2010.03759).

    >>> negative_energy(np.array([[4.0, 1.0, 0.0]])).round(3).tolist()
    [4.066]
    """
    return z.max(axis=1) + np.logaddexp(0.0, odds(z).log_sum)


@by_blocks
def doctor(z: np.ndarray) -> np.ndarray:
    """Return log(g / (1 - g)), g the sum of squared softmax probabilities, float64 (N,), from logits (N, K).

    Minus the logarithm of Doctor's D_alpha: Granese et al. 2021 (arXiv:2106.02395). (Its D_beta ranks as MCP does.)

    >>> doctor(np.array([[4.0, 1.0, 0.0], [1.0, 1.0, 1.0]])).round(3).tolist()
    [1.983, -0.693]
    """
    against = odds(z)
    log_error = against.log_sum - np.logaddexp(0.0, against.log_sum)
    error = np.exp(log_error)
    # Of the probability that the others share, r is the chance that two draws agree: g = (1 - e)^2 + e^2 r, and
    # 1 - g = e (2 - e - e r), which is exact however small e is.
    r = np.square(against.weight).sum(axis=1) / np.square(against.weight.sum(axis=1))
    return np.log(np.square(1 - error) + np.square(error) * r) - log_error - np.log(2 - error * (1 + r))


def mean_confidence(logits: np.ndarray, *views: np.ndarray) -> np.ndarray:
    """Return the log-odds of the predicted class's mean probability over an image and views of it, float64 (N,).

    Averaging over test-time augmentations, as Ashukha et al. 2020 (arXiv:2002.06470) recommend for every classifier.
    The class is the one predicted for the image itself. logits and views: (N, K) of any float dtype. Raises
    ValueError on other shapes.

    >>> mean_confidence(np.array([[4.0, 1.0]]), np.array([[2.0, 1.0]])).round(3).tolist()
    [1.672]
    """
    shapes = {array.shape for array in (logits, *views)}
    if len(shapes) > 1 or logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"expected arrays of logits (N, K) of one shape, K >= 2, not {sorted(shapes)}")

    def one(rows: slice) -> np.ndarray:
        predicted = logits[rows].argmax(axis=1)[:, None]
        odds = [_log_odds(view[rows].astype(np.float64), predicted) for view in (logits, *views)]
        # p and 1 - p are summed apart, as logarithms: their ratio keeps its digits where either is next to nothing.
        right, wrong = (np.logaddexp.reduce([-np.logaddexp(0.0, sign * view) for view in odds]) for sign in (-1, 1))
        return right - wrong

    return over_blocks(one, len(logits), BLOCK_ROWS)


def _log_odds(z: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)) of the softmax probability p of a class, (n,), from logits (n, K), which are changed."""
    top = np.take_along_axis(z, chosen, axis=1)[:, 0]
    np.put_along_axis(z, chosen, -np.inf, axis=1)
    most = z.max(axis=1)
    return top - most - np.log(np.exp(z - most[:, None]).sum(axis=1))
