"""The training loop of oracles and classifiers on images: steps, checkpoints, resumption."""

from __future__ import annotations

import io
import math
import pickle
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from trustcache.cache.seal import UNSEALED, publish_sealed, read_sealed
from trustcache.errors import DamagedError, TrustcacheError, kind_and_line
from trustcache.models.precision import Repeatable

_ANEW = "remove it to begin anew"
T = TypeVar("T")

# Steps between two looks at a GPU's losses.
READ_EVERY = 8


@dataclass
class TrainingLoop:
    """A network in training, which after a kill continues from its checkpoint, to the same end.

    name: what the network is called in messages. steps: of the whole training; `step` is the number of those done.
    history: lists, by name, that a checkpoint keeps too; the losses of the steps are added to the one called "losses".
    """

    name: str
    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: LRScheduler | None
    steps: int
    checkpoint: Path
    save_every_s: float
    history: dict[str, list[Any]] = field(default_factory=dict)
    step: int = 0

    def __post_init__(self) -> None:
        self._parts: dict[str, Any] = {"model": self.model, "optimiser": self.optimiser}
        if self.schedule:
            self._parts["schedule"] = self.schedule
        device = next(self.model.parameters()).device
        self._repeatable = Repeatable(device)
        self._read_every = 1 if device.type == "cpu" else READ_EVERY
        self._unread: list[torch.Tensor] = []
        if self.checkpoint.is_file():
            self._restore()

    def run(self, batches: Iterable[T], loss_of: Callable[[T], torch.Tensor], note: Callable[[], None]) -> None:
        """Take a step on each of the batches that are left; `note` is called after each.

        Raises TrustcacheError where a loss is not finite.
        """
        saved = time.monotonic()
        self.model.train()
        for batch in batches:
            self._unread.append(self._repeatable(partial(self._gradients, batch, loss_of)))
            self.optimiser.step()
            if self.schedule:
                self.schedule.step()
            self.step += 1
            if len(self._unread) >= self._read_every:
                self.read_losses()
            note()
            if time.monotonic() - saved >= self.save_every_s:
                self.read_losses()
                self._save()
                saved = time.monotonic()
        self.read_losses()

    def read_losses(self) -> None:
        """Add the losses of the last steps to the history: reading one off a GPU waits for all work on it.

        Raises TrustcacheError where one is not finite.
        """
        values = torch.stack(self._unread).tolist() if self._unread else []
        self._unread = []
        for step, value in enumerate(values, self.step - len(values) + 1):
            if not math.isfinite(value):
                where = f"step {step} of {self.steps}"
                raise TrustcacheError(f"{self.name}: the loss is no longer finite at {where}; use a smaller --lr")
        self.history.setdefault("losses", []).extend(values)

    def _gradients(self, batch: T, loss_of: Callable[[T], torch.Tensor]) -> torch.Tensor:
        """Set the gradients of a batch's loss, and return that."""
        loss = loss_of(batch)
        self.optimiser.zero_grad()
        loss.backward()
        return loss.detach()

    def _save(self) -> None:
        """Save all state, and that of torch's random generators."""
        state = {
            "step": self.step,
            "state": {name: part.state_dict() for name, part in self._parts.items()},
            "history": self.history,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all(),
        }
        buffer = io.BytesIO()
        buffer.write(UNSEALED.encode())
        torch.save(state, buffer)
        publish_sealed(self.checkpoint, buffer.getbuffer())

    def _restore(self) -> None:
        """Restore what `_save` saved. Raises DamagedError where the file is not as it was written."""
        data = io.BytesIO(read_sealed(self.checkpoint, _ANEW)[len(UNSEALED) :])
        try:
            state = torch.load(data, map_location="cpu", weights_only=True)
            for name, part in self._parts.items():
                part.load_state_dict(state["state"][name])
            self.step, self.history = state["step"], state["history"]
            torch.set_rng_state(state["rng"])
        except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError) as error:
            reason = kind_and_line(error)
            raise DamagedError(f"{self.checkpoint}: no checkpoint of this training ({reason}); {_ANEW}") from error
        if len(state["cuda_rng"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda_rng"])


def epoch_batches(rows: np.ndarray, size: int, epochs: int, seed: Sequence[int]) -> list[np.ndarray]:
    """Return the rows of every step of all epochs, each epoch in an order of its own.

    An epoch's last, incomplete batch is dropped unless it is its only one.
    """
    batches = []
    for epoch in range(epochs):
        order = np.random.default_rng([*seed, epoch]).permutation(rows)
        batches += [order[i * size : (i + 1) * size] for i in range(max(len(order) // size, 1))]
    return batches
