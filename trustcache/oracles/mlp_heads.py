"""Heads with one hidden layer: one function computes them in training, scoring and the exported graph, many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Layers = Sequence["Tensor"]
"""The parameters V, c, w and b of one network, or of several."""

# Rows that are scored at once: their hidden layers are all in memory.
SCORED_ROWS = 8192


@dataclass(frozen=True)
class MlpHead:
    """A trained head on raw inputs x (D,): the mean over its M members of z = w . relu(V (x - mean)/std + c) + b.

    first_weight (V): (D, M, hidden), first_bias (c): (M, hidden), weight (w): (M, hidden), bias (b): (M,); float32, as
    are mean and std (D,). z is over |w| where it is a signed distance, from the plane that w is normal to.
    """

    first_weight: np.ndarray
    first_bias: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    signed_distance: bool

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Return z, float64 (N,), of raw inputs (N, D) of any float dtype."""
        import torch

        arrays = self.mean, self.std, self.first_weight, self.first_bias, self.weight, self.bias
        mean, std, *layers = map(torch.from_numpy, arrays)
        with torch.inference_mode():
            blocks = torch.from_numpy(x).split(SCORED_ROWS)
            z = [mlp_scores((rows.float() - mean) / std, layers, self.signed_distance) for rows in blocks]
            return torch.cat([each.double().mean(1) for each in z]).numpy()


def mlp_scores(x: Tensor, layers: Layers, distance: Tensor | bool, kept: Tensor | None = None) -> Tensor:
    """Return z (N, M) of M networks on standardised inputs (N, D).

    layers: V, c, w and b, laid out as in `MlpHead`. distance: True where z is a signed distance, for all or for each
    (M,). kept: (N, hidden), the factors by which dropout multiplies the hidden layers of all networks.
    """
    import torch

    first_weight, first_bias, weight, bias = layers
    # One matrix product for all first layers.
    hidden = (x @ first_weight.flatten(1) + first_bias.flatten()).relu().unflatten(1, first_bias.shape)
    if kept is not None:
        hidden = hidden * kept[:, None]
    z = (hidden * weight).sum(2) + bias
    norm = weight.norm(dim=1)
    return z / torch.where(torch.as_tensor(distance, device=z.device), norm, torch.ones_like(norm))


def first_parameters(inputs: int, hidden: int, seed: int, member: int) -> Layers:
    """Return the first V (D, hidden), c, w (hidden,) and b of a network, with the spread of torch's linear layers."""
    import torch

    # Members draw from generators of their own; the first one's are the seed's.
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, member]).generate_state(1)[0]))
    first = torch.randn(inputs, hidden, generator=generator) / (3 * inputs) ** 0.5
    last = torch.randn(hidden, generator=generator) / (3 * hidden) ** 0.5
    return [first, torch.zeros(hidden), last, torch.zeros(())]


def joined(networks: Sequence[Layers]) -> Layers:
    """Return the parameters of several networks, as `mlp_scores` takes them."""
    import torch

    # Of V the members stand behind the inputs, as one product serves them all.
    return [torch.stack(each, dim=1 if i == 0 else 0) for i, each in enumerate(zip(*networks, strict=True))]
