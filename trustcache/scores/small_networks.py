"""Scores by a small network, fitted to one training cache: ConfidNet's, and that of confidence from invariance.

Both minimise the squared error of the sigmoid of their output, as their authors' code does, by Adam on standardised
inputs. The epoch, of every fifth, is the one of least AURC on the validation part.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy

from trustcache.data.threads import threads_for
from trustcache.scores.blocks import over_blocks, row_products
from trustcache.scores.fitted_logit_scores import least_aurc
from trustcache.scores.fitting import FittingData, Outputs, Rows

MOST_LOGITS = 10
TRIED_EVERY = 5
BATCH, SEED = 256, 0
BLOCK_ROWS = 1024
Target = tuple[np.ndarray, np.ndarray]
"""The wanted output of each sample, in [0, 1], and its weight; (N,) each."""


@dataclass(frozen=True)
class _SmallNetwork(ABC):
    """A network of ReLU layers on standardised inputs (D,): widths of its layers, and all W and b in one array.

    hidden: widths of the hidden layers. dropped: the share of their units that each step leaves out. most_epochs: of
    which the rate falls to 0.
    """

    hidden: ClassVar[tuple[int, ...]]
    dropped: ClassVar[float]
    rate: ClassVar[float]
    most_epochs: ClassVar[int]

    epochs: int
    mean: np.ndarray
    std: np.ndarray
    widths: np.ndarray
    parameters: np.ndarray

    @staticmethod
    @abstractmethod
    def inputs(rows: Outputs) -> np.ndarray:
        """Return the network's inputs, float64 (N, D)."""

    @staticmethod
    @abstractmethod
    def target(rows: Rows) -> Target:
        """Return what the network learns of training samples."""

    @classmethod
    def fit(cls, data: FittingData) -> Self:
        rows, held_out = data.everyone, data.validation
        x = cls.inputs(rows)
        mean, std = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-3)
        widths = np.array([x.shape[1], *cls.hidden, 1])
        trained = cls._trained((x - mean) / std, cls.target(rows), widths.tolist())
        with threads_for(BATCH, int((widths[:-1] * widths[1:]).sum())):
            tried = [cls(epochs, mean, std, widths, parameters) for epochs, parameters in trained]
        return tried[least_aurc([one.score(held_out) for one in tried], held_out.correct)]

    def score(self, rows: Outputs) -> np.ndarray:
        x = (self.inputs(rows) - self.mean) / self.std
        layers = list(_layers(self.parameters, self.widths.tolist()))

        def one(block: slice) -> np.ndarray:
            hidden = x[block]
            for weight, bias in layers[:-1]:
                hidden = (row_products(hidden, weight) + bias).clip(min=0)
            weight, bias = layers[-1]
            return (row_products(hidden, weight) + bias)[:, 0]

        return over_blocks(one, len(x), BLOCK_ROWS)

    @property
    def chosen(self) -> dict[str, float | str]:
        return {"epochs": self.epochs}

    @classmethod
    def _trained(cls, x: np.ndarray, target: Target, widths: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the parameters after every few epochs, float64."""
        import torch

        generator = torch.Generator().manual_seed(SEED)
        inputs, wanted, weights = (torch.from_numpy(array).float() for array in (x, *target))
        layers = []
        for before, after in itertools.pairwise(widths):
            layers += [torch.randn(before, after, generator=generator) / (3 * before) ** 0.5, torch.zeros(after)]
        optimiser = torch.optim.Adam([layer.requires_grad_() for layer in layers], lr=cls.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, cls.most_epochs * -(-len(x) // BATCH))
        for epoch in range(1, cls.most_epochs + 1):
            for batch in torch.randperm(len(x), generator=generator).split(BATCH):
                hidden = inputs[batch]
                for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
                    hidden = (hidden @ weight + bias).relu()
                    if cls.dropped:
                        kept = torch.rand(hidden.shape, generator=generator) > cls.dropped
                        hidden = hidden * kept / (1 - cls.dropped)
                error = (hidden @ layers[-2] + layers[-1])[:, 0].sigmoid() - wanted[batch]
                optimiser.zero_grad()
                (weights[batch] * error.square()).mean().backward()
                optimiser.step()
                schedule.step()
            if epoch % TRIED_EVERY == 0:
                yield epoch, torch.cat([layer.detach().double().flatten() for layer in layers]).numpy()


class Invariance(_SmallNetwork):
    """Confidence from invariance: a network that sees how the logits change when the image is mirrored.

    Bahat & Shakhnarovich 2018 (arXiv:1804.00657). As in their code: logits of all views in the order of the image's
    own, the ten largest at most; right and wrong samples weigh alike. Their four other views (grey, contrast, gamma,
    blur) are not cached.
    """

    hidden, dropped, rate, most_epochs = (70, 70), 0.5, 0.005, 50

    @classmethod
    def fit(cls, data: FittingData) -> Self:
        data.right_and_wrong()
        return super().fit(data)

    @staticmethod
    def inputs(rows: Outputs) -> np.ndarray:
        order = np.argsort(-rows.logits.astype(np.float64), axis=1, kind="stable")[:, :MOST_LOGITS]
        views = rows.logits, rows.mirrored_logits
        return np.hstack([np.take_along_axis(view, order, axis=1) for view in views]).astype(np.float64)

    @staticmethod
    def target(rows: Rows) -> Target:
        right = rows.correct.astype(np.float64)
        return right, np.where(right > 0, 0.5 / right.mean(), 0.5 / (1 - right.mean()))


class ConfidenceNetwork(_SmallNetwork):
    """ConfidNet: five layers on the last features that regress the classifier's probability of the true class.

    Corbière et al. 2019 (arXiv:1910.04851), its first phase: the classifier's own layers stay as they are.
    """

    hidden, dropped, rate, most_epochs = (400,) * 4, 0.0, 1e-3, 20

    @staticmethod
    def inputs(rows: Outputs) -> np.ndarray:
        return rows.features.astype(np.float64)

    @staticmethod
    def target(rows: Rows) -> Target:
        logits, labels = rows.logits, rows.labels

        def true_class(block: slice) -> np.ndarray:
            p = scipy.special.softmax(logits[block].astype(np.float64), axis=1)
            return np.take_along_axis(p, labels[block, None], axis=1)[:, 0]

        return over_blocks(true_class, len(labels), BLOCK_ROWS), np.ones(len(labels))


def _layers(parameters: np.ndarray, widths: list[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield W (in, out) and b (out,) of each layer, from all of them in one array."""
    start = 0
    for before, after in itertools.pairwise(widths):
        stop = start + before * after
        yield parameters[start:stop].reshape(before, after), parameters[stop : stop + after]
        start = stop + after
