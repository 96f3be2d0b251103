"""Promises of selective prediction: a ranking holds every working point, and a guarantee is kept by a population."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom, binomtest

from trustcache.metrics.ranking import trust_metrics
from trustcache.metrics.selective import (
    EVERYTHING,
    WorkingPoint,
    at_target,
    first_tests,
    guaranteed,
    least_risk,
    least_trusted,
    risk_bound,
    samples_needed,
    selected,
    share_bound,
    starts,
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
def test_a_guaranteed_threshold_lies_between_tie_groups_and_its_bound_is_paid_for_every_sequence(example, risk, delta):
    z, correct = example
    point = guaranteed(z, correct, risk, delta)
    if point is None:
        return
    assert point.threshold == EVERYTHING or point.threshold in z
    trusted = z > point.threshold
    assert (point.samples, point.trusted, point.wrong) == (len(z), trusted.sum(), (trusted & ~correct).sum())
    begins = starts(len(z), risk, delta)
    levels = [delta * (i + 1) / len(begins) for i in range(len(begins))]
    assert any(point.bound == pytest.approx(risk_bound(point.wrong, point.trusted, level)) for level in levels)
    assert point.bound <= risk * (1 + 1e-9)
    assert point.coverage == trusted.mean()
    assert point.risk == (~correct[trusted]).mean()


def test_a_sequence_ends_at_its_first_failure_and_hands_its_level_on_where_it_reaches_the_next_start():
    risk, delta, n = 0.05, 0.1, 400
    first, *_ = begins = starts(n, risk, delta).tolist()
    assert begins == [72, 111, 170, 261]
    assert binom.cdf(0, first, risk) <= delta / 4 < binom.cdf(0, first - 1, risk)

    def found(*wrong):  # the ranks, from 1, of the wrong samples among the most trusted; below `n - 100` all are wrong
        ranks = np.arange(1, n + 1)
        point = guaranteed(-ranks, ~np.isin(ranks, wrong) & (ranks <= n - 100), risk, delta)
        return point.trusted, point.bound

    to_the_end, bound = found()
    assert bound == pytest.approx(risk_bound(to_the_end - 300, to_the_end, delta))  # all four were handed on
    trusted, bound = found(first)
    assert bound == pytest.approx(risk_bound(1 + trusted - 300, trusted, 3 * delta / 4))  # the first one was not


def test_what_needs_no_luck_is_not_refused():
    assert guaranteed(np.arange(1000), np.ones(1000), 0.01, 0.01).trusted == 1000
    assert selected(np.arange(1000), np.ones(1000), 0.01, 0.01).trusted == 1000
    assert guaranteed(np.arange(459), np.ones(459), 0.01, 0.01).trusted == 459
    assert guaranteed(np.arange(458), np.ones(458), 0.01, 0.01) is None


def test_all_right_is_trusted_whole_and_all_wrong_not_at_all():
    z = np.arange(500.0)
    everything = guaranteed(z, np.ones(500), 0.05, 0.001)
    assert (everything.threshold, everything.trusted, everything.risk) == (EVERYTHING, 500, 0)
    assert (z > everything.threshold).all()
    assert guaranteed(z, np.zeros(500), 0.5, 0.1) is None
    assert guaranteed(np.zeros(1), np.ones(1), 0.5, 0.1) is None


@pytest.mark.parametrize(("n", "risk", "delta"), [(1000, 0.02, 0.001), (64, 0.2, 0.1), (300, 0.05, 0.01)])
def test_fewer_flawless_samples_than_the_least_promise_nothing(n, risk, delta):
    fewest = least_trusted(n, risk, delta)
    ranks = np.arange(n)
    assert guaranteed(-ranks, ranks < fewest, risk, delta).trusted >= fewest
    assert guaranteed(-ranks, ranks < fewest - 1, risk, delta) is None
    share = delta / len(starts(n, risk, delta))
    assert risk_bound(0, fewest, share) <= risk < risk_bound(0, fewest - 1, share)


def test_one_score_for_all_leaves_all_or_nothing():
    assert guaranteed(np.zeros(1000), np.ones(1000), 0.02, 0.01).trusted == 1000
    assert guaranteed(np.zeros(1000), np.arange(1000) % 10 > 0, 0.05, 0.01) is None


@pytest.mark.parametrize("kind", ["coverage", "tpr", "precision"])
def test_the_bound_on_a_target_is_below_the_true_share_in_all_but_delta_of_the_draws(kind):
    rng = np.random.default_rng(0)
    failed = 0
    for _ in range(1000):  # scores uniform in [0, 1], right with chance equal to the score
        z = rng.random(200)
        point = at_target(z, rng.random(200) < z, kind, 0.8, delta=0.1)
        t = max(point.threshold, 0)
        true = {"coverage": 1 - t, "tpr": 1 - t**2, "precision": (1 + t) / 2}[kind]
        failed += true < point.bound
    assert binomtest(failed, 1000, 0.1, alternative="greater").pvalue > 0.01
    assert failed > 0 or kind == "precision"


def test_the_lower_bound_is_clopper_and_pearsons():
    for met, n in ((0, 10), (7, 10), (10, 10)):
        assert share_bound(met, n, 0.05) == pytest.approx(binomtest(met, n).proportion_ci(0.9).low, abs=1e-12)


def exceeded(draw, true_risk, max_risk, delta, find=guaranteed):
    """In how many of 1,000 draws the true error rate above the threshold is more than promised, and what was found."""
    rng = np.random.default_rng(0)
    points = [find(*draw(rng), max_risk, delta) for _ in range(1000)]
    found = [point for point in points if point is not None]
    return sum(true_risk(point.threshold) > max_risk for point in found), found


def test_over_many_draws_the_true_risk_exceeds_the_promise_in_at_most_delta_of_them():
    def draw(rng):  # scores uniform in [0, 1], wrong with chance 0.4 (1 - score): above t, 0.2 (1 - t) are wrong
        z = rng.random(600)
        return z, rng.random(600) >= 0.4 * (1 - z)

    failed, found = exceeded(draw, lambda threshold: 0.2 * (1 - max(threshold, 0)), 0.12, 0.05)
    _, by_sgr = exceeded(draw, lambda threshold: 0.2 * (1 - max(threshold, 0)), 0.12, 0.05, selected)
    assert np.mean([p.coverage for p in found]) > np.mean([p.coverage for p in by_sgr])
    assert len(found) > len(by_sgr)
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


def found_for(samples: int, max_risk: float, delta: float, risk: float, coverage: float) -> WorkingPoint | None:
    """Calibrate where risk grows in proportion with coverage up to `risk`, and all beyond that coverage are wrong."""
    trusted = int(samples * coverage)
    ranks = np.arange(1, samples + 1)
    errors = np.floor(risk * ranks**2 / max(trusted, 1))
    wrong = (np.diff(errors, prepend=0) > 0) | (ranks > trusted)
    point = guaranteed(-ranks, ~wrong, max_risk, delta)
    return point if point and point.trusted >= trusted else None


@settings(max_examples=10, deadline=None)
@given(st.floats(0.05, 0.3), st.floats(1e-3, 0.2), st.sampled_from([1.0, 0.55, 0.5, 0.25]))
@example(0.02, 0.001, 0.55)  # 622 to 683 suffice, and 684, which begin at four places, do not
def test_the_flawless_samples_that_are_planned_suffice_and_so_do_more_but_not_one_less(
    max_risk: float, delta: float, coverage: float
) -> None:
    planned = samples_needed(max_risk, delta, 0.0, coverage)
    enough = [found_for(n, max_risk, delta, 0.0, coverage) is not None for n in range(1, planned + 300)]
    assert planned == len(enough) - enough[::-1].index(False) + 1


@pytest.mark.parametrize("coverage", [1.0, 0.5, 0.25])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize(("max_risk", "delta"), [(0.02, 0.001), (0.1, 0.05)])
def test_a_plan_with_errors_comes_true_where_risk_grows_with_coverage(
    max_risk: float, delta: float, share: float, coverage: float
) -> None:
    risk = share * max_risk
    planned = samples_needed(max_risk, delta, risk, coverage)
    for factor in (1, 1.2, 2, 5):
        assert found_for(math.ceil(factor * planned), max_risk, delta, risk, coverage), factor
    trusted = int((planned - 1) * coverage)
    level = delta / len(starts(planned - 1, max_risk, delta))
    assert risk_bound(math.ceil(trusted * risk), trusted, level) > max_risk


def test_a_risk_as_high_as_the_promise_cannot_be_planned() -> None:
    with pytest.raises(ValueError, match=r"0\.05"):
        samples_needed(0.05, 0.01, 0.05, 1.0)


def test_the_least_risk_is_the_least_that_the_guarantee_finds_a_threshold_for():
    rng = np.random.default_rng(0)
    z = rng.normal(size=400)
    correct = z + rng.normal(size=400) > -0.5
    least = least_risk(z, correct, 0.05)
    assert least
    assert guaranteed(z, correct, least, 0.05)
    assert not guaranteed(z, correct, least - 0.001, 0.05)
    assert all(point.bound > least - 0.001 for point in first_tests(z, correct, least - 0.001, 0.05))
    assert least_risk(z, np.zeros(400), 0.05) is None
