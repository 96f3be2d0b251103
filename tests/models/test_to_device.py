"""On a GPU no batch waits for the work on it: what goes there within a pass is pinned, and copied as its turn comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from trustcache.data.augmentations import AUGMENTATIONS
from trustcache.data.variants.cieluv import luv_to_rgb, rgb_to_luv
from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import Classifier
from trustcache.models.identity import Reading
from trustcache.models.preprocessing import Preprocessing
from trustcache.models.views import VIEWS

COLOURS = Preprocessing((8, 8), 1.0, "center", "bicubic", (0.5, 0.4, 0.3), (0.5,) * 3)
JUDGED = Classifier(
    ModelSpec("net", reading=Reading(kept=(3, -1, 0))),
    nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)),
)
GREY = Preprocessing((8, 8), 1.0, "center", "bicubic", (0.5,), (0.5,))


class _Waits(TorchDispatchMode):
    """Lists the operations on a GPU that wait for it: copies from the CPU, also of what indexes a tensor there."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        tensors = [leaf for leaf in torch.utils._pytree.tree_leaves((args, given)) if isinstance(leaf, Tensor)]
        here = any(tensor.device.type == "cpu" and tensor.ndim for tensor in tensors)
        there = any(tensor.is_cuda for tensor in tensors) or torch.device(given.get("device") or "cpu").type == "cuda"
        if here and there and not given.get("non_blocking"):
            self.found.append(str(func))
        return func(*args, **given)


@contextmanager
def on_a_gpu_that_is_not_there() -> Iterator[_Waits]:
    with pytest.MonkeyPatch.context() as patch, FakeTensorMode(allow_non_fake_inputs=True), _Waits() as waits:
        patch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
        patch.setattr(JUDGED, "raw", lambda x: (x.flatten(1)[:, :5], x))  # its weights are not there
        yield waits


WORK: dict[str, Callable[[Tensor], object]] = {
    "normalise": COLOURS.normalise,
    "normalise grey": GREY.normalise,
    "judged classes": JUDGED,
    "flip-crop": lambda pixels: AUGMENTATIONS["flip-crop"](pixels, np.random.default_rng(0)),
    "colours": lambda pixels: luv_to_rgb(rgb_to_luv(pixels / 255)),
    **{name: view.make for name, view in VIEWS.items()},
}


@pytest.mark.parametrize("name", WORK)
def test_work_on_a_batch_does_not_wait_for_the_gpu(name: str) -> None:
    with on_a_gpu_that_is_not_there() as waits:
        WORK[name](torch.empty(4, 3, 8, 8, device="cuda"))
    assert waits.found == []
