"""Work side by side: decoding, copies to a GPU, its forward passes, copies back and writing, with the time of each."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from trustcache.errors import percent
from trustcache.models.to_device import to_device

if TYPE_CHECKING:  # extraction is declared without torch, which takes seconds to import
    from concurrent.futures import Future

    import numpy as np
    import torch

    from trustcache.data.variants.variation import Batch

T = TypeVar("T")

# The waits of the process that runs the model, and what shortens each where it is the longest.
REMEDIES = {
    "images": "more --workers or cores",
    "model": "a faster --device",
    "attacks and styles": "a faster --device",
    "disk": "a faster disk, or --store float16",
}


class Waits:
    """Seconds that the process running a model waits, by the names in `REMEDIES`, of `total` seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.total = 0.0

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the time within the context as a wait."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began

    @contextmanager
    def within(self) -> Iterator[None]:
        """Count the time within the context as part of the total."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.total += time.perf_counter() - began

    def line(self) -> str:
        """Say where the time went, and what would help.

        >>> waits = Waits()
        >>> waits.total, waits.seconds["images"], waits.seconds["disk"] = 4.0, 3.0, 0.2
        >>> waits.line()
        '4.0 s: 75% images, 5% disk, 20% other; to be faster: more --workers or cores'
        """
        parts = {name: self.seconds[name] for name in REMEDIES if self.seconds[name]}
        other = max(self.total - sum(parts.values()), 0.0)
        shares = ", ".join(
            f"{percent(part / self.total, 0)} {name}" for name, part in {**parts, "other": other}.items()
        )
        longest = max(parts, key=parts.__getitem__, default=None)
        return f"{self.total:.1f} s: {shares}" + (f"; to be faster: {REMEDIES[longest]}" if longest else "")


def unheard(line: str) -> None:
    """Tell nobody."""


class WorkLog:
    """Tells `note` of the machine and its settings when they change, and in the end where the time went."""

    def __init__(self, note: Callable[[str], None] = unheard) -> None:
        self.note, self.waits, self._machine = note, Waits(), ""

    def begin(self, device: torch.device, settings: str) -> None:
        """Tell of the device and the settings of some work, unless they are those of the work before."""
        import torch

        called = getattr(torch.get_device_module(device), "get_device_name", None)
        name = f"{device} ({called(device)})" if called else str(device)
        machine, self._machine = self._machine, f"on {name}: {settings}"
        if machine != self._machine:
            self.note(self._machine)

    def end(self) -> None:
        """Tell where the time went, if there was work."""
        if self.waits.total:
            self.note(self.waits.line())


class Mover:
    """Copies batches to a device; to a GPU on a stream of its own, beside the forward pass of the batch before.

    A context manager, at whose end all copies are made.
    """

    def __init__(self, device: torch.device) -> None:
        import torch

        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._copying: list[tuple[torch.cuda.Event, Sequence[Batch]]] = []

    def __enter__(self) -> Mover:
        return self

    def __exit__(self, *_: object) -> None:
        if self.stream:
            self.stream.synchronize()
        self._copying.clear()

    def __call__(self, pieces: Sequence[Batch]) -> Batch:
        """Return the batch of some pieces with its tensors on the device."""
        import torch

        from trustcache.data.variants.variation import joined

        if self.stream is None:
            return joined(pieces).each(lambda tensor: tensor.to(self.device))
        with torch.cuda.stream(self.stream):
            moved = joined([piece.each(lambda tensor: to_device(tensor, self.device)) for piece in pieces])
        # The memory of pieces that are dropped is written to anew.
        self._copying = [waiting for waiting in self._copying if not waiting[0].query()]
        self._copying.append((self.stream.record_event(), pieces))
        working = torch.cuda.current_stream(self.device)
        working.wait_stream(self.stream)
        for tensor in moved.tensors():  # their memory is free for another copy only after the work on them
            tensor.record_stream(working)
        return moved


def fetched(
    results: Iterable[tuple[T, dict[str, torch.Tensor]]], device: torch.device, waits: Waits, late: int = 1
) -> Iterator[tuple[T, dict[str, np.ndarray]]]:
    """Yield each item with its tensors as arrays; from a GPU `late` items late, while it works on the next."""
    import torch

    waiting: list[tuple[T, dict[str, torch.Tensor], torch.cuda.Event]] = []

    def first() -> tuple[T, dict[str, np.ndarray]]:
        item, tensors, copied = waiting.pop(0)
        with waits("model"):
            copied.synchronize()
        return item, {name: tensor.numpy() for name, tensor in tensors.items()}

    for item, tensors in results:
        if device.type == "cuda":
            here = {name: tensor.to("cpu", non_blocking=True) for name, tensor in tensors.items()}  # pinned
            copied = torch.cuda.Event()
            copied.record(torch.cuda.current_stream(device))
            waiting.append((item, here, copied))
            if len(waiting) > late:
                yield first()
        else:
            with waits("model"):
                arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
            yield item, arrays
    while waiting:
        yield first()


class Writer:
    """Writes in a thread, one thing at a time and in order, while the next is made. A context manager.

    What was handed over is written, whatever ends the context. Errors of writing are raised by the next call, or at
    the end.
    """

    def __init__(self, waits: Waits) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self.waits, self._pool = waits, ThreadPoolExecutor(1)
        self._pending: Future[Any] | None = None

    def __enter__(self) -> Writer:
        return self

    def __call__(self, write: Callable[..., None], *arguments: Any) -> None:
        """Have `write` called with the arguments, once the call before it is done."""
        self._finish()
        self._pending = self._pool.submit(write, *arguments)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._pool:
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        pending, self._pending = self._pending, None
        if pending:
            with self.waits("disk"):
                pending.result()
