"""Heads fitted on plain features, as tests of their training take them."""

from __future__ import annotations

import numpy as np
import torch

from trustcache.oracles.head_training import HeadTask, train_heads
from trustcache.oracles.heads import AnyHead
from trustcache.protocols import Optimiser


def fit(
    x: torch.Tensor,
    correct: torch.Tensor,
    chance: torch.Tensor,
    tasks: list[HeadTask],
    optimiser: Optimiser,
    part: float,
) -> tuple[list[AnyHead], np.ndarray]:
    """Heads on features x, and their mean losses (epochs, heads)."""
    trained = train_heads({"features": x}, correct, chance, tasks, optimiser, part)
    return [head for head, _ in trained], np.array([[entry["loss"] for entry in log] for _, log in trained]).T
