"""Adversarial attacks: the registry with their settings, and the function that attacks a batch of images."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from trustcache.registry import Setting

if TYPE_CHECKING:
    from torch import Tensor

    from trustcache.data.variants.pgd import Logits


@dataclass(frozen=True)
class Attack:
    """One attack: `run`, "module:function" for f(logits, images, labels, generators, **settings), and its settings."""

    run: str  # imported when it runs, as it imports torch: data sets are listed and checked without
    settings: Mapping[str, Setting]

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", MappingProxyType(self.settings))


_ITERATIONS = "number of steps of the optimiser"

# Laidlaw & Feizi (2019) as the steep-slope paper used it: the values in `recoloradv.utils.get_attack_from_name`.
_RECOLOR = {
    "bound": Setting(0.06, "how far a colour moves at most, in each channel of normalised CIELUV", highest=1.0),
    "iterations": Setting(100, _ITERATIONS),
    "learning_rate": Setting(0.001, "Adam's, which is about how far a node of the map moves in one step"),
    "smoothness": Setting(0.05, "the weight of the map's roughness against the classifier's margin"),
}

# The bounds that robust ImageNet classifiers are trained and compared at (Salman et al. 2020; RobustBench); steps are
# 2.5 times the bound over the iterations, so that any point of the ball can be reached (Madry et al. 2018).
_PGD_LINF = {
    "bound": Setting(4 / 255, "how far a value of R, G or B moves at most, in [0, 1]", highest=1.0),
    "iterations": Setting(10, _ITERATIONS),
    "step": Setting(1 / 255, "how far a value moves in one iteration"),
}
_PGD_L2 = {
    "bound": Setting(3.0, "the L2 norm of an image's change at most, over values in [0, 1]"),
    "iterations": Setting(10, _ITERATIONS),
    "step": Setting(0.75, "the L2 norm of one iteration's step"),
}

ATTACKS: dict[str, Attack] = {
    "recolor": Attack("trustcache.data.variants.recolor:recolor", _RECOLOR),
    "pgd-linf": Attack("trustcache.data.variants.pgd:pgd_linf", _PGD_LINF),
    "pgd-l2": Attack("trustcache.data.variants.pgd:pgd_l2", _PGD_L2),
}
"""Every attack by name. A new one is a function in a module of its own, and its settings here."""


def checked_settings(name: str, settings: Mapping[str, Any]) -> dict[str, float]:
    """Return all settings of an attack: its defaults, overridden by `settings`.

    Raises ValueError for an unknown attack, a setting it does not have, or a value out of range; it lists the known.
    """
    if name not in ATTACKS:
        raise ValueError(f"there is no attack called {name!r}; known are {', '.join(ATTACKS)}")
    known = ATTACKS[name].settings
    if unknown := [key for key in settings if key not in known]:
        raise ValueError(f"{name}: has no setting '{unknown[0]}'; known are {', '.join(known)}")
    return {
        key: setting.checked(f"{name}: its '{key}'", settings.get(key, setting.default))
        for key, setting in known.items()
    }


def attack(
    name: str, logits: Logits, images: Tensor, labels: Tensor, seeds: Sequence[int], settings: Mapping[str, Any]
) -> Tensor:
    """Change the images so that a classifier errs on them.

    Works under `torch.no_grad()` and leaves no gradients on the model. The result of an image depends on the image, its
    label and its seed alone, up to the classifier's rounding in batches of other sizes.

    logits: from RGB float32 (N, 3, H, W) in [0, 1], with the model's own normalisation inside, to logits (N, K) of two
    classes or more; differentiable. images: float32 (N, 3, H, W) in [0, 1], as is the result, on the same device.
    labels: int64 (N,), the classes to lead away from. seeds: N integers, from which all randomness comes. settings:
    values in place of defaults, by name.

    Raises ValueError as `checked_settings`; RuntimeError where the classifier has no finite gradients.
    """
    import torch

    values = checked_settings(name, settings)
    if len(images) == 0:
        return images.clone()
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    changed = pkgutil.resolve_name(ATTACKS[name].run)(logits, images.detach(), labels, generators, **values).detach()
    if not ((changed >= 0) & (changed <= 1)).all():  # which nan is not
        raise RuntimeError(f"{name}: the classifier's gradients on these images are not finite")
    return changed
