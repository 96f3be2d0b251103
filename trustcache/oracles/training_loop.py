"""The training loop of oracles and classifiers on images: steps, checkpoints, resumption."""

from __future__ import annotations

import contextlib
import io
import math
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from trustcache.cache.seal import UNSEALED, publish_sealed, read_sealed
from trustcache.errors import DamagedError, TrustcacheError, UsageError, kind_and_line
from trustcache.models.memory import memory_is_full
from trustcache.models.precision import Repeatable, arithmetic
from trustcache.oracles.process_group import ALONE, ProcessGroup

_ANEW = "remove it to begin anew"
T = TypeVar("T")

# Steps between two looks at a GPU's losses.
READ_EVERY = 8


class Diverged(TrustcacheError):
    """A training whose loss is no longer finite."""


@dataclass
class TrainingLoop:
    """A network in training, which after a kill continues from its checkpoint, to the same end.

    name: what the network is called in messages. steps: of the whole training; `step` is the number of those done.
    history: lists, by name, that a checkpoint keeps too; the losses of the steps are added to the one called "losses".
    seed: draws what the network leaves out at random, anew for each step, so that a step is the same whatever was drawn
    before it. group: the processes that take each step together, of which the first writes checkpoints.
    precision: of a step, one of `PRECISIONS`; entered anew for each, since autocast computes with the weights as they
    were when it was entered.
    `network` computes the loss: `model` itself, or in a group the module that averages its gradients.
    """

    name: str
    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: LRScheduler | None
    steps: int
    checkpoint: Path
    save_every_s: float
    seed: int = 0
    group: ProcessGroup = ALONE
    history: dict[str, list[Any]] = field(default_factory=dict)
    precision: str = "float32"
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
        self._require_same_step()
        self.network = self.group.shared(self.model)
        self._saved = time.monotonic()

    def tell_begun(self, note: Callable[[str], None]) -> None:
        """Tell `note` from which step a training goes on that was interrupted."""
        if self.step:
            note(f"{self.name}: goes on from step {self.step:,} of {self.steps:,}")

    def run(self, batches: Iterable[T], loss_of: Callable[[T], torch.Tensor], note: Callable[[], None]) -> None:
        """Take a step on each of the batches that are left; `note` is called after each.

        Raises Diverged where a loss is not finite.
        """
        self.model.train()
        steps = WholeSteps(lambda: [self])
        with steps.saved_at_interruption():
            for batch in batches:
                with steps.one():
                    self.take([batch], loss_of)
                note()
                self.save_if_due()
        self.read_losses()

    def take(self, parts: Sequence[T], loss_of: Callable[[T], torch.Tensor]) -> None:
        """Take a step on a batch, a part after the other.

        loss_of: a part's share of the mean over the whole batch, which the parts of all processes add up to.
        Raises Diverged where the loss of this or one of the last steps is not finite.
        """
        with arithmetic(self.precision, self._repeatable.device):
            self._unread.append(self._repeatable(self._attempts(parts, loss_of)))
        self.optimiser.step()
        if self.schedule:
            self.schedule.step()
        self.step += 1
        if len(self._unread) >= self._read_every:
            self.read_losses()

    def save_if_due(self) -> None:
        """Write a checkpoint where it is time for one, after a step whose loss has been read."""
        if self.group.rank == 0 and not self._unread and time.monotonic() - self._saved >= self.save_every_s:
            self._save()
            self._saved = time.monotonic()

    def save_between_steps(self) -> None:
        """Write a checkpoint of a process that works alone; others would have to read their losses together with it."""
        if self.group.count == 1:
            with contextlib.suppress(Diverged):
                self.read_losses()
                self._save()

    def read_losses(self) -> None:
        """Add the losses of the last steps to the history: reading one off a GPU waits for all work on it.

        Raises Diverged where one is not finite.
        """
        values = self.group.summed(torch.stack(self._unread)).tolist() if self._unread else []
        self._unread = []
        for step, value in enumerate(values, self.step - len(values) + 1):
            if not math.isfinite(value):
                where = f"step {step} of {self.steps}"
                raise Diverged(f"{self.name}: the loss is no longer finite at {where}; use a smaller --lr")
        self.history.setdefault("losses", []).extend(values)

    def _attempts(self, parts: Sequence[T], loss_of: Callable[[T], torch.Tensor]) -> Callable[[], torch.Tensor]:
        """Return a function that sets the gradients of a batch's loss and returns that; it may be called again."""
        begun = False

        def attempt() -> torch.Tensor:
            nonlocal begun
            if begun and self.group.count > 1:  # its buckets of gradients are as the failed attempt left them
                self.network = self.group.shared(self.model)
            begun = True
            drawn = np.random.SeedSequence([self.seed, self.step, self.group.rank]).generate_state(1, np.uint64)
            torch.manual_seed(int(drawn[0]))
            self.optimiser.zero_grad()
            return torch.stack([self._gradient(loss_of, part) for part in parts]).sum()

        return attempt

    def _gradient(self, loss_of: Callable[[T], torch.Tensor], part: T) -> torch.Tensor:
        """Add the gradient of a part's loss, and return that."""
        with self.group.normalising(self._repeatable.device):
            loss = loss_of(part)
        (loss * self.group.count).backward()  # gradients are averaged over the processes
        return loss.detach()

    def _require_same_step(self) -> None:
        """Raise TrustcacheError where the first process goes on from another step than this one."""
        if self.group.count == 1:
            return
        own = self.step if self.group.rank == 0 else 0
        first = self.group.summed(torch.tensor(own, device=self._repeatable.device))
        if int(first) != self.step:
            raise TrustcacheError(
                f"{self.checkpoint}: at step {self.step} here and {int(first)} in the first process; give all of them "
                "one workspace, on a disk that they share"
            )

    def _save(self) -> None:
        """Save all state."""
        state = {
            "step": self.step,
            "state": {name: part.state_dict() for name, part in self._parts.items()},
            "history": self.history,
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
        except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError) as error:
            if memory_is_full(error) or isinstance(error, torch.AcceleratorError):  # no fault of the file's
                raise
            reason = kind_and_line(error)
            raise DamagedError(f"{self.checkpoint}: no checkpoint of this training ({reason}); {_ANEW}") from error


