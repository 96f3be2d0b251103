"""Oracles as networks: a backbone and a head of one output."""

from __future__ import annotations

import torch
from torch import nn

from trustcache.models.building import ModelSpec, backbone, with_channels_last
from trustcache.models.preprocessing import preprocessing_of


class Head(nn.Module):
    """One output z: w.x + b, or the signed distance (w.x + b)/|w| from the plane where z = 0 (Eq. 7)."""

    def __init__(self, features: int, signed_distance: bool, seed: int) -> None:
        super().__init__()
        self.signed_distance = signed_distance
        self.weight = nn.Parameter(initial_weight(features, seed))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return z (N,) for features (N, D)."""
        # In a half precision, many images would have the same score.
        product = (x.float() * self.weight).sum(-1) if torch.is_autocast_enabled(x.device.type) else x @ self.weight
        z = product + self.bias
        return z / self.weight.norm() if self.signed_distance else z


class Oracle(nn.Module):
    """A backbone, which takes images prepared by `preprocessing`, with a head."""

    def __init__(self, spec: ModelSpec, signed_distance: bool, seed: int, pretrained: bool = True) -> None:
        super().__init__()
        self.backbone, features = backbone(spec, pretrained)
        self.preprocessing = preprocessing_of(self.backbone, spec.preprocessing)
        with_channels_last(self.backbone)
        self.head = Head(features, signed_distance, seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return z (N,) for normalised images (N, 3, H, W)."""
        return self.head(self.backbone(x))


def initial_weight(features: int, seed: int) -> torch.Tensor:
    """Return a head's first w (D,), equal for all losses of one seed, with the spread of torch's linear layers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(features, generator=generator) / (3 * features) ** 0.5
