"""Networks by name: those that trustcache builds itself, as timm lacks them, and those of other packages."""

from __future__ import annotations

import functools
import string
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trustcache.registry import Deferred, Registry, is_import_path

if TYPE_CHECKING:
    from torch import nn

MNIST_CONVNET, CIFAR_VGG16 = "mnist-convnet", "cifar-vgg16"


@dataclass(frozen=True)
class BuiltIn:
    """One network: `build(num_classes=K)` returns it, untrained; its `pretrained_cfg` holds its preprocessing.

    depths: the numbers that may replace the N at the end of its name; `build` takes the number first. usual: those of
    its paper. dropout: True if it has dropout at a rate above 0. outside: True for a function from outside the package,
    which need not take `num_classes` and may return trained weights.
    """

    build: Callable[..., nn.Module]
    depths: range = range(0)
    usual: tuple[int, ...] = ()
    dropout: bool = False
    outside: bool = False


_ZOO = "trustcache.models.zoo"
BUILT_IN = {
    "cifar-resnetN": BuiltIn(
        Deferred(f"{_ZOO}.cifar_resnet:CifarResNet"), depths=range(8, 1203, 6), usual=(20, 32, 44, 56, 110)
    ),
    MNIST_CONVNET: BuiltIn(Deferred(f"{_ZOO}.confidnet:MnistConvNet"), dropout=True),
    CIFAR_VGG16: BuiltIn(Deferred(f"{_ZOO}.confidnet:CifarVgg16"), dropout=True),
}
"""The package's own networks. A new one is a module with its class, and an entry here."""

TIMM_SCHEMES = ("hf_hub:", "hf-hub:", "local-dir:")
"""The beginnings of names that tell timm where a model lies."""


def _adapted(name: str, found: Any) -> BuiltIn:
    return BuiltIn(found, outside=True)


MODELS: Registry[BuiltIn] = Registry("trustcache.models", "--classifier", BUILT_IN, _adapted)
"""Every name of `--classifier` that is not timm's: `BUILT_IN`, entry points, and package.module:function."""


def built_in(name: str) -> BuiltIn | None:
    """Return the network of a name, such as cifar-resnet32; None for timm's names.

    Raises UsageError for a package.module:function that cannot be imported.
    """
    stem = name.rstrip(string.digits)
    numbered = BUILT_IN.get(f"{stem}N")
    if numbered and stem != name:
        depth = int(name.removeprefix(stem))
        build = functools.partial(numbered.build, depth)
        return replace(numbered, build=build) if depth in numbered.depths else None
    if name.startswith(TIMM_SCHEMES) or not (name in set(MODELS) or is_import_path(name)):
        return None
    found = MODELS.find(name)
    return None if found.depths else found


def example_names() -> list[str]:
    """Return names of networks, those with a number once for each of the usual ones."""
    names = [(name, BUILT_IN[name].usual if name in BUILT_IN else ()) for name in MODELS]
    return [example for name, usual in names for example in ([f"{name[:-1]}{n}" for n in usual] or [name])]
