"""Confidence from invariance: a small network that looks at how the logits change with the image mirrored.

Bahat & Shakhnarovich 2018 (arXiv:1804.00657). As in their code: logits of both views in the order of the image's own,
the ten largest at most; two hidden layers of 70, half of whose units are left out at each step; squared error, in which
right and wrong samples weigh alike. Their four further views (grey, contrast, gamma, blur) are not cached.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from trustcache.scores.blocks import over_blocks, row_products
from trustcache.scores.fitted_logit_scores import least_aurc
from trustcache.scores.fitting import FittingData, Outputs

MOST_LOGITS = 10
HIDDEN, DROPPED = 70, 0.5
EPOCHS, TRIED_EVERY = 50, 5
BATCH, RATE = 256, 0.005
SEED = 0
BLOCK_ROWS = 1024


def ordered_views(logits: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Return the logits of two views (N, K) side by side, float64 (N, 2 min(K, 10)), in the order of the first's.

    >>> ordered_views(np.array([[1.0, 3.0, 2.0]]), np.array([[7.0, 8.0, 9.0]])).tolist()
    [[3.0, 2.0, 1.0, 8.0, 9.0, 7.0]]
    """
    order = np.argsort(-logits.astype(np.float64), axis=1, kind="stable")[:, :MOST_LOGITS]
    views = [np.take_along_axis(view, order, axis=1) for view in (logits, mirrored)]
    return np.hstack(views).astype(np.float64)


@dataclass(frozen=True)
class Invariance:
    """A network of two hidden layers on standardised logits of both views; fields are its arrays, float64.

    The epoch, of every fifth, is the one of least AURC on the validation part.
    """

    epochs: int
    mean: np.ndarray
    std: np.ndarray
    weight1: np.ndarray
    bias1: np.ndarray
    weight2: np.ndarray
    bias2: np.ndarray
    weight3: np.ndarray
    bias3: np.ndarray

    @classmethod
    def fit(cls, data: FittingData) -> Invariance:
        data.right_and_wrong()
        rows, held_out = data.everyone, data.validation
        x = ordered_views(rows.logits, rows.mirrored_logits)
        mean, std = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-3)
        tried = [cls(epochs, mean, std, *layers) for epochs, layers in _trained((x - mean) / std, rows.correct)]
        return tried[least_aurc([one.score(held_out) for one in tried], held_out.correct)]

    def score(self, rows: Outputs) -> np.ndarray:
        x = (ordered_views(rows.logits, rows.mirrored_logits) - self.mean) / self.std

        def one(block: slice) -> np.ndarray:
            hidden = (row_products(x[block], self.weight1) + self.bias1).clip(min=0)
            hidden = (row_products(hidden, self.weight2) + self.bias2).clip(min=0)
            return (row_products(hidden, self.weight3) + self.bias3)[:, 0]

        return over_blocks(one, len(x), BLOCK_ROWS)

    @property
    def chosen(self) -> dict[str, float | str]:
        return {"epochs": self.epochs}


def _trained(x: np.ndarray, correct: np.ndarray) -> list[tuple[int, list[np.ndarray]]]:
    """Return the layers after every few epochs, each W (in, out), b, W, b, W, b, float64."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    inputs, right = torch.from_numpy(x).float(), torch.from_numpy(correct).float()
    share = right.mean()
    weights = torch.where(right > 0, 0.5 / share, 0.5 / (1 - share))
    sizes = (x.shape[1], HIDDEN, HIDDEN, 1)
    layers = []
    for before, after in itertools.pairwise(sizes):
        spread = (2 / before) ** 0.5
        layers += [torch.randn(before, after, generator=generator) * spread, torch.zeros(after)]
    optimiser = torch.optim.Adam([layer.requires_grad_() for layer in layers], lr=RATE)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    found = []
    for epoch in range(1, EPOCHS + 1):
        for batch in torch.randperm(len(x), generator=generator).split(BATCH):
            hidden = inputs[batch]
            for weight, bias in (layers[:2], layers[2:4]):
                kept = torch.rand(len(batch), HIDDEN, generator=generator) > DROPPED
                hidden = (hidden @ weight + bias).relu() * kept / (1 - DROPPED)
            error = (hidden @ layers[4] + layers[5])[:, 0].sigmoid() - right[batch]
            optimiser.zero_grad()
            (weights[batch] * error.square()).mean().backward()
            optimiser.step()
            schedule.step()
        if epoch % TRIED_EVERY == 0:
            found.append((epoch, [layer.detach().double().numpy().copy() for layer in layers]))
    return found
