"""A network as some are written: what it computes in one place it finds in itself in another."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import Classifier

SIDE, CLASSES = 8, 4


class KeepsItsFeatures(nn.Module):
    """Of images of 8 x 8 pixels. Two threads that run one at once exchange their features.

    threads: numbers of those that any network of this kind has run in.
    """

    threads: ClassVar[set[int]] = set()

    pretrained_cfg: ClassVar[dict[str, Any]] = {
        "input_size": (3, SIDE, SIDE),
        "mean": (0, 0, 0),
        "std": (1, 1, 1),
        "crop_pct": 1.0,
    }

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(3 * SIDE * SIDE, 16)
        self.last = nn.Linear(16, CLASSES)
        self.kept = torch.empty(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.threads.add(threading.get_ident())
        self.kept = self.first(x.flatten(1))
        time.sleep(0.002)
        logits: torch.Tensor = self.last(self.kept)
        return logits


def classifier_of(network: nn.Module) -> Classifier:
    """The network itself, not a copy."""
    return Classifier(ModelSpec("own"), network)


@contextmanager
def in_several_threads() -> Iterator[None]:
    """Context in which networks of this kind have to run in at least two threads at once."""
    KeepsItsFeatures.threads.clear()
    yield
    assert len(KeepsItsFeatures.threads - {threading.get_ident()}) > 1


def noise(count: int) -> np.ndarray:
    """Images uint8 (N, 8, 8, 3)."""
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def outputs_one_by_one(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The logits and features of each image by itself."""
    classifier = classifier_of(KeepsItsFeatures())
    found = [classifier(torch.from_numpy(image).permute(2, 0, 1)[None]) for image in images]
    return np.concatenate([one[0] for one in found]), np.concatenate([one[1] for one in found])
