"""Average KL divergence and Bhattacharyya distance between histograms: known values, and what must hold for any."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustcache.metrics.separability import average_kl_divergence, bhattacharyya_distance

BOTH = [average_kl_divergence, bhattacharyya_distance]
COUNTS = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=2, max_size=40).filter(
    lambda pairs: sum(a for a, _ in pairs) and sum(b for _, b in pairs)
)


def test_values_of_many_samples_are_those_of_the_formulas():
    n = 10**9  # half a sample a bin is nothing beside these
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])
    kl = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    back = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
    assert average_kl_divergence(n * p, n * q) == pytest.approx((kl + back) / 2, rel=1e-6)
    overlap = sum(math.sqrt(a * b) for a, b in zip(p, q, strict=True))
    assert bhattacharyya_distance(n * p, n * q) == pytest.approx(-math.log(overlap), rel=1e-6)


def test_every_bin_starts_at_half_a_sample():
    p, q = np.array([2.5, 0.5]) / 3, np.array([0.5, 4.5]) / 5
    assert average_kl_divergence([2, 0], [0, 4]) == pytest.approx(float(np.sum((p - q) * np.log(p / q)) / 2))


@pytest.mark.parametrize("distance", BOTH)
@given(counts=COUNTS)
def test_distances_are_finite_symmetric_not_negative_and_zero_between_the_same(distance, counts):
    right, wrong = map(list, zip(*counts, strict=True))
    there = distance(right, wrong)
    assert math.isfinite(there)
    assert there >= 0
    assert there == pytest.approx(distance(wrong, right), abs=1e-12)
    assert distance(right, right) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("distance", BOTH)
def test_the_farther_apart_the_larger(distance):
    near, far = distance([10, 90, 10], [20, 80, 10]), distance([0, 10, 100], [100, 10, 0])
    assert 0 < near < far


@pytest.mark.parametrize("distance", BOTH)
def test_without_right_or_without_wrong_samples_it_is_undefined(distance):
    assert math.isnan(distance([0, 0], [1, 2]))
    assert math.isnan(distance([1, 2], [0, 0]))


@pytest.mark.parametrize("distance", BOTH)
def test_other_bins_are_refused(distance):
    with pytest.raises(ValueError, match="same bins"):
        distance([1, 2], [1, 2, 3])
