"""The training loop's steps, apart from what is trained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from trustcache.oracles.training_loop import TrainingLoop


def test_each_step_in_bf16_computes_with_the_weights_that_the_last_one_left(tmp_path: Path) -> None:
    losses = {}
    for precision in ("float32", "bf16"):
        torch.manual_seed(0)
        model, batch = torch.nn.Linear(4, 1), torch.randn(8, 4)
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        loop = TrainingLoop("net", model, sgd, None, 3, tmp_path / "none", 1e9, precision=precision)
        loop.run([batch] * 3, lambda images, net=loop.network: net(images).float().square().mean(), lambda: None)
        losses[precision] = loop.history["losses"]
    assert losses["bf16"] != losses["float32"]
    assert losses["bf16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bf16"][2] < 0.9 * losses["bf16"][0]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        torch.AcceleratorError("CUDA error: unknown"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GiB)"),
    ],
)
def test_a_gpu_that_cannot_take_a_checkpoint_is_no_damage_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    model, file = torch.nn.Linear(4, 1), tmp_path / "checkpoint.pt"
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    loop = TrainingLoop("net", model, sgd, None, 3, file, save_every_s=0)
    loop.run([torch.randn(8, 4)] * 2, lambda images: loop.network(images).square().mean(), lambda: None)

    def full(state: object) -> None:
        raise error

    monkeypatch.setattr(sgd, "load_state_dict", full)
    with pytest.raises(type(error), match=re.escape(str(error))):
        TrainingLoop("net", model, sgd, None, 3, file, save_every_s=0)
