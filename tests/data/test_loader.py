"""Batches for a model, and the words for what keeps it from taking them."""

from __future__ import annotations

import pytest
import torch

from tests.refusals import tells
from trustcache.data.loader import model_at_work
from trustcache.errors import TrustcacheError


def test_a_model_whose_own_tensors_stay_on_the_cpu_is_led_there() -> None:
    with pytest.raises(TrustcacheError) as raised, model_at_work("net", torch.empty(2, 3, 8, 8)):
        raise RuntimeError("Expected all tensors to be on the same device, but found at least two, cuda:0 and cpu!")
    assert tells(str(raised.value), "net", "--device cpu")
