"""Oracles: a backbone and a head of one output, and the settings both ways of training share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from trustcache.classifiers import ModelSpec, backbone
from trustcache.preprocessing import preprocessing_of

OPTIMISERS = ("adam", "sgd")
RISE = 0.3
"""The share of its steps that OneCycle goes up, torch's default."""


@dataclass(frozen=True)
class Optimiser:
    """How an oracle is optimised: `name` is "adam" (constant rate) or "sgd" (OneCycle up to `lr` and down again).

    warmup_steps: how long OneCycle goes up, at most and by default 30 % of all steps. cycle_momentum: it moves the
    momentum from 0.95 to 0.85 and back meanwhile, whatever `momentum` says; torch's default, and so what the released
    scripts do.
    """

    name: str
    epochs: int
    batch_size: int
    lr: float
    momentum: float = 0.0
    warmup_steps: int | None = None
    cycle_momentum: bool = False

    def of(self, parameters: Iterable[nn.Parameter], steps: int) -> tuple[torch.optim.Optimizer, LRScheduler | None]:
        """The optimiser of a network's parameters for so many steps, and its schedule where it has one."""
        if self.name == "adam":
            return torch.optim.Adam(parameters, lr=self.lr), None
        sgd = torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum)
        rise = RISE if self.warmup_steps is None else min(self.warmup_steps / steps, RISE)
        schedule = OneCycleLR(sgd, self.lr, total_steps=steps, pct_start=rise, cycle_momentum=self.cycle_momentum)
        return sgd, schedule


# Epochs of a default optimiser, where the data are many enough to make these many steps; else more epochs.
LEAST_STEPS = {"adam": 1000, "sgd": 100}


HEADS = Optimiser("adam", epochs=20, batch_size=512, lr=1e-3)
MLP_HEADS = Optimiser("adam", epochs=30, batch_size=512, lr=1e-3)
NETWORKS = Optimiser("sgd", epochs=1, batch_size=128, lr=0.02, momentum=0.9)


def default_optimiser(frozen: bool, rows: int, heads: Optimiser = HEADS) -> Optimiser:
    """What oracles are optimised with unless told otherwise: `heads` on `rows` cached features, or whole networks.

    Small data are passed over more often, until the steps suffice.
    """
    usual = heads if frozen else NETWORKS
    # Fine-tuning drops an epoch's last, incomplete batch.
    steps = math.ceil(rows / usual.batch_size) if frozen else rows // usual.batch_size
    return replace(usual, epochs=max(usual.epochs, math.ceil(LEAST_STEPS[usual.name] / max(steps, 1))))


class Head(nn.Module):
    """One output z: w.x + b, or the signed distance (w.x + b)/|w| from the plane where z = 0 (Eq. 7)."""

    def __init__(self, features: int, signed_distance: bool, seed: int) -> None:
        super().__init__()
        self.signed_distance = signed_distance
        self.weight = nn.Parameter(initial_weight(features, seed))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (N, D) to z (N,)."""
        z = x @ self.weight + self.bias
        return z / self.weight.norm() if self.signed_distance else z


class Oracle(nn.Module):
    """A backbone, which takes images as `preprocessing` says, with a head."""

    def __init__(self, spec: ModelSpec, signed_distance: bool, seed: int, pretrained: bool = True) -> None:
        super().__init__()
        self.backbone, features = backbone(spec, pretrained)
        self.preprocessing = preprocessing_of(self.backbone, spec.preprocessing)
        self.backbone.to(memory_format=torch.channels_last)
        self.head = Head(features, signed_distance, seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised images (N, 3, H, W) to z (N,)."""
        return self.head(self.backbone(x))


def initial_weight(features: int, seed: int) -> torch.Tensor:
    """A head's first w (D,), the same for every loss of one seed, as widely spread as torch's linear layers begin."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(features, generator=generator) / (3 * features) ** 0.5


VAL_FRACTION = 0.1
"""The part of the training samples that is set aside for validation unless told otherwise."""
HALVES = ("first-half", "second-half")


def half_rows(rows: int, half: str, seed: int = 0) -> np.ndarray:
    """The numbers (N/2,), sorted, of the rows in one of `HALVES`; those of a cache are drawn once for all."""
    order = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[: rows // 2] if half == HALVES[0] else order[rows // 2 :])


def other_half(half: str) -> str:
    """The other one of `HALVES`."""
    return HALVES[1 - HALVES.index(half)]


def validation_rows(rows: int, fraction: float, seed: int) -> np.ndarray:
    """Which training rows a seed sets aside for validation: bool (N,), `fraction` of them true."""
    held_out = np.zeros(rows, dtype=bool)
    held_out[np.random.default_rng(seed).permutation(rows)[: round(rows * fraction)]] = True
    return held_out


def training_rows(held_out: np.ndarray, shown_again: np.ndarray) -> np.ndarray:
    """Which rows a seed learns from, bool (N + M,): of N all that it has not `held_out`, bool (N,).

    shown_again: of M rows that come after them, int (M,), the number of the row whose sample each shows again, or -1;
    these are left out where that row is.
    """
    return ~np.concatenate([held_out, held_out[shown_again] & (shown_again >= 0)])
