"""The conformal test martingale: false alarms stay below the rate, whatever the scores, and changes are seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from trustcache.metrics.exchangeability import Martingale, reference

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def peaks(draw: Draw, calibration: int, images: int, streams: int, seed: int = 0) -> np.ndarray:
    """The largest capital of each stream, all drawn as their own calibration scores were."""
    rng = np.random.default_rng(seed)
    made = [reference(draw(rng, (calibration,)), seed=seed) for seed in range(streams)]
    bins = np.stack([one.bins(draw(rng, (images,)), rng.random(images)) for one in made])
    martingale, peak = Martingale(made[0], streams), np.zeros(streams)  # the counts are those of any reference
    for column in bins.T:
        martingale.update(column)
        peak = np.maximum(peak, martingale.capital)
    return peak


@pytest.mark.parametrize(
    ("draw", "calibration"),
    [
        (lambda rng, shape: rng.standard_cauchy(shape), 200),
        (lambda rng, shape: rng.poisson(2.0, shape).astype(float), 50),  # most scores are equal to others
        (lambda rng, shape: np.where(rng.random(shape) < 0.5, -np.inf, np.inf), 3),
    ],
)
def test_false_alarms_are_no_more_than_asked_for_whatever_the_scores(draw: Draw, calibration: int) -> None:
    streams = 600
    found = peaks(draw, calibration, 500, streams)
    for rate in (0.1, 0.02):
        alarms = int((found >= 1 / rate).sum())
        assert binomtest(alarms, streams, rate, alternative="greater").pvalue > 0.001, (alarms, rate)


@pytest.mark.parametrize("change", [lambda z: z - 1.5, lambda z: z + 1.5, lambda z: 3 * z, lambda z: z / 5])
@pytest.mark.parametrize("before", [0, 1000])
def test_a_change_of_place_or_spread_is_seen_early_or_late(change: Callable, before: int) -> None:
    rng = np.random.default_rng(1)
    made = reference(rng.standard_normal(1000))
    scores = np.concatenate([rng.standard_normal(before), change(rng.standard_normal(200))])
    martingale, bins = Martingale(made), made.bins(scores, rng.random(len(scores)))
    capital = []
    for number in range(len(bins)):
        martingale.update(bins[number : number + 1])
        capital.append(martingale.capital[0])
    assert max(capital[:before], default=0) < 100
    assert max(capital) > 100
    assert martingale.since[0] == pytest.approx(before + 1, abs=30)


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=300, unique=True))
def test_each_bin_holds_as_many_calibration_scores_as_it_counts(scores: list[float]) -> None:
    made = reference(scores)
    assert made.samples == len(scores)
    clipped = np.clip(scores, -np.finfo(float).max, np.finfo(float).max)
    if len(np.unique(clipped)) < len(scores):  # the largest number and infinity are one score
        return
    bins = made.bins(scores, np.zeros(len(scores)))
    counts = np.bincount(bins, minlength=len(made.counts))
    counts[-1] += 1  # of the spacings, one more than scores, the last has none
    assert counts.tolist() == list(made.counts)


def test_streams_side_by_side_are_each_as_alone() -> None:
    rng = np.random.default_rng(2)
    made = reference(rng.standard_normal(100))
    bins = np.stack([made.bins(rng.standard_normal(50) - shift, rng.random(50)) for shift in (0, 1, 2)])
    together, alone = Martingale(made, 3), [Martingale(made) for _ in range(3)]
    for column in bins.T:
        together.update(column)
        for one, number in zip(alone, column, strict=True):
            one.update(np.array([number]))
    np.testing.assert_allclose(together.capital, [one.capital[0] for one in alone])


def test_ordered_by_class_first_a_score_and_then_a_draw_decide_within_it() -> None:
    rng = np.random.default_rng(3)
    scores, classes = rng.integers(0, 4, size=500).astype(float), rng.integers(0, 30, size=500)  # many are equal
    made = reference(scores, classes)
    bins = made.bins(scores, rng.random(500), classes)
    assert (np.diff(bins[np.lexsort((scores, classes))]) >= 0).mean() > 0.9, "but for equal ones"
    assert np.abs(np.bincount(bins, minlength=len(made.counts)) - made.counts).max() <= 9
    assert made.bins([9.0, -9.0], [0.5, 0.5], [-1, 30]).tolist() == [0, len(made.counts) - 1]


def test_false_alarms_by_class_are_no_more_than_asked_for_and_a_change_is_seen() -> None:
    streams, rng, bins = 200, np.random.default_rng(4), []
    for number in range(streams + 20):
        skewed = [rng.geometric(0.2, size=size) for size in (200, 250)]
        z = [rng.normal(size=200) + skewed[0], rng.normal(size=250) + skewed[1]]
        made = reference(z[0], skewed[0], number)
        new = skewed[1] if number < streams else 1 + (skewed[1] - 1) % 3
        bins.append(made.bins(z[1], rng.random(250), new))
    martingale, peak = Martingale(made, streams + 20), np.zeros(streams + 20)
    for column in np.stack(bins, axis=1):
        martingale.update(column)
        peak = np.maximum(peak, martingale.capital)
    alarms = int((peak[:streams] >= 20).sum())
    assert binomtest(alarms, streams, 0.05, alternative="greater").pvalue > 0.001, alarms
    assert (peak[streams:] >= 100).all()
