"""Batches for a model, and the words for what keeps it from taking them."""

from __future__ import annotations

import pytest
import torch

from tests.refusals import tells
from trustcache.data.loader import choose_device, model_at_work
from trustcache.errors import TrustcacheError


@pytest.mark.parametrize(("rank", "number"), [(0, 0), (1, 1), (2, 0)])
def test_each_of_several_processes_takes_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, rank: int, number: int
) -> None:
    current: list[int] = []
    for name, found in {"is_available": True, "current_accelerator": torch.device("cuda"), "device_count": 2}.items():
        monkeypatch.setattr(torch.accelerator, name, lambda found=found: found)
    monkeypatch.setattr(torch.accelerator, "set_device_index", current.append)
    assert choose_device("auto") == torch.device("cuda")
    for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 3, "LOCAL_WORLD_SIZE": 3}.items():
        monkeypatch.setenv(name, str(value))
    assert (choose_device("auto"), current) == (torch.device("cuda", number), [number])


def test_a_model_whose_own_tensors_stay_on_the_cpu_is_led_there() -> None:
    with pytest.raises(TrustcacheError) as raised, model_at_work("net", torch.empty(2, 3, 8, 8)):
        raise RuntimeError("Expected all tensors to be on the same device, but found at least two, cuda:0 and cpu!")
    assert tells(str(raised.value), "net", "--device cpu")