class WholeSteps:
    """Steps that an interruption does not divide: it waits for the end of one, and then the loops are saved."""

    def __init__(self, loops: Callable[[], Sequence[TrainingLoop]]) -> None:
        self._loops, self._between = loops, True

    @contextlib.contextmanager
    def saved_at_interruption(self) -> Iterator[None]:
        """Write checkpoints where a KeyboardInterrupt comes between two steps."""
        try:
            yield
        except KeyboardInterrupt:
            for loop in self._loops() if self._between else ():
                loop.save_between_steps()
            raise

    @contextlib.contextmanager
    def one(self, waits: bool = True) -> Iterator[None]:
        """Take a step, for whose end a first signal waits, but not a second. waits: False for one that takes long."""
        main = threading.current_thread() is threading.main_thread()  # which alone takes signals
        both = (signal.SIGINT, signal.SIGTERM) if main and waits else ()
        usual = {number: handler for number in both if callable(handler := signal.getsignal(number))}
        came: list[int] = []

        def wait(number: int, frame: FrameType | None) -> None:
            came.append(number)
            if len(came) > 1:
                usual[signal.Signals(number)](number, frame)

        self._between = False
        for number in usual:
            signal.signal(number, wait)
        try:
            yield
            self._between = True
        finally:
            for number, handler in usual.items():
                signal.signal(number, handler)
            if came:
                signal.raise_signal(came[0])


def epoch_batches(rows: np.ndarray, size: int, epochs: int, seed: Sequence[int]) -> list[np.ndarray]:
    """Return the rows of every step of all epochs, each epoch in an order of its own.

    An epoch's last, incomplete batch is dropped unless it is its only one.
    """
    batches = []
    for epoch in range(epochs):
        order = np.random.default_rng([*seed, epoch]).permutation(rows)
        batches += [order[i * size : (i + 1) * size] for i in range(max(len(order) // size, 1))]
    return batches


def require_enough(batches: Sequence[np.ndarray], group: ProcessGroup, passes: int = 1) -> None:
    """Raise UsageError where a batch has less than an image for each forward pass of each process of a group."""
    if (least := min(map(len, batches))) < group.count * passes:
        each = f"{group.count} processes" if passes == 1 else f"{passes} forward passes of {group.count} processes"
        raise UsageError(
            f"--batch-size: a batch of {least} images is too small for {each}; take a larger one, or fewer"
        )
