"""Monte Carlo dropout (Gal & Ghahramani 2016, arXiv:1506.02142): the uncertainty of a classifier with dropout on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from trustcache.errors import UsageError
from trustcache.models.classifiers import Classifier
from trustcache.models.identity import McDropout
from trustcache.models.zoo.registry import BUILT_IN

# Layers (torch.nn.Dropout2d) call these functions, which drop whole channels rather than single activations.
_OF_CHANNELS = (F.dropout1d, F.dropout2d, F.dropout3d)
_NOT_BY_IMAGE = (
    "--mc-dropout: the classifier applies dropout to a tensor whose first axis is not its images, so that no image can "
    "have masks of its own; leave it out"
)


def require_dropout(classifier: Classifier) -> None:
    """Raise UsageError for a classifier without dropout, whose passes would all be equal.

    Raise it too for one that applies dropout to a tensor that is not a batch of images, where no image can have masks
    of its own.
    """
    black = classifier.black()
    seen = []
    for images in (black, black.repeat(2, 1, 1, 1)):
        with _Dropping([torch.Generator(black.device) for _ in images]) as dropping:
            classifier(images)
        seen.append(dropping.rows)
    if not seen[0]:
        raise UsageError(
            f"--mc-dropout: {classifier.spec.name} has no dropout at a rate above 0; leave it out, or use a classifier "
            f"that was fitted with dropout, such as {' or '.join(n for n, m in BUILT_IN.items() if m.dropout)}, or a "
            "timm model with the rate it was fitted with (--model-arg drop_rate=0.2)"
        )
    if seen[1] != [2 * rows for rows in seen[0]]:
        raise UsageError(_NOT_BY_IMAGE)


def negative_predictive_entropy(
    classifier: Classifier, pixels: torch.Tensor, indices: np.ndarray, mc: McDropout
) -> torch.Tensor:
    """Return sum_k p_k log p_k of the mean softmax p over passes with dropout: float32 (N,), higher = more trustworthy.

    pixels: 0 to 255 (N, 3, H, W), of the samples with numbers `indices` (N,). All else, such as batch norm, stays in
    evaluation mode. The masks follow from the seed and the sample's number, not from the rest of the batch. ConfidNet's
    code takes the softmax of the mean logits instead.
    """
    if not len(indices):
        return torch.empty(0)
    seeds = [int(np.random.default_rng([mc.seed, int(index)]).integers(2**63)) for index in indices]
    generators = [torch.Generator(pixels.device).manual_seed(seed) for seed in seeds]
    # Apple's GPUs and some of Intel's have no float64.
    exact = torch.float64 if pixels.device.type in ("cpu", "cuda") else torch.float32
    total = torch.zeros(len(pixels), classifier.num_classes, dtype=exact, device=pixels.device)
    with _Dropping(generators):
        for _ in range(mc.passes):
            total += classifier(pixels)[0].to(exact).softmax(1)
    return torch.special.entr(total / mc.passes).sum(1).neg().float()


class _Dropping(TorchFunctionMode):
    """Context in which every dropout is active as in training, each sample with its own generator.

    rows: the first axis of each tensor that dropout was applied to, in order.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.generators = generators
        self.rows: list[int] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # timm's models call F.dropout without a layer too.
        if function is F.dropout or function in _OF_CHANNELS:
            return self._drop(function in _OF_CHANNELS, *args, **kwargs or {})
        return function(*args, **kwargs or {})

    def _drop(self, channels: bool, x: torch.Tensor, p: float, training: bool, inplace: bool) -> torch.Tensor:
        if p == 0:
            return x
        self.rows.append(len(x))
        # Windows of one image stand side by side in some transformers.
        rows, rest = divmod(len(x), len(self.generators))
        if rest:
            raise UsageError(_NOT_BY_IMAGE)
        shape = (rows, x.shape[1], *[1] * (x.ndim - 2)) if channels else (rows, *x.shape[1:])
        kept = [torch.empty(shape, device=x.device).bernoulli_(1 - p, generator=g) for g in self.generators]
        return x * torch.cat(kept) / (1 - p) if p < 1 else x * 0
