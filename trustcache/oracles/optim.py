"""Optimisers: those of oracles and of fitted classifiers, and the options that choose among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trustcache.data.augmentations import AUGMENTATIONS
from trustcache.data.machine import PANEL, device_option, memory_option, workers_option
from trustcache.data.splits import VAL_FRACTION
from trustcache.models.precision import TUNING
from trustcache.protocols import Optimiser
from trustcache.registry import option

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

# The share of its steps that OneCycle goes up, torch's default.
_RISE = 0.3


@dataclass(frozen=True)
class Machine:
    """The machine an oracle is trained and scored on, which decides how fast that is, not what it becomes."""

    device: str = device_option()
    workers: int | None = workers_option()
    checkpoint_every_s: float = option(
        60.0, "Seconds between checkpoints.", min=0, name="--checkpoint-every", panel=PANEL
    )
    memory: str | None = memory_option()


@dataclass(frozen=True)
class Recipe:
    """The highest learning rate and the weight decay of an optimiser of fitted classifiers, unless told otherwise."""

    lr: float
    weight_decay: float


RECIPES = {"adamw": Recipe(lr=1e-3, weight_decay=0.05), "sgd": Recipe(lr=0.05, weight_decay=5e-4)}


def _usual(field: str) -> str:
    return ", ".join(f"{name}: {getattr(recipe, field):g}" for name, recipe in RECIPES.items())


@dataclass(frozen=True)
class FitSettings:
    """The settings of a fitting by cross entropy, the rate going up to `lr` and down again once (OneCycle).

    The optimiser's own lr and weight_decay count where these are None.
    """

    epochs: int = option(10, "Passes over the data.", min=1)
    batch_size: int = option(128, "Images a step.", min=2)
    optimiser: str = option("adamw", "AdamW, or SGD with momentum 0.9; either with OneCycle.", choices=tuple(RECIPES))
    lr: float | None = option(None, f"Highest learning rate ({_usual('lr')}).", min=0)
    weight_decay: float | None = option(None, f"Weight decay ({_usual('weight_decay')}).", min=0)
    augment: str = option(
        "none",
        "flip-crop mirrors half of the images and shifts all; not for digits.",
        choices=tuple(AUGMENTATIONS),
    )
    val_fraction: float = option(VAL_FRACTION, "Part held out, to tell how good it is.", min=0, max=0.9)
    seed: int = option(0, "Draws first weights, order, augmentation, dropout, that part.", min=0)
    precision: str = option("float32", "Of its network while it learns.", choices=TUNING)

    def filled(self) -> FitSettings:
        """Return the same with the optimiser's own numbers where none were given."""
        usual = vars(RECIPES[self.optimiser])
        return replace(self, **{key: value for key, value in usual.items() if getattr(self, key) is None})


def build_optimiser(
    settings: Optimiser, parameters: Sequence[nn.Parameter], steps: int
) -> tuple[torch.optim.Optimizer, LRScheduler | None]:
    """Return the optimiser of an oracle's parameters for so many steps, and its schedule where it has one."""
    import torch

    fused = parameters[0].is_cuda  # one kernel for all, where torch would take one for each of their operations
    if settings.name == "adam":
        return torch.optim.Adam(parameters, lr=settings.lr, fused=fused), None
    sgd = torch.optim.SGD(parameters, lr=settings.lr, momentum=settings.momentum, fused=fused)
    rise = _RISE if settings.warmup_steps is None else min(settings.warmup_steps / steps, _RISE)
    return sgd, _one_cycle(sgd, settings.lr, steps, rise, settings.cycle_momentum)


def fitting_optimiser(
    settings: FitSettings, groups: list[dict[str, Any]], steps: int
) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """Return the optimiser of a classifier's groups of parameters for so many steps, and its schedule."""
    import torch

    lr, fused = settings.lr or 0.0, groups[0]["params"][0].is_cuda
    optimiser: torch.optim.Optimizer = torch.optim.AdamW(groups, lr=lr, fused=fused)
    if settings.optimiser == "sgd":
        optimiser = torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True, fused=fused)
    return optimiser, _one_cycle(optimiser, lr, steps, _RISE, cycle_momentum=True)


def _one_cycle(
    optimiser: torch.optim.Optimizer, lr: float, steps: int, rise: float, cycle_momentum: bool
) -> OneCycleLR:
    from torch.optim.lr_scheduler import OneCycleLR

    return OneCycleLR(optimiser, lr, total_steps=steps, pct_start=rise, cycle_momentum=cycle_momentum)
