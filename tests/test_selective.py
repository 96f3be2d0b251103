"""Promises of trustcache.selective: the curve holds every working point, and its area is the AURC of the metrics."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustcache.metrics import trust_metrics
from trustcache.selective import RiskCoverage, risk_coverage

SAMPLES = st.lists(
    st.tuples(st.integers(-5, 5).map(float) | st.sampled_from([-math.inf, math.inf]), st.booleans()),
    min_size=1,
    max_size=40,
).map(lambda rows: tuple(np.array(column) for column in zip(*rows, strict=True)))


def test_the_curve_has_one_point_a_tie_group_from_most_to_least_trusted():
    curve = risk_coverage([0.5, 2.0, 0.5, -1.0], [1, 1, 0, 0])
    assert curve.threshold.tolist() == [2.0, 0.5, -1.0]
    assert curve.coverage.tolist() == [1 / 4, 3 / 4, 1]
    assert curve.risk.tolist() == [0, 1 / 3, 1 / 2]


@given(SAMPLES)
@settings(deadline=None)
def test_each_point_is_what_keeping_scores_from_its_threshold_upwards_gives(example):
    z, correct = example
    curve = risk_coverage(z, correct)
    assert curve.threshold.tolist() == sorted(set(z.tolist()), reverse=True)
    for threshold, coverage, risk in zip(curve.threshold, curve.coverage, curve.risk, strict=True):
        kept = correct[z >= threshold]
        assert coverage == kept.size / z.size
        assert risk == np.count_nonzero(~kept) / kept.size


@given(SAMPLES, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_rows_changes_nothing_under_ties(example, random):
    z, correct = example
    order = list(range(len(z)))
    random.shuffle(order)
    one, other = risk_coverage(z, correct), risk_coverage(z[order], correct[order])
    assert one.threshold.tolist() == other.threshold.tolist()
    assert one.coverage.tolist() == other.coverage.tolist()
    assert one.risk.tolist() == other.risk.tolist()


def test_the_area_under_the_curve_is_the_aurc_of_the_metrics():
    rng = np.random.default_rng(0)
    z, correct = rng.normal(size=500).round(1), rng.random(500) < 0.8
    curve = risk_coverage(z, correct)
    coverage, risk = np.append(0, curve.coverage), np.append(curve.risk[0], curve.risk)
    area = sum(np.diff(coverage) * (risk[1:] + risk[:-1]) / 2)
    assert trust_metrics(z, correct)["aurc"] == pytest.approx(area, abs=1e-12)


@pytest.mark.parametrize(("correct", "risk"), [([1, 1, 1], 0), ([0, 0, 0], 1)], ids=["all correct", "all wrong"])
def test_one_class_still_has_a_curve_and_it_is_flat(correct, risk):
    assert risk_coverage([3, 1, 2], correct).risk.tolist() == [risk] * 3


@pytest.mark.parametrize(
    ("scores", "correct", "message"),
    [
        ([], [], "no samples"),
        ([1.0, 2.0], [1], "equal length"),
        ([[1.0]], [[1]], "one-dimensional"),
        ([math.nan], [1], "nan"),
        ([1.0], [2], "True and False"),
    ],
)
def test_bad_input_raises_value_error(scores, correct, message):
    with pytest.raises(ValueError, match=message):
        risk_coverage(scores, correct)


def test_a_curve_cannot_be_reassigned():
    curve = risk_coverage([1.0], [1])
    assert isinstance(curve, RiskCoverage)
    with pytest.raises(AttributeError):
        curve.risk = curve.coverage
