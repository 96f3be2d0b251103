"""Oracles: a backbone and a head of one output, and the settings both ways of training share."""

from __future__ import annotations

import torch
from torch import nn

from trustcache.models.classifiers import ModelSpec, backbone
from trustcache.models.preprocessing import preprocessing_of


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
