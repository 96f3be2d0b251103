"""The losses that a request becomes, and the ranges of their settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trustcache.errors import UsageError
from trustcache.losses import LOSSES, LossChoice, loss_settings
from trustcache.oracles.loss_grid import loss_grid
from trustcache.protocols import LEAST_STEPS, default_optimiser

BASES = [name for name, loss in LOSSES.items() if loss.weightable]
NUMBERS = {key: setting for key, setting in loss_settings().items() if not setting.names}


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
        (["ce"], {"gamma": [2.0]}, "--gamma: .* ce"),
        (["class-balanced"], {"alpha_pos": [2.0]}, "--alpha-pos"),
        (["class-balanced"], {"base": ["tcp"]}, "--base tcp"),
    ],
)
def test_a_request_that_means_nothing_is_refused(names: list[str], settings: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        loss_grid(names, settings)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-3.0, 1000.0, float("nan"), float("inf")])
def test_a_setting_out_of_its_range_is_refused_by_its_option(name: str, value: float) -> None:
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(UsageError, match=rf"^{option} .*from 0 to .*{value}$"):
        loss_grid(["class-balanced"], {"base": BASES, name: [1.0 if name != "beta" else 0.5, value]})


@pytest.mark.parametrize(("name", "end"), [("alpha_pos", 0.0), ("alpha_neg", 0.0), ("beta", 1.0)])
def test_an_end_at_which_a_loss_means_nothing_is_no_part_of_the_range(name: str, end: float) -> None:
    with pytest.raises(UsageError, match=f"without {end:g}, not {end}"):
        loss_grid(["class-balanced"], {"base": ["ss"], name: [end]})


@pytest.mark.parametrize("name", NUMBERS)
def test_at_both_ends_of_a_range_losses_and_what_adam_makes_of_their_gradients_are_finite(name: str) -> None:
    setting = NUMBERS[name]
    inside = np.linspace(setting.lowest, setting.highest, 1001)
    ends = {float(inside[1 if setting.lowest == setting.excluded else 0])}
    ends.add(float(inside[-2 if setting.highest == setting.excluded else -1]))
    grid = [c for b in BASES for c in loss_grid(["class-balanced"], {"base": [b]}) if name in c.settings]
    for choice in grid:
        for end in ends:
            formula, numbers = LossChoice(choice.name, choice.settings | {name: end}).bind((1, 10**6))
            far = torch.tensor([-1e30, -1e4, 1e4, 1e30])
            z = torch.cat([torch.linspace(-50, 50, 1001), far]).repeat(2).requires_grad_()
            correct = torch.arange(len(z)) // (len(z) // 2)
            loss = formula(z, correct, **{key: torch.tensor(n) for key, n in numbers.items()})
            loss.sum().backward()
            assert z.grad is not None
            assert torch.isfinite(loss).all()
            assert torch.isfinite((1000 * z.grad).square()).all()  # at inputs a thousand deviations off


def test_what_is_given_twice_is_one_run() -> None:
    grid = loss_grid(["ss", "ss"], {"alpha_pos": [1.0, 2.0, 1.0]})
    assert [choice.settings["alpha_pos"] for choice in grid] == [1.0, 2.0]


@pytest.mark.parametrize("frozen", [True, False])
def test_small_data_are_passed_over_until_the_steps_suffice(frozen: bool) -> None:
    small, large = default_optimiser(frozen, 700), default_optimiser(frozen, 50_000)
    assert large.epochs == (20 if frozen else 1)
    an_epoch = np.ceil(700 / small.batch_size) if frozen else np.floor(700 / small.batch_size)
    steps = an_epoch * small.epochs
    assert steps >= LEAST_STEPS[small.name]
    assert default_optimiser(frozen, 3).epochs == LEAST_STEPS[small.name]
