"""The losses of a training: every combination of those asked for and of the values of their settings."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch

from trustcache.errors import UsageError, did_you_mean, kind_and_line
from trustcache.losses import LOSSES, LossChoice, settings_of
from trustcache.protocols import PROTOCOLS
from trustcache.registry import Setting, option_name


def loss_grid(
    names: Sequence[str],
    given: Mapping[str, Sequence[float | str]],
    protocol: str = "equations",
    preset: Mapping[str, Sequence[float | str]] = MappingProxyType({}),
    sweep: bool = False,
) -> list[LossChoice]:
    """Return every combination of losses ("all": each that the protocol has) and of the values of their settings.

    A setting's values are those given, else the preset's, else those a sweep tries if it is one, else the default.
    Raises UsageError for a loss that the protocol lacks or whose function is none, and for a setting given that none of
    the losses has or that is out of its range.
    """
    known = PROTOCOLS[protocol].losses
    names = list(known) if list(names) == ["all"] else list(dict.fromkeys(names))
    for name in names:
        LOSSES.find(name)
        if name not in known:
            raise UsageError(f"--loss {name}: unknown under --protocol {protocol}; one of {', '.join(known)}, or all")

    def values(key: str, setting: Setting) -> Sequence[float | str]:
        if key in given:
            return setting.each(option_name(key), given[key])
        return preset.get(key) or (sweep and setting.sweep) or [setting.default]

    choices: list[LossChoice] = []
    used: set[str] = set()
    for name in names:
        own = LOSSES[name].settings
        for base in values("base", own["base"]) if "base" in own else [""]:
            grid = {key: values(key, setting) for key, setting in settings_of(name, str(base)).items()}
            grid |= {"base": [base]} if base else {}
            used |= grid.keys()
            choices += [LossChoice(name, dict(zip(grid, v, strict=True))) for v in itertools.product(*grid.values())]
    if unused := sorted(given.keys() - used):
        near = did_you_mean(unused[0], used)
        raise UsageError(f"{option_name(unused[0])}: means nothing to {', '.join(names)}{near}")
    for choice in {choice.core.formula: choice for choice in choices}.values():
        _require_elementwise(choice)
    return choices


_ELEMENTWISE = "it must give one loss an element of z, by torch operations that take settings as numbers or tensors"


def _require_elementwise(choice: LossChoice) -> None:
    """Compute a loss once, for one head and for two.

    Raises UsageError where its function fails, or gives anything but one loss a sample and head with a gradient.
    """
    settings = {key: float(choice.settings[key]) for key in choice.core.settings}
    for shape, numbers in (((5,), settings), ((5, 2), {key: torch.full((2,), v) for key, v in settings.items()})):
        z = torch.linspace(-1, 1, 5 * len(shape)).reshape(shape).requires_grad_()
        try:
            loss = choice.core.formula(z, torch.full(shape, 0.5), **numbers)
            loss.sum().backward()
        except Exception as error:  # a user's function may raise anything
            raise UsageError(f"--loss {choice.name}: {kind_and_line(error)}; {_ELEMENTWISE}") from error
        if loss.shape != shape:
            raise UsageError(f"--loss {choice.name}: gives {tuple(loss.shape)} for z {shape}; {_ELEMENTWISE}")
