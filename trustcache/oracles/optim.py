"""Optimisers of oracles, and the state of a training on disk."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from trustcache.cache.publish import publish
from trustcache.errors import TrustcacheError
from trustcache.protocols import Optimiser

# The share of its steps that OneCycle goes up, torch's default.
_RISE = 0.3


def build_optimiser(
    settings: Optimiser, parameters: Iterable[nn.Parameter], steps: int
) -> tuple[torch.optim.Optimizer, LRScheduler | None]:
    """Return the optimiser of a network's parameters for so many steps, and its schedule where it has one."""
    if settings.name == "adam":
        return torch.optim.Adam(parameters, lr=settings.lr), None
    sgd = torch.optim.SGD(parameters, lr=settings.lr, momentum=settings.momentum)
    rise = _RISE if settings.warmup_steps is None else min(settings.warmup_steps / steps, _RISE)
    schedule = OneCycleLR(sgd, settings.lr, total_steps=steps, pct_start=rise, cycle_momentum=settings.cycle_momentum)
    return sgd, schedule


@dataclass(frozen=True)
class Machine:
    """What the machine offers, which decides how fast an oracle is trained and scored, not what it becomes."""

    device: str = "auto"
    workers: int = 2
    checkpoint_every_s: float = 60.0


class Stateful(Protocol):
    """A network, an optimiser, a schedule."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


def save_state(path: Path, parts: Mapping[str, Stateful], step: int) -> None:
    """Keep the state of all parts after so many steps, and of torch's random generators."""
    state = {
        "step": step,
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all(),
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    publish(path, buffer.getvalue())


def load_state(path: Path, parts: Mapping[str, Stateful]) -> int:
    """Bring parts and generators back to what was saved; the steps done by then, 0 where nothing was saved.

    Raises TrustcacheError where the file is not whole.
    """
    if not path.is_file():
        return 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise TrustcacheError(f"{path}: not a whole checkpoint; remove it to begin anew") from error
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    torch.set_rng_state(state["rng"])
    if len(state["cuda_rng"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return state["step"]
