"""Calibration figures beside scikit-learn's, scipy's and the closed form of the debiased error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from trustcache.metrics.calibration import (
    BINS,
    Bin,
    calibration_error,
    calibration_metrics,
    fitted_temperature,
    reliability,
    wilson,
)


def drawn(samples: int = 3000, temperature: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and outcomes of the chance sigmoid(z / temperature)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(1.0, 2.0, samples)
    return z, rng.random(samples) < expit(z / temperature)


@given(st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_is_scipys(counts: tuple[int, int]) -> None:
    k, n = counts
    low, high = wilson(k, n)
    if n == 0:
        assert (low, high) == (0.0, 1.0)
        return
    theirs = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert low <= k / n <= high


def test_wilson_takes_arrays_and_another_level() -> None:
    low, high = wilson([3, 5], [10, 5], level=0.8)
    assert low.shape == high.shape == (2,)
    theirs = binomtest(3, 10).proportion_ci(0.8, method="wilson")
    assert (low[0], high[0]) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_brier_score_and_nll_are_scikit_learns() -> None:
    z, correct = drawn()
    found = calibration_metrics(z, correct)
    assert found["brier"] == pytest.approx(brier_score_loss(correct, expit(z)), rel=1e-12)
    assert found["nll"] == pytest.approx(log_loss(correct, expit(z)), rel=1e-9)


def test_nll_of_a_sure_score_is_finite_where_its_probability_is_rounded_to_one() -> None:
    assert calibration_metrics([800.0, 800.0], [True, False])["nll"] == pytest.approx(400.0)
    assert calibration_metrics([math.inf, -math.inf], [True, False])["nll"] == 0.0
    assert calibration_metrics([math.inf, 0.0], [False, True])["nll"] == math.inf


def test_the_bins_are_scikit_learns_quantiles() -> None:
    z, correct = drawn(BINS * 100)
    accuracy, confidence = calibration_curve(correct, expit(z), n_bins=BINS, strategy="quantile")
    bins = reliability(z, correct)
    assert {one.n for one in bins} <= {99, 100, 101}
    assert [one.confidence for one in bins] == pytest.approx(confidence, abs=2e-3)
    assert [one.accuracy for one in bins] == pytest.approx(accuracy, abs=0.02)
    assert all(one.low <= one.accuracy <= one.high for one in bins)


@given(st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.booleans()), min_size=1, max_size=200))
def test_bins_hold_every_sample_once_whatever_their_order(rows: list[tuple[float, bool]]) -> None:
    z, correct = map(np.array, zip(*rows, strict=True))
    bins = reliability(z, correct)
    assert (sum(one.n for one in bins), sum(one.right for one in bins)) == (len(z), correct.sum())
    assert bins == reliability(z[::-1], correct[::-1])
    assert [one.confidence for one in bins] == sorted(one.confidence for one in bins)


def test_the_error_is_the_debiased_one_in_closed_form() -> None:
    bins = [Bin(10, 8, 0.7, 0, 1), Bin(30, 15, 0.9, 0, 1)]
    expected = 10 / 40 * ((0.7 - 0.8) ** 2 - 0.8 * 0.2 / 9) + 30 / 40 * ((0.9 - 0.5) ** 2 - 0.25 / 29)
    assert calibration_error(bins) == pytest.approx(math.sqrt(expected))


def test_perfect_confidences_have_an_error_about_zero_on_average() -> None:
    squared = [calibration_metrics(*drawn(2000, seed=seed))["ece"] ** 2 for seed in range(40)]
    plain = 1 / 2000 * BINS * 0.17  # what a squared error without the correction has: the bins' own variance
    assert np.mean(squared) < plain / 2


def test_a_known_error_is_found() -> None:
    z, correct = drawn(200_000, temperature=3.0)
    edges = np.quantile(z, np.linspace(0, 1, BINS + 1)[1:-1])
    groups = np.digitize(z, edges)
    gaps = [np.mean(expit(z[groups == g])) - np.mean(expit(z[groups == g] / 3.0)) for g in range(BINS)]
    assert calibration_metrics(z, correct)["ece"] == pytest.approx(math.sqrt(np.mean(np.square(gaps))), rel=0.03)


def test_the_temperature_is_that_of_a_logistic_regression() -> None:
    z, correct = drawn(8000, temperature=2.5)
    slope = LogisticRegression(C=np.inf, fit_intercept=False).fit(z[:, None], correct).coef_[0, 0]
    assert fitted_temperature(z, correct) == pytest.approx(1 / slope, rel=1e-3)
    assert fitted_temperature(z, correct) == pytest.approx(2.5, rel=0.1)


def test_one_outcome_leaves_no_temperature() -> None:
    assert math.isnan(fitted_temperature([1.0, 2.0], [True, True]))
