"""The warning before images are enlarged to an input size that nobody told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.refusals import tells
from trustcache.data.dataset import open_dataset
from trustcache.data.manifest import Files, Manifest
from trustcache.extract.enlarged import enlarged_warning
from trustcache.models.classifiers import as_classifier


@pytest.mark.parametrize(
    ("side", "told", "warned"), [(16, {}, True), (15, {}, False), (16, {"input_size": (16, 16)}, False)]
)
def test_small_images_are_warned_of_unless_the_size_was_told(side: int, told: dict[str, Any], warned: bool) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * side * side, 10))
    model.pretrained_cfg = {"input_size": (3, side, side), "assumed": True}  # type: ignore[assignment]
    digits = open_dataset(Manifest("digits", "test", (Files("digits"),)), Path())
    line = enlarged_warning(as_classifier(model, told), digits)
    assert bool(line) == warned
    assert not warned or tells(line, "warning", "8 x 8", f"{side} x {side}", "--preprocess input_size=8")
