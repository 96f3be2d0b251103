"""Samples to score, and training data to learn from, made up so that right and wrong answers differ a little."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from trustcache.scores.fitting import FittingData


@dataclass(frozen=True)
class Samples:
    """A classifier's outputs for some made-up samples, with the truth."""

    logits: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    @property
    def predictions(self) -> np.ndarray:
        return self.logits.argmax(axis=1)

    @property
    def correct(self) -> np.ndarray:
        return self.predictions == self.labels

    def __len__(self) -> int:
        return len(self.labels)

    def blocks(self, rows: int, *columns: str) -> Iterator[tuple[np.ndarray, ...]]:
        for start in range(0, len(self), rows):
            yield tuple(getattr(self, name)[start : start + rows] for name in columns)

    def __getitem__(self, rows: object) -> Samples:
        return Samples(self.logits[rows], self.features[rows], self.labels[rows], self.weight, self.bias)


@pytest.fixture(scope="session")
def samples() -> Callable[..., Samples]:
    """`samples(500, seed=1)`: features in noisy clusters, a linear layer on them, stored as float16."""

    def make(count: int, classes: int = 5, width: int = 12, seed: int = 0) -> Samples:
        world = np.random.default_rng(12345)
        centres = world.normal(size=(classes, width)) * 1.2
        rng = np.random.default_rng(seed)
        labels = rng.integers(classes, size=count)
        features = (centres[labels] + rng.normal(size=(count, width))).astype(np.float16)
        weight, bias = centres.T * 0.9, world.normal(size=classes)
        logits = (features.astype(np.float64) @ weight + bias).astype(np.float16)
        return Samples(logits, features, labels, weight, bias)

    return make


@pytest.fixture(scope="session")
def training(samples: Callable[..., Samples]) -> FittingData:
    """Training data of `samples`, a fifth of them held out."""
    everyone = samples(1500, seed=1)
    return FittingData(
        validation=samples(300, seed=2),
        everyone=everyone,
        right=everyone[everyone.correct],
        wrong=everyone[~everyone.correct],
    )
