"""Theorem 3.1: the closed form, a simulation that it holds in, and the command."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from trustcache.losses import steep_slope, steep_slope_max
from trustcache.metrics.bound import generalisation_bound, log_settings


def steep_slope_bound(alpha_pos, alpha_neg, *others):
    return generalisation_bound(steep_slope_max(alpha_pos, alpha_neg), *others)


def test_the_bound_is_the_theorems_formula():
    expected = (math.exp(3) - math.exp(-3)) * math.sqrt((math.log(1000) + math.log(2 / 0.05)) / (2 * 5000))
    assert steep_slope_bound(1, 3, math.log(1000), 5000, 0.05) == pytest.approx(expected)


def test_a_quarter_of_the_bound_takes_sixteen_times_the_samples():
    assert generalisation_bound(2, 5, 1600, 0.1) == pytest.approx(generalisation_bound(2, 5, 100, 0.1) / 4)


def test_float32_numbers_have_two_to_the_thirty_two_settings_each():
    assert log_settings(3) == pytest.approx(math.log(2.0**96))


@pytest.mark.parametrize(
    "wrong", [{"samples": 0}, {"delta": 0}, {"delta": 1}, {"log_hypotheses": -1}, {"log_hypotheses": math.inf}]
)
def test_numbers_without_a_meaning_are_refused(wrong):
    with pytest.raises(ValueError, match="a bound needs"):
        generalisation_bound(**({"loss_max": 1.0, "log_hypotheses": 1.0, "samples": 10, "delta": 0.1} | wrong))


def test_in_a_simulation_the_loss_leaves_the_bound_no_more_often_than_delta():
    """20 oracles on data whose expected loss is known; all of them must be inside at once."""
    rng, delta, samples, draws = np.random.default_rng(0), 0.2, 50, 400
    # Each sample is one of 30 kinds, and each oracle gives each kind an output far out on either side.
    z = torch.tensor(rng.choice([-50.0, 50.0], (20, 30)))
    o = torch.tensor(rng.integers(0, 2, 30), dtype=torch.float64)
    losses = torch.stack([steep_slope(row, o, 1.0, 3.0) for row in z]).numpy()
    expected = losses.mean(1)
    bound = steep_slope_bound(1, 3, math.log(20), samples, delta)
    outside = 0
    for _ in range(draws):
        drawn = rng.integers(0, 30, samples)
        outside += (np.abs(losses[:, drawn].mean(1) - expected) > bound).any()
    assert outside <= delta * draws
    # And not by being vacuous.
    assert bound < steep_slope_max(1, 3)


# --- the command -----------------------------------------------------------------------------------------------


def test_the_command_prints_the_bound_of_every_combination(run_cli):
    out = run_cli("bound", "--samples", "1000,4000", "--alpha-neg", "1,3", "--hypotheses", 100).stdout
    rows = [line.split() for line in out.splitlines()[1:]]
    assert len(rows) == 4
    for pos, neg, _, samples, most, bound, *_ in rows:
        assert float(bound) == pytest.approx(
            steep_slope_bound(float(pos), float(neg), math.log(100), int(samples.replace(",", "")), 0.05), rel=1e-3
        )
        assert float(most) == pytest.approx(steep_slope_max(float(pos), float(neg)), rel=1e-3)


def test_the_ways_to_say_how_many_oracles_there_are_agree(run_cli):
    ways = (("--numbers", 2), ("--log-hypotheses", 64 * math.log(2)), ("--hypotheses", 2**64))
    assert len({run_cli("bound", "--samples", 5000, *way).stdout for way in ways}) == 1


def test_a_vacuous_bound_is_said_to_be(run_cli):
    assert "vacuous" in run_cli("bound", "--samples", 100, "--numbers", 65).stdout
    assert "vacuous" not in run_cli("bound", "--samples", 100_000, "--numbers", 65).stdout


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ((), "exactly one of"),
        (("--hypotheses", 2, "--numbers", 2), "exactly one of"),
        (("--hypotheses", 2, "--delta", 1), "--delta 1"),
        (("--hypotheses", "1e999"), "--log-hypotheses"),
        (("--hypotheses", 2, "--alpha-neg", 0), "--alpha-neg 0"),
        (("--hypotheses", 2, "--alpha-neg", 1000), "at most 700"),
        (("--hypotheses", 2, "--samples", "many"), "--samples many"),
    ],
)
def test_numbers_that_make_no_bound_are_refused_in_a_sentence(run_cli, options, fact):
    result = run_cli("bound", *(() if "--samples" in options else ("--samples", 10)), *options)
    assert result.exit_code == 2
    assert fact in re.sub(r"\s+", " ", result.stderr)
