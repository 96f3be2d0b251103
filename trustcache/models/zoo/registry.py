"""The networks that trustcache builds itself because timm lacks them, by name."""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import nn

from trustcache.models.zoo.cifar_resnet import CifarResNet, cifar_resnet_depth
from trustcache.models.zoo.confidnet import CifarVgg16, MnistConvNet

_NAMED: dict[str, Callable[..., nn.Module]] = {"mnist-convnet": MnistConvNet, "cifar-vgg16": CifarVgg16}
# Of the CIFAR ResNets, whose depth may be any 6n+2, those of their paper.
BUILT_IN = (*(f"cifar-resnet{depth}" for depth in (20, 32, 44, 56, 110)), *_NAMED)


def built_in(name: str) -> Callable[..., nn.Module] | None:
    """What builds the network of a name, given `num_classes`; None where the name is none of trustcache's own."""
    if depth := cifar_resnet_depth(name):
        return functools.partial(CifarResNet, depth)
    return _NAMED.get(name)
