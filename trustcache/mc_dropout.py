"""Monte Carlo dropout (Gal & Ghahramani 2016, arXiv:1506.02142): how unsure a classifier is when dropout stays on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from trustcache.classifiers import Classifier
from trustcache.errors import UsageError

# These drop whole channels rather than single activations.
_OF_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@dataclass(frozen=True)
class McDropout:
    """How often a classifier is asked with dropout on, and the seed of what is dropped."""

    passes: int
    seed: int = 0


def require_dropout(classifier: Classifier) -> None:
    """Raise UsageError for a classifier without dropout, which would say the same every time."""
    if not _dropout_layers(classifier.model):
        raise UsageError(
            f"--mc-dropout: {classifier.spec.name} has no dropout layer with a rate above 0 (torch.nn.Dropout); leave "
            "it out, or use a classifier that was fitted with dropout, such as cifar-vgg16 or mnist-convnet"
        )


def negative_predictive_entropy(
    classifier: Classifier, pixels: torch.Tensor, indices: np.ndarray, mc: McDropout
) -> torch.Tensor:
    """sum_k p_k log p_k, p the mean softmax over passes with dropout on: float32 (N,), higher = more trustworthy.

    pixels 0 to 255 (N, 3, H, W) are samples number `indices` (N,). All else stays in evaluation mode, batch norm
    too. What is dropped follows from the seed and the sample's number, not from what else is in the batch.
    ConfidNet's code takes the softmax of the mean logits instead.
    """
    if not len(indices):
        return torch.empty(0)
    seeds = [int(np.random.default_rng([mc.seed, int(index)]).integers(2**63)) for index in indices]
    generators = [torch.Generator(pixels.device).manual_seed(seed) for seed in seeds]
    hooks = [layer.register_forward_hook(_dropping(layer, generators)) for layer in _dropout_layers(classifier.model)]
    try:
        total = torch.zeros(len(pixels), classifier.num_classes, dtype=torch.float64, device=pixels.device)
        for _ in range(mc.passes):
            total += classifier(pixels)[0].double().softmax(1)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.special.entr(total / mc.passes).sum(1).neg().float()


def _dropout_layers(model: nn.Module) -> list[Any]:
    kinds = (nn.Dropout, *_OF_CHANNELS)
    return [layer for layer in model.modules() if isinstance(layer, kinds) and layer.p > 0]


def _dropping(layer: Any, generators: list[torch.Generator]) -> Callable[..., torch.Tensor]:
    """A hook that does what a dropout layer does in training, each sample by its own generator."""

    def drop(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        rows = len(x) // len(generators)  # windows of one image stand side by side in some transformers
        shape = (rows, x.shape[1], *[1] * (x.ndim - 2)) if isinstance(layer, _OF_CHANNELS) else (rows, *x.shape[1:])
        kept = torch.cat([torch.empty(shape, device=x.device).bernoulli_(1 - layer.p, generator=g) for g in generators])
        return x * kept / (1 - layer.p) if layer.p < 1 else x * 0

    return drop
