"""Which runs a request becomes, and that they are kept, found and scored."""

from __future__ import annotations

import numpy as np
import pytest

from trustcache.errors import UsageError
from trustcache.losses import LOSSES
from trustcache.oracles import LEAST_STEPS, default_optimiser
from trustcache.train import loss_grid


def test_all_losses_with_their_defaults() -> None:
    grid = loss_grid(["all"], {})
    assert [choice.name for choice in grid] == list(LOSSES)
    assert {c.name: c.settings for c in grid}["ss"] == {"alpha_pos": 1.0, "alpha_neg": 3.0}


def test_lists_become_every_combination() -> None:
    grid = loss_grid(["ce", "ss"], {"alpha_pos": [1.0, 2.0], "alpha_neg": [3.0, 5.0, 7.0]})
    assert [c.name for c in grid] == ["ce"] + ["ss"] * 6
    assert {(c.settings["alpha_pos"], c.settings["alpha_neg"]) for c in grid[1:]} == {
        (a, b) for a in (1.0, 2.0) for b in (3.0, 5.0, 7.0)
    }


def test_a_balanced_loss_takes_the_settings_of_its_base() -> None:
    (choice,) = loss_grid(["class-balanced"], {"base": ["ss"], "alpha_neg": [5.0]})
    assert choice.settings == {"beta": 0.9999, "base": "ss", "alpha_pos": 1.0, "alpha_neg": 5.0}


def test_several_bases_become_several_losses() -> None:
    grid = loss_grid(["class-balanced"], {"base": ["ce", "focal"], "beta": [0.9, 0.99]})
    assert [(c.settings["base"], c.settings["beta"]) for c in grid] == [
        ("ce", 0.9), ("ce", 0.99), ("focal", 0.9), ("focal", 0.99)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "settings", "said"),
    [
        (["cee"], {}, "--loss cee"),
        (["ce"], {"gamma": [2.0]}, "--gamma: means nothing to ce"),
        (["class-balanced"], {"alpha_pos": [2.0]}, "--alpha-pos: means nothing"),
        (["class-balanced"], {"base": ["tcp"]}, "--base tcp"),
    ],
)
def test_a_request_that_means_nothing_is_refused(names: list[str], settings: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        loss_grid(names, settings)


@pytest.mark.parametrize("frozen", [True, False])
def test_small_data_are_passed_over_until_the_steps_suffice(frozen: bool) -> None:
    small, large = default_optimiser(frozen, 700), default_optimiser(frozen, 50_000)
    assert large.epochs == (20 if frozen else 1)
    an_epoch = np.ceil(700 / small.batch_size) if frozen else np.floor(700 / small.batch_size)
    steps = an_epoch * small.epochs
    assert steps >= LEAST_STEPS[small.name]
    assert default_optimiser(frozen, 3).epochs == LEAST_STEPS[small.name]
