"""On a GPU no batch waits for the work on it: what goes there within a pass is pinned, and copied as its turn comes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.fake_gpu import watched
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


WORK: dict[str, Callable[[Tensor], object]] = {
    "normalise": COLOURS.normalise,
    "normalise grey": GREY.normalise,
    "judged classes": JUDGED,
    "flip-crop": lambda pixels: AUGMENTATIONS["flip-crop"](pixels, np.random.default_rng(0)),
    "colours": lambda pixels: luv_to_rgb(rgb_to_luv(pixels / 255)),
    **{name: view.make for name, view in VIEWS.items()},
}


@pytest.mark.parametrize("name", WORK)
def test_work_on_a_batch_does_not_wait_for_the_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JUDGED, "raw", lambda x: (x.flatten(1)[:, :5], x))  # its weights are not there
    with watched() as watch:
        WORK[name](torch.empty(4, 3, 8, 8, device="cuda"))
    assert watch.waits == []
