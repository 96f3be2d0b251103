"""Work on a GPU that is not there: torch tells shapes, dtypes and devices, and computes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode


class Watch(TorchDispatchMode):
    """Lists the operations on a GPU that wait for it, as copies from the CPU do, and those that give float64 there."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.doubles: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        found = func(*args, **given)
        tensors, made = _tensors((args, given)), _tensors(found)
        here = any(tensor.device.type == "cpu" and tensor.ndim for tensor in tensors)  # also what indexes one there
        there = any(tensor.device.type != "cpu" for tensor in (*tensors, *made))
        if here and there and not given.get("non_blocking"):
            self.waits.append(str(func))
        if any(tensor.device.type != "cpu" and tensor.dtype == torch.float64 for tensor in made):
            self.doubles.append(str(func))
        return found


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


@contextmanager
def watched() -> Iterator[Watch]:
    """Within it, tensors may be made on any kind of GPU, and generators are the CPU's."""
    generator = torch.Generator
    with pytest.MonkeyPatch.context() as patch, FakeTensorMode(allow_non_fake_inputs=True), Watch() as watch:
        patch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
        patch.setattr(torch, "Generator", lambda device="cpu": generator())
        yield watch
