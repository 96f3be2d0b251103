"""Networks of small images: one of torch's own layers, which may be copied, and one that keeps what it computes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import Classifier

SIDE, CLASSES = 8, 4
PREPROCESSING: dict[str, Any] = {"mean": (0, 0, 0), "std": (1, 1, 1), "crop_pct": 1.0}


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 16), nn.ReLU(), nn.Linear(16, CLASSES))


class KeepsItsFeatures(nn.Module):
    """As some are written: two threads that run one at once exchange their features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = layers()
        self.kept = torch.empty(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept = self.layers[:3](x)
        time.sleep(0.002)
        logits: torch.Tensor = self.layers[3](self.kept)
        return logits


BOTH: list[Callable[[], nn.Module]] = [layers, KeepsItsFeatures]


def classifier_of(network: nn.Module) -> Classifier:
    """The network itself, not a copy."""
    return Classifier(ModelSpec("own", preprocessing={**PREPROCESSING, "input_size": (SIDE, SIDE)}), network)


@contextmanager
def in_threads_of_their_own(network: Callable[[], nn.Module]) -> Iterator[None]:
    """Context in which `layers` compute in several threads, none of them the caller's, and another network in that."""
    seen, forward = set[int](), nn.Linear.forward

    def noted(self: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        seen.add(threading.get_ident())
        return forward(self, x)

    with mock.patch.object(nn.Linear, "forward", noted):
        yield
    others = seen - {threading.get_ident()}
    assert len(others) > 1 if network is layers else not others


def noise(count: int) -> np.ndarray:
    """Images uint8 (N, 8, 8, 3)."""
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def outputs_one_by_one(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The logits and features of each image by itself."""
    classifier = classifier_of(layers())
    found = [classifier(torch.from_numpy(image).permute(2, 0, 1)[None]) for image in images]
    return np.concatenate([one[0] for one in found]), np.concatenate([one[1] for one in found])
