"""Precisions of a forward pass, and arithmetic that gives the same bits again on the same device.

torch rounds float32 convolutions to TF32 on NVIDIA's GPUs unless told otherwise, and takes kernels there whose sums
come in any order. What runs a network does so within `arithmetic`; what needs gradients calls `Repeatable`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from trustcache.errors import UsageError

if TYPE_CHECKING:  # torch takes seconds to import, and the command line reads the names
    import torch

T = TypeVar("T")


@dataclass(frozen=True)
class Precision:
    """autocast: the dtype of matrix products and convolutions, None for the weights' own. tf32: round their inputs."""

    autocast: str | None = None
    tf32: bool = False


PRECISIONS = {
    "float32": Precision(),
    "tf32": Precision(tf32=True),
    "bf16": Precision("bfloat16"),
    "fp16": Precision("float16"),
}


TUNING = ("float32", "tf32", "bf16")
"""Precisions that networks are trained in: float16's gradients would need scaling."""


def resolved(name: str, device: torch.device) -> str:
    """Return the precision of a name; `auto` is bf16 on a GPU that computes in it, else float32.

    Raises UsageError for TF32 on a device without it.
    """
    if name == "auto":
        return "bf16" if _computes_bf16(device) else "float32"
    # NVIDIA's GPUs have had both since the same generation.
    if PRECISIONS[name].tf32 and not (device.type == "cuda" and _computes_bf16(device)):
        raise UsageError(f"--precision {name}: {device} has no TF32; use float32")
    return name


def _computes_bf16(device: torch.device) -> bool:
    import torch

    supported = getattr(torch.get_device_module(device), "is_bf16_supported", None)
    return supported is not None and supported(including_emulation=False)


@contextmanager
def arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """Compute in one of `PRECISIONS`, with convolutions that repeat to the bit in batches of one size.

    Several threads may at once; where some of them want TF32 and others float32, all get what was asked for last.
    """
    import torch

    chosen = PRECISIONS[precision]
    dtype = getattr(torch, chosen.autocast) if chosen.autocast else None
    with _process.rounding(chosen.tf32), torch.autocast(device.type, dtype, enabled=dtype is not None):
        yield


class _Process:
    """The settings of torch that are the whole process's, not a thread's.

    They are the user's again when the last of the threads that computed at once is done.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: list[bool] = []  # by all that is computed now, in the order of its beginning
        self._users: tuple[str, Sequence[Any]]

    @contextmanager
    def rounding(self, tf32: bool) -> Iterator[None]:
        """Round to TF32 or not at all, with kernels that repeat."""
        import torch
        from torch.backends import cudnn

        with self._lock:
            before = torch.get_float32_matmul_precision(), _set_process(tf32)
            if not self._asked:
                self._users = before
            self._asked.append(tf32)
        try:
            yield
        finally:
            with self._lock:
                del self._asked[-1 - self._asked[::-1].index(tf32)]
                if self._asked:
                    _set_process(self._asked[-1])
                else:
                    precision, flags = self._users
                    cudnn.set_flags(*flags)
                    torch.set_float32_matmul_precision(precision)


def _set_process(tf32: bool) -> Sequence[Any]:
    """Set all that is of the process; return what cuDNN's flags were, as its `set_flags` takes them."""
    import torch
    from torch.backends import cudnn

    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    before: Sequence[Any] = cudnn.set_flags(_benchmark=False, _deterministic=True, _allow_tf32=tf32)
    return before


_process = _Process()


class Repeatable:
    """Runs work with gradients in torch's deterministic mode, on a GPU; a CPU's gradients repeat by themselves.

    Where an operation has no deterministic kernel, the work is begun again without the mode, which then stays off:
    `possible` is False.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.possible = device, device.type == "cuda"

    def __call__(self, work: Callable[[], T]) -> T:
        """Return what `work` returns. It may draw from torch's generators, and changes nothing before it ends."""
        if not self.possible:
            return work()
        import torch

        states = torch.get_rng_state(), torch.cuda.get_rng_state(self.device)
        try:
            with _deterministic():
                return work()
        except Exception as error:  # torch's RuntimeError, perhaps named after the model by then
            if "deterministic" not in str(error):
                raise
        self.possible = False
        torch.set_rng_state(states[0])
        torch.cuda.set_rng_state(states[1], self.device)
        return work()


@contextmanager
def _deterministic() -> Iterator[None]:
    import torch
    import torch.utils.deterministic

    memory: Any = torch.utils.deterministic
    # Without it torch takes no product of cuBLAS for deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    enabled, filled = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    # Attention's backward pass is not deterministic where torch only warns.
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        memory.fill_uninitialized_memory = filled
