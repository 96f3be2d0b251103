"""The state of a training on disk: saved now and then, so that a killed one goes on and ends where it would have."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from trustcache.cache.publish import publish
from trustcache.errors import TrustcacheError


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
