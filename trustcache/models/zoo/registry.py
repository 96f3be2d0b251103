"""Networks by name: those that trustcache builds itself, as timm lacks them, and those of other packages."""

from __future__ import annotations

import pkgutil
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trustcache.registry import Registry
from trustcache.registry.permission import is_import_path

if TYPE_CHECKING:
    from torch import nn

MNIST_CONVNET, CIFAR_VGG16 = "mnist-convnet", "cifar-vgg16"


@dataclass(frozen=True)
class BuiltIn:
    """One network: `build(num_classes=K)` returns it, untrained; its `pretrained_cfg` holds its preprocessing.

    network: "module:class" of the package's own, imported when it is built; or a function from outside, which need not
    take `num_classes` and may return trained weights. depths: the numbers that may replace the N at the end of its
    name; the network takes the number first. usual: those of its paper. dropout: True for a rate above 0.
    """

    network: str | Callable[..., nn.Module]
    depths: range = range(0)
    usual: tuple[int, ...] = ()
    dropout: bool = False
    depth: tuple[int, ...] = ()

    @property
    def outside(self) -> bool:
        """True for a function from outside the package."""
        return callable(self.network)

    def build(self, **arguments: Any) -> nn.Module:
        """Return the network, built with these arguments."""
        network = pkgutil.resolve_name(self.network) if isinstance(self.network, str) else self.network
        return network(*self.depth, **arguments)


_ZOO = "trustcache.models.zoo"
BUILT_IN = {
    "cifar-resnetN": BuiltIn(f"{_ZOO}.cifar_resnet:CifarResNet", range(8, 1203, 6), usual=(20, 32, 44, 56, 110)),
    MNIST_CONVNET: BuiltIn(f"{_ZOO}.confidnet:MnistConvNet", dropout=True),
    CIFAR_VGG16: BuiltIn(f"{_ZOO}.confidnet:CifarVgg16", dropout=True),
}
"""The package's own networks. A new one is a module with its class, and an entry here."""

_TIMM_WITHOUT_DROPOUT = ("vit", "deit", "resnet")
"""The beginnings of timm's names of networks whose dropout has rate 0 by default."""
TIMM_SCHEMES = ("hf_hub:", "hf-hub:", "local-dir:")
"""The beginnings of names that tell timm where a model lies."""


# Wrapped, so that calling what is no function fails like any other function from outside.
MODELS: Registry[BuiltIn] = Registry(
    "trustcache.models", "--classifier", BUILT_IN, lambda name, found: BuiltIn(lambda **arguments: found(**arguments))
)
"""Every name of `--classifier` that is not timm's: `BUILT_IN`, entry points, and package.module:function."""


def built_in(name: str) -> BuiltIn | None:
    """Return the network of a name, such as cifar-resnet32; None for timm's names.

    Raises UsageError for a package.module:function that cannot be imported.
    """
    stem = name.rstrip(string.digits)
    numbered = BUILT_IN.get(f"{stem}N")
    if numbered and stem != name:
        depth = int(name.removeprefix(stem))
        return replace(numbered, depth=(depth,)) if depth in numbered.depths else None
    if name.startswith(TIMM_SCHEMES) or not (name in set(MODELS) or is_import_path(name)):
        return None
    found = MODELS.find(name)
    return None if found.depths else found


def without_dropout(name: str, arguments: Mapping[str, object]) -> bool:
    """Return True for a network that is known to have no dropout at a rate above 0; it is not built to find out.

    So are the package's own that say so, and timm's ViTs and ResNets, unless an argument asks for it.
    """
    if name.startswith(_TIMM_WITHOUT_DROPOUT):
        return not any("drop" in key for key in arguments)
    own = BUILT_IN.get(name) or BUILT_IN.get(f"{name.rstrip(string.digits)}N")
    return own is not None and not own.dropout


def example_names() -> list[str]:
    """Return names of networks, those with a number once for each of the usual ones."""
    names = [(name, BUILT_IN[name].usual if name in BUILT_IN else ()) for name in MODELS]
    return [example for name, usual in names for example in ([f"{name[:-1]}{n}" for n in usual] or [name])]
