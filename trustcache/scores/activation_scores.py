"""Energy of reshaped last features: ASH and SCALE, which sharpen samples whose activation lies in few features.

The last layer itself is found from cached features and logits, by least squares, as for ViM. Both papers are about
images from elsewhere, and choose the percentile by such images; here it is the one of least AURC.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np

from trustcache.scores.blocks import over_blocks, row_products
from trustcache.scores.feature_scores import fitted_last_layer
from trustcache.scores.fitted_logit_scores import least_aurc
from trustcache.scores.fitting import FittingData, Outputs
from trustcache.scores.logit_scores import negative_energy

# Those that OpenOOD (arXiv:2306.09301) tries for both.
PERCENTILES = (65, 70, 75, 80, 85, 90, 95)
BLOCK_ROWS = 1024


def pruned(x: np.ndarray, percentile: float) -> np.ndarray:
    """Return features (n, D) with all but the largest of each row set to 0: those above the percentile, one at least.

    >>> pruned(np.array([[3.0, 1.0, 2.0, 0.0]]), 50).tolist()
    [[3.0, 0.0, 2.0, 0.0]]
    """
    count = max(x.shape[1] - round(x.shape[1] * percentile / 100), 1)
    places = np.argpartition(x, x.shape[1] - count, axis=1)[:, -count:]
    kept = np.zeros_like(x)
    np.put_along_axis(kept, places, np.take_along_axis(x, places, axis=1), axis=1)
    return kept


def sharpening(x: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return e^(s1/s2) of features (n, D), (n, 1): s1 the sum of the activation, s2 that of what pruning kept.

    Negative features, which a ReLU would not give, count as none, so that the ratio lies from 1 to D.

    >>> sharpening(np.array([[3.0, 1.0]]), np.array([[3.0, 0.0]])).round(3).tolist()
    [[3.794]]
    """
    whole, part = (each.clip(min=0).sum(axis=1, keepdims=True) for each in (x, kept))
    return np.exp(np.divide(whole, part, out=np.ones_like(whole), where=part > 0))


@dataclass(frozen=True)
class _Reshaping(ABC):
    """A percentile and the last layer: weight (D, K) and bias (K,), float64."""

    percentile: int
    weight: np.ndarray
    bias: np.ndarray

    @classmethod
    def fit(cls, data: FittingData) -> Self:
        rows, layer = data.validation, fitted_last_layer(data.everyone)
        options = [cls(percentile, *layer) for percentile in PERCENTILES]
        return options[least_aurc([option.score(rows) for option in options], rows.correct)]

    @abstractmethod
    def reshaped(self, x: np.ndarray) -> np.ndarray:
        """Return features (n, D), float64, as the last layer is to see them."""

    def score(self, rows: Outputs) -> np.ndarray:
        features = rows.features

        def logits(block: slice) -> np.ndarray:
            return row_products(self.reshaped(features[block].astype(np.float64)), self.weight) + self.bias

        return negative_energy(over_blocks(logits, len(features), BLOCK_ROWS))

    @property
    def chosen(self) -> dict[str, float | str]:
        return {"percentile": self.percentile}


class ActivationShaping(_Reshaping):
    """ASH-S: energy after all but the largest features are set to 0, and these multiplied by `sharpening`.

    Djurisic et al. 2023 (arXiv:2209.09858).

    >>> rows = Outputs({"features": np.array([[3.0, 1.0]])}.__getitem__)
    >>> ActivationShaping(50, np.eye(2), np.zeros(2)).score(rows).round(3).tolist()
    [11.381]
    """

    def reshaped(self, x: np.ndarray) -> np.ndarray:
        kept = pruned(x, self.percentile)
        return kept * sharpening(x, kept)


class ActivationScaling(_Reshaping):
    """SCALE: energy after all features are multiplied by `sharpening`, and none is left out.

    Xu et al. 2024 (arXiv:2310.00227).

    >>> rows = Outputs({"features": np.array([[3.0, 1.0]])}.__getitem__)
    >>> ActivationScaling(50, np.eye(2), np.zeros(2)).score(rows).round(3).tolist()
    [11.382]
    """

    def reshaped(self, x: np.ndarray) -> np.ndarray:
        return x * sharpening(x, pruned(x, self.percentile))
