"""A mistyped name is refused with the nearest one that there is, whatever option it was given to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cli.config import _require
from tests.refusals import refusal_of
from trustcache.errors import did_you_mean
from trustcache.losses import LOSSES
from trustcache.models.views import parse_views
from trustcache.oracles.head_inputs import parse_inputs
from trustcache.oracles.loss_grid import loss_grid
from trustcache.oracles.presets.preset import read_preset
from trustcache.oracles.tracking import tracking
from trustcache.scores import POST_HOC


def track(name: str, folder: Path) -> None:
    with tracking(folder, [name]):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        (lambda: LOSSES.find("focl"), "focal"),
        (lambda: POST_HOC.find("mcp-view"), "mcp-views"),
        (lambda: read_preset("storng"), "strong"),
        (lambda: parse_views(["mirored"]), "mirrored"),
        (lambda: parse_inputs(["sorted-logprobs"]), "sorted-log-probs"),
        (lambda: loss_grid(["focal"], {"gama": ["2"]}), "gamma"),
        (lambda: track("tensorbord", Path()), "tensorboard"),
        (lambda: _require(Path("run.toml"), "table ", "trian", ["extract", "train"]), "train"),
    ],
)
def test_a_mistyped_name_is_refused_with_the_nearest(asked: Callable[[], object], near: str) -> None:
    assert f"; did you mean {near}" in refusal_of(asked)


def test_a_beginning_is_compared_with_beginnings() -> None:
    runs = ["net-ce-frozen-seed0-2ba51c23", "other-ss-fine-tuned-seed0-43395772"]
    assert did_you_mean("nte-ce", runs) == ""
    assert did_you_mean("nte-ce", runs, beginning=True) == "; did you mean net-ce-frozen-seed0-2ba51c23?"
