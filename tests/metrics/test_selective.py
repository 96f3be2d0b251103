"""Promises of selective prediction: a ranking holds every working point, and a guarantee is kept by a population."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom, binomtest

from trustcache.metrics.ranking import trust_metrics
from trustcache.metrics.selective import (
    EVERYTHING,
    at_target,
    guaranteed,
    least_samples,
    risk_bound,
    samples_needed,
    working_point,
)
from trustcache.metrics.tie_groups import Ranking, rank

SAMPLES = st.lists(
    st.tuples(st.integers(-5, 5).map(float) | st.sampled_from([-math.inf, math.inf]), st.booleans()),
    min_size=1,
    max_size=40,
).map(lambda rows: tuple(np.array(column) for column in zip(*rows, strict=True)))


def test_the_curve_has_one_point_a_tie_group_from_most_to_least_trusted():
    curve = rank([0.5, 2.0, 0.5, -1.0], [1, 1, 0, 0])
    assert curve.scores.tolist() == [2.0, 0.5, -1.0]
    assert curve.coverage.tolist() == [1 / 4, 3 / 4, 1]
    assert curve.risk.tolist() == [0, 1 / 3, 1 / 2]


@given(SAMPLES)
@settings(deadline=None)
def test_each_point_is_what_keeping_scores_from_its_threshold_upwards_gives(example):
    z, correct = example
    curve = rank(z, correct)
    assert curve.scores.tolist() == sorted(set(z.tolist()), reverse=True)
    for threshold, coverage, risk in zip(curve.scores, curve.coverage, curve.risk, strict=True):
        kept = correct[z >= threshold]
        assert coverage == kept.size / z.size
        assert risk == np.count_nonzero(~kept) / kept.size


@given(SAMPLES, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_rows_changes_nothing_under_ties(example, random):
    z, correct = example
    order = list(range(len(z)))
    random.shuffle(order)
    one, other = rank(z, correct), rank(z[order], correct[order])
    assert one.scores.tolist() == other.scores.tolist()
    assert one.coverage.tolist() == other.coverage.tolist()
    assert one.risk.tolist() == other.risk.tolist()


def test_the_area_under_the_curve_is_the_aurc_of_the_metrics():
    rng = np.random.default_rng(0)
    z, correct = rng.normal(size=500).round(1), rng.random(500) < 0.8
    curve = rank(z, correct)
    coverage, risk = np.append(0, curve.coverage), np.append(curve.risk[0], curve.risk)
    area = sum(np.diff(coverage) * (risk[1:] + risk[:-1]) / 2)
    assert trust_metrics(z, correct)["aurc"] == pytest.approx(area, abs=1e-12)


@pytest.mark.parametrize(("correct", "risk"), [([1, 1, 1], 0), ([0, 0, 0], 1)], ids=["all correct", "all wrong"])
def test_one_class_still_has_a_curve_and_it_is_flat(correct, risk):
    assert rank([3, 1, 2], correct).risk.tolist() == [risk] * 3


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
        rank(scores, correct)


def test_a_curve_cannot_be_reassigned():
    curve = rank([1.0], [1])
    assert isinstance(curve, Ranking)
    with pytest.raises(AttributeError):
        curve.risk = curve.coverage


COUNTS = st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
SHARES = st.floats(1e-6, 0.999)
FINITE = st.lists(st.tuples(st.integers(-5, 5).map(float), st.booleans()), min_size=1, max_size=60).map(
    lambda rows: tuple(np.array(column) for column in zip(*rows, strict=True))
)


@given(COUNTS, SHARES)
def test_the_bound_is_the_error_rate_at_which_so_few_errors_have_chance_delta(counts, delta):
    wrong, n = counts
    bound = risk_bound(wrong, n, delta)
    if wrong == n:
        assert bound == 1
    else:
        assert bound == pytest.approx(beta.isf(delta, wrong + 1, n - wrong), rel=1e-9)
        assert binom.cdf(wrong, n, bound) == pytest.approx(delta, rel=1e-6)
        assert bound > wrong / n or delta > 0.4


def test_the_bound_without_errors_is_a_closed_form_however_small_delta_is():
    for delta in (0.1, 1e-3, 1e-30):
        assert risk_bound(0, 50, delta) == pytest.approx(1 - delta ** (1 / 50), rel=1e-12)
    assert risk_bound(0, 0, 0.1) == 1


@given(COUNTS, SHARES, SHARES)
def test_the_bound_grows_with_errors_and_confidence_and_falls_with_samples(counts, one, other):
    wrong, n = counts
    assert risk_bound(min(wrong + 1, n), n, one) >= risk_bound(wrong, n, one) >= risk_bound(wrong, n + 1, one)
    assert risk_bound(wrong, n, min(one, other)) >= risk_bound(wrong, n, max(one, other))


@given(FINITE, SHARES, SHARES)
def test_a_guaranteed_threshold_lies_between_tie_groups_and_its_bound_is_paid_for_every_step(example, risk, delta):
    z, correct = example
    point = guaranteed(z, correct, risk, delta)
    if point is None:
        return
    assert point.threshold == EVERYTHING or point.threshold in z
    trusted = z > point.threshold
    assert (point.samples, point.trusted, point.wrong) == (len(z), trusted.sum(), (trusted & ~correct).sum())
    steps = math.ceil(math.log2(len(z)))
    wrong_below_all = point.trusted - point.wrong
    expected = beta.ppf(1 - delta / steps, point.wrong + 1, wrong_below_all) if wrong_below_all else 1
    assert point.bound == pytest.approx(expected, rel=1e-6)
    assert point.bound <= risk
    assert point.coverage == trusted.mean()
    assert point.risk == (~correct[trusted]).mean()


@given(FINITE, SHARES, SHARES, SHARES)
def test_asking_for_less_never_trusts_less(example, risk, other_risk, delta):
    def trusted(max_risk, delta):
        point = guaranteed(*example, max_risk, delta)
        return point.trusted if point else 0

    assert trusted(min(risk, other_risk), delta) <= trusted(max(risk, other_risk), delta)
    assert trusted(risk, delta / 2) <= trusted(risk, delta)


def test_all_right_is_trusted_whole_and_all_wrong_not_at_all():
    z = np.arange(500.0)
    everything = guaranteed(z, np.ones(500), 0.05, 0.001)
    assert (everything.threshold, everything.trusted, everything.risk) == (EVERYTHING, 500, 0)
    assert (z > everything.threshold).all()
    assert guaranteed(z, np.zeros(500), 0.5, 0.1) is None
    assert guaranteed(np.zeros(1), np.ones(1), 0.5, 0.1) is None


@pytest.mark.parametrize(("n", "risk", "delta"), [(1000, 0.02, 0.001), (64, 0.2, 0.1), (300, 0.05, 0.01)])
def test_fewer_flawless_samples_than_the_least_promise_nothing(n, risk, delta):
    fewest = least_samples(n, risk, delta)
    assert risk_bound(0, fewest, delta / math.ceil(math.log2(n))) <= risk
    assert risk_bound(0, fewest - 1, delta / math.ceil(math.log2(n))) > risk


def test_one_score_for_all_leaves_all_or_nothing():
    assert guaranteed(np.zeros(1000), np.ones(1000), 0.02, 0.01).trusted == 1000
    assert guaranteed(np.zeros(1000), np.arange(1000) % 10 > 0, 0.05, 0.01) is None


def exceeded(draw, true_risk, max_risk, delta):
    """In how many of 1,000 draws the true error rate above the threshold is more than promised, and what was found."""
    rng = np.random.default_rng(0)
    points = [guaranteed(*draw(rng), max_risk, delta) for _ in range(1000)]
    found = [point for point in points if point is not None]
    return sum(true_risk(point.threshold) > max_risk for point in found), found


def test_over_many_draws_the_true_risk_exceeds_the_promise_in_at_most_delta_of_them():
    def draw(rng):  # scores uniform in [0, 1], wrong with chance 0.4 (1 - score): above t, 0.2 (1 - t) are wrong
        z = rng.random(600)
        return z, rng.random(600) >= 0.4 * (1 - z)

    failed, found = exceeded(draw, lambda threshold: 0.2 * (1 - max(threshold, 0)), 0.12, 0.05)
    assert binomtest(failed, 1000, 0.05, alternative="greater").pvalue > 0.01
    assert len(found) > 700
    assert np.median([point.coverage for point in found]) > 0.25  # of the 0.6 that knowing the population would give


@pytest.mark.parametrize("levels", [None, 12], ids=["no two scores alike", "ties"])
def test_a_worthless_score_just_above_the_risk_is_let_through_in_at_most_delta_of_the_draws(levels):
    def draw(rng):  # every threshold fails, so that each step of the search is a chance to be wrong
        z = rng.random(400)
        return (z if levels is None else np.floor(z * levels)), rng.random(400) >= 0.1001

    failed, _ = exceeded(draw, lambda threshold: 0.1001, 0.1, 0.1)
    assert binomtest(failed, 1000, 0.1, alternative="greater").pvalue > 0.01


@given(FINITE, st.floats(0.01, 1))
def test_targets_are_met_by_the_threshold_that_gives_most(example, target):
    z, correct = example
    tried = [working_point(z, correct, t) for t in [*sorted(set(z.tolist()), reverse=True), EVERYTHING]]
    tried = [point for point in tried if point.trusted]
    assert at_target(z, correct, "coverage", target) == next(p for p in tried if p.trusted / len(z) >= target)
    precise = [p for p in tried if (p.trusted - p.wrong) / p.trusted >= target]
    assert at_target(z, correct, "precision", target) == (precise[-1] if precise else None)
    if correct.any():
        recalled = next(p for p in tried if (p.trusted - p.wrong) / correct.sum() >= target)
        assert at_target(z, correct, "tpr", target) == recalled
    else:
        assert at_target(z, correct, "tpr", target) is None


def test_every_target_of_everything_is_reached_with_all_right():
    for kind in ("coverage", "tpr", "precision"):
        point = at_target([3.0, 1.0, 1.0], [1, 1, 1], kind, 1.0)
        assert (point.threshold, point.coverage, point.risk) == (EVERYTHING, 1, 0)


def test_a_threshold_above_all_trusts_nothing_and_has_no_risk():
    point = working_point([1.0, 2.0], [1, 0], 2.0)
    assert (point.trusted, point.coverage, point.risk) == (0, 0, None)


@given(st.floats(0.005, 0.3), st.floats(1e-4, 0.2), st.sampled_from([0.0, 0.3, 0.6]), st.sampled_from([1.0, 0.5, 0.25]))
def test_the_samples_that_are_planned_suffice_for_the_bound_and_fewer_do_not(
    max_risk: float, delta: float, share: float, coverage: float
) -> None:
    def bound(samples: int) -> float:
        trusted = max(int(samples * min(coverage, 0.5)), 1)
        steps = max((samples - 1).bit_length(), 1)
        return risk_bound(math.ceil(trusted * share * max_risk), trusted, delta / steps)

    planned = samples_needed(max_risk, delta, share * max_risk, coverage)
    assert bound(planned) <= max_risk < bound(planned - 1)


def test_a_plan_comes_true() -> None:
    samples = samples_needed(0.05, 0.01, 0.0, 0.8)
    scores = np.arange(samples)[::-1]
    correct = np.arange(samples) < 0.9 * samples  # the most trusted nine tenths are right
    found = guaranteed(scores, correct, 0.05, 0.01)
    assert found is not None
    assert found.coverage >= 0.5
    assert guaranteed(scores[: samples // 2], correct[: samples // 2], 0.05, 0.01) is None
    with pytest.raises(ValueError, match=r"0\.05"):
        samples_needed(0.05, 0.01, 0.05)
