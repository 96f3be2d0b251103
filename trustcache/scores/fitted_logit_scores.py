"""Trust scores of logits with something to choose first: p-norm max-logit, temperature scaling, Rel-U.

What is chosen is chosen on the validation part of a training cache, by least AURC or, for a temperature, least
cross-entropy. That part is data the classifier itself was fitted on, where it is surer of itself than on new data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from trustcache.metrics.tie_groups import rank
from trustcache.scores.blocks import row_products
from trustcache.scores.fitting import FittingData, Outputs
from trustcache.scores.logit_scores import BLOCK_ROWS, by_blocks, maximum_class_probability, odds

POWERS = tuple(range(10))
RATIOS = tuple(round(0.1 * i, 1) for i in range(1, 10))
# Temperatures are sought between these multiples of the logits' spread.
TEMPERATURES = (1e-3, 1e3)


def least_aurc(scores: Sequence[np.ndarray], correct: np.ndarray) -> int:
    """Return the index of the score (N,) with the least AURC (Geifman et al. 2019), the first of equal ones.

    >>> least_aurc([np.array([0.0, 1.0]), np.array([1.0, 0.0])], np.array([True, False]))
    1
    """
    return int(np.argmin([rank(score, correct).aurc for score in scores]))


@by_blocks
def p_norm_max_logit(z: np.ndarray, p: int) -> np.ndarray:
    """Return max_k c_k / |c|_p with c the logits less their mean, float64 (N,), from logits (N, K) of any float dtype.

    Cattelan & Silva 2023 (arXiv:2305.15508). p = 0 leaves the norm out; where all logits are alike the score is 0.
    With two classes it is the same for every sample, unless p = 0.

    >>> p_norm_max_logit(np.array([[4.0, 1.0, 1.0]]), 2).round(3).tolist()
    [0.816]
    """
    c = z - z.max(axis=1, keepdims=True)  # first, so that logits that are all alike leave no rounding
    c -= c.mean(axis=1, keepdims=True)
    largest = np.abs(c).max(axis=1)
    if p == 0:
        return c.max(axis=1)
    # Over the largest first, so that no power over- or underflows.
    scaled = np.abs(c) / np.where(largest > 0, largest, 1)[:, None]
    norm = _power(scaled, p).sum(axis=1) ** (1 / p)
    return np.divide(c.max(axis=1), largest * norm, out=np.zeros(len(c)), where=largest > 0)


def _power(x: np.ndarray, p: int) -> np.ndarray:
    """Return x^p for a whole p >= 1 by repeated squaring: NumPy's power takes ten times as long."""
    if p == 1:
        return x
    half = _power(x, p // 2)
    square = half * half
    return square * x if p % 2 else square


@dataclass(frozen=True)
class PNorm:
    """p-norm max-logit with the p of least AURC among 0 to 9, or MCP (p = -1) where no p is better.

    Cattelan & Silva 2023 (arXiv:2305.15508).
    """

    p: int

    @classmethod
    def fit(cls, data: FittingData) -> PNorm:
        rows = data.validation
        options = [-1, *POWERS]
        return cls(options[least_aurc([cls(p).score(rows) for p in options], rows.correct)])

    def score(self, rows: Outputs) -> np.ndarray:
        return maximum_class_probability(rows.logits) if self.p == -1 else p_norm_max_logit(rows.logits, self.p)

    @property
    def chosen(self) -> dict[str, float | str]:
        return {"p": "mcp" if self.p == -1 else self.p}


@dataclass(frozen=True)
class Temperature:
    """MCP of logits over a temperature: the one of least cross-entropy with the labels (Guo et al. 2017).

    arXiv:1706.04599. Above 0 the calibrated probability is above one half. With three classes or more it may rank
    samples otherwise than MCP does; beside mcp it shows what calibration does to the ranking.

    least: False where no temperature has least cross-entropy: with every label the largest logit, colder is always
    better, and with labels that have nothing to do with the logits, hotter. Then it is the last one tried.
    """

    temperature: float
    least: bool = True

    @classmethod
    def fit(cls, data: FittingData) -> Temperature:
        logits, labels = data.validation.logits, data.validation.labels
        spread = float(logits.std(axis=1, dtype=np.float64).mean()) or 1.0
        coldest, hottest = np.log(spread) + np.log(TEMPERATURES)
        # The cross-entropy is convex in 1 / T, so that its slope has one root at most.
        if colder_by(logits, labels, np.exp(coldest)) <= 0:
            return cls(float(np.exp(coldest)), least=False)
        if colder_by(logits, labels, np.exp(hottest)) >= 0:
            return cls(float(np.exp(hottest)), least=False)
        found = scipy.optimize.brentq(lambda t: colder_by(logits, labels, np.exp(t)), coldest, hottest)
        return cls(float(np.exp(found)))

    def score(self, rows: Outputs) -> np.ndarray:
        return maximum_class_probability(rows.logits, self.temperature)

    @property
    def chosen(self) -> dict[str, float | str]:
        temperature = float(f"{self.temperature:.4g}")
        return {"T": temperature if self.least else f"{temperature:g} (the last tried)"}


def colder_by(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Return the slope of the mean of -log softmax(logits / T) at the labels over 1 / T: above 0, less 1 / T is better.

    That is the mean logit under the softmax less the mean one of the labels. logits (N, K), labels (N,) int.

    >>> round(colder_by(np.array([[2.0, 0.0]]), np.array([1]), temperature=1.0), 4)
    1.7616
    """
    total = 0.0
    for start in range(0, len(logits), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        z = logits[rows].astype(np.float64)
        z -= z.max(axis=1, keepdims=True)
        p = scipy.special.softmax(z / temperature, axis=1)
        total += float((p * z).sum() - np.take_along_axis(z, labels[rows, None], axis=1).sum())
    return total / len(logits)


@by_blocks
def relative_uncertainty(z: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return -log(p D p^T), float64 (N,), with p the softmax of logits (N, K) and D a symmetric matrix (K, K) >= 0.

    Dadalto et al. 2023 (arXiv:2306.01710); the diagonal of D is 0. The logarithm of the paper's score, so that sure
    answers, whose other probabilities underflow, are still told apart: with the prediction's p taken out, p D p^T is
    p^2 e^-m (2 w D_t + e^-m w D w), m being the margin and w the others' odds over the largest.

    >>> relative_uncertainty(np.array([[0.0, 0.0], [1000.0, 0.0]]), 1 - np.eye(2)).round(3).tolist()
    [0.693, 999.307]
    """
    against, top = odds(z), z.argmax(axis=1)
    across = row_products(against.weight, matrix)
    of_top = np.take_along_axis(across, top[:, None], axis=1)[:, 0]
    among_others = (across * against.weight).sum(axis=1) * np.exp(-against.margin)
    # Where no pair of classes that it may confuse counts, it is as sure as can be.
    uncertain = np.maximum(2 * of_top + among_others, np.finfo(np.float64).tiny)
    return against.margin + 2 * np.logaddexp(0.0, against.log_sum) - np.log(uncertain)


def uncertainty_matrix(wrong: np.ndarray, right: np.ndarray, ratio: float) -> np.ndarray:
    """Return Rel-U's D = relu(ratio E_wrong[p p^T] - (1 - ratio) E_right[p p^T]), float32 (K, K), of norm 1.

    Its diagonal is 0. wrong, right: the mean outer products (K, K). Where nothing is positive, every pair of classes
    counts alike, which ranks as Doctor does, as in the paper's code.

    >>> uncertainty_matrix(np.array([[0.0, 1.0], [0.0, 0.0]]), np.eye(2), ratio=0.5).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    matrix = ratio * wrong
    for row, other in zip(matrix, right, strict=True):  # in place, as 21,841 classes are 3.8 GB a matrix
        row -= (1 - ratio) * other
    np.maximum(matrix, 0, out=matrix)
    np.fill_diagonal(matrix, 0)
    if not matrix.any():
        matrix = 1 - np.eye(len(matrix))
    matrix /= np.linalg.norm(matrix)
    return matrix.astype(np.float32)


def mean_outer_product(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Return the mean of p^T p over softmax rows p, float64 (K, K), from blocks of logits (n, K), one or more.

    >>> mean_outer_product([np.zeros((3, 2))]).tolist()
    [[0.25, 0.25], [0.25, 0.25]]
    """
    total, count = np.zeros((0, 0)), 0
    for logits in blocks:
        p = scipy.special.softmax(logits.astype(np.float64), axis=1)
        total = total if count else np.zeros((p.shape[1],) * 2)
        total += p.T @ p
        count += len(logits)
    total /= count
    return total


@dataclass(frozen=True)
class RelU:
    """Rel-U at temperature 1, its matrix from right and wrong fitting samples, lambda by least AURC.

    Dadalto et al. 2023 (arXiv:2306.01710). matrix: float32 (K, K).
    """

    ratio: float
    matrix: np.ndarray

    @classmethod
    def fit(cls, data: FittingData) -> RelU:
        kinds, rows = data.right_and_wrong(), data.validation
        right, wrong = (mean_outer_product(z for (z,) in kind.blocks(BLOCK_ROWS, "logits")) for kind in kinds)
        # A matrix at a time.
        scores = [relative_uncertainty(rows.logits, uncertainty_matrix(wrong, right, ratio)) for ratio in RATIOS]
        ratio = RATIOS[least_aurc(scores, rows.correct)]
        return cls(ratio, uncertainty_matrix(wrong, right, ratio))

    def score(self, rows: Outputs) -> np.ndarray:
        return relative_uncertainty(rows.logits, self.matrix)

    @property
    def chosen(self) -> dict[str, float | str]:
        return {"lambda": self.ratio}
