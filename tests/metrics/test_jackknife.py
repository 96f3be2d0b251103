"""The standard error of a lead in AURC is the spread that draws of the samples show."""

from __future__ import annotations

import numpy as np
import pytest

from trustcache.metrics.jackknife import aurc_difference_error
from trustcache.metrics.tie_groups import rank


def draw(rng: np.random.Generator, samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two scores of the same samples, alike but for noise, and which samples are right."""
    score = rng.normal(size=samples)
    correct = rng.random(samples) < 1 / (1 + np.exp(-1 - score))
    return score, score + rng.normal(size=samples), correct


@pytest.mark.parametrize("samples", [100, 2000])
def test_it_is_the_spread_of_differences_over_draws(samples: int) -> None:
    rng = np.random.default_rng(1)
    drawn = [draw(rng, samples) for _ in range(300)]
    spread = np.std([rank(z, right).aurc - rank(other, right).aurc for z, other, right in drawn])
    told = np.sqrt(np.mean([aurc_difference_error(*each) ** 2 for each in drawn[:100]]))
    assert told == pytest.approx(spread, rel=0.2)


def test_scores_in_the_same_order_do_not_differ_in_any_draw() -> None:
    z, _, correct = draw(np.random.default_rng(2), 50)
    assert aurc_difference_error(z, np.exp(z), correct) == 0


def test_few_samples_are_a_group_each() -> None:
    z, other, correct = draw(np.random.default_rng(3), 5)
    assert 0 < aurc_difference_error(z, other, correct) < 1
