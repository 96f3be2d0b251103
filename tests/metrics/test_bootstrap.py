"""Intervals by the bootstrap: each resample is what `trust_metrics` says of the rows drawn, and intervals cover."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trustcache.metrics.bootstrap import draw_counts, interval, resampled_metrics
from trustcache.metrics.ranking import METRICS, trust_metrics
from trustcache.protocols import PROTOCOLS

# Few distinct values, so that there are ties, and both infinities.
Z = st.sampled_from([-math.inf, -3.0, -0.5, 0.0, 0.1, 0.25, 1.0, 2.0, math.inf]) | st.floats(-4, 4)
SAMPLES = st.lists(st.tuples(Z, st.booleans(), st.integers(0, 3)), min_size=1, max_size=40).filter(
    lambda rows: any(count for _, _, count in rows)
)


def columns(rows):
    z, correct, counts = zip(*rows, strict=True)
    return np.array(z), np.array(correct), np.array([counts], np.uint8)


def of_rows(z, correct, counts, protocol="equations", **thresholds):
    """The metrics of rows that are really there as often as they were drawn."""
    drawn = np.repeat(np.arange(len(z)), counts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return PROTOCOLS[protocol].metrics(z[drawn], correct[drawn], **thresholds)


@given(rows=SAMPLES, negative=st.sampled_from([None, 0.1, 0.5]))
def test_a_resample_has_the_metrics_of_the_rows_it_draws(rows, negative):
    z, correct, counts = columns(rows)
    found = resampled_metrics(z, correct, counts, negative_threshold=negative)
    wanted = of_rows(z, correct, counts[0], negative_threshold=negative)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].shape == (1,)
        assert found[name][0] == pytest.approx(value, abs=1e-12, nan_ok=True), name


@given(rows=SAMPLES)
def test_under_released_definitions_too_but_for_the_grids_fpr_which_is_left_out(rows):
    z, correct, counts = columns(rows)
    found = resampled_metrics(z, correct, counts, definitions=PROTOCOLS["released"].resampled)
    wanted = of_rows(z, correct, counts[0], "released")
    assert np.isnan(found.pop("fpr_at_95_tpr")).all()
    for name in found:
        assert found[name][0] == pytest.approx(wanted[name], abs=1e-12, nan_ok=True), name


@given(rows=SAMPLES)
def test_a_tensor_of_counts_gives_what_an_array_of_them_gives(rows):
    z, correct, counts = columns(rows)
    found, wanted = (resampled_metrics(z, correct, drawn) for drawn in (torch.from_numpy(counts), counts))
    for name, values in wanted.items():
        assert found[name] == pytest.approx(values, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("decimals", [4, 15])
def test_many_samples_whose_quotients_are_float32_are_right_to_a_billionth(decimals):
    z, correct = scores(40_000, decimals=decimals)
    assert len(np.unique(z)) > 2**13
    counts = draw_counts(40_000, 1)
    found = resampled_metrics(z, correct, counts)
    for r, drawn in enumerate(counts):
        assert {name: values[r] for name, values in found.items()} == pytest.approx(
            of_rows(z, correct, drawn), abs=1e-9
        )


def scores(n, seed=0, accuracy=0.8, decimals=1):
    generator = np.random.default_rng(seed)
    correct = generator.random(n) < accuracy
    return np.round(correct + generator.standard_normal(n), decimals), correct


@pytest.mark.parametrize("decimals", [1, 15], ids=["tied", "untied"])
def test_many_resamples_worked_on_in_blocks_are_each_right(decimals, monkeypatch):
    monkeypatch.setattr("trustcache.metrics.resamples._RESAMPLES", 4)
    z, correct = scores(300, decimals=decimals)
    counts = draw_counts(300, 10)
    found = resampled_metrics(z, correct, counts)
    for r, drawn in enumerate(counts):
        wanted = of_rows(z, correct, drawn)
        assert {name: values[r] for name, values in found.items()} == pytest.approx(wanted, abs=1e-12)


def test_draws_are_n_of_n_with_replacement_and_the_same_every_time():
    counts = draw_counts(500, 200)
    assert counts.shape == (200, 500)
    assert (counts.sum(axis=1, dtype=int) == 500).all()
    assert np.array_equal(counts, draw_counts(500, 200))
    assert len({row.tobytes() for row in counts}) == 200
    # A sample is missing from a share (1 - 1/n)^n of draws.
    assert (counts == 0).mean() == pytest.approx((1 - 1 / 500) ** 500, abs=0.005)


def test_an_interval_is_what_scipy_finds_on_the_same_question():
    z, correct = scores(200)
    ours = interval(resampled_metrics(z, correct, draw_counts(200, 4000))["auc"])
    theirs = stats.bootstrap(
        (z, correct),
        lambda z, correct: trust_metrics(z, correct)["auc"],
        paired=True,
        vectorized=False,
        n_resamples=1000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.012)


def test_an_interval_covers_the_true_value_about_as_often_as_it_says():
    # Scores of right samples are normal about 1, of wrong ones about 0, so the true AUC is Phi(1/sqrt 2).
    truth = stats.norm.cdf(1 / math.sqrt(2))
    counts = draw_counts(400, 400)
    trials = 400
    covered = 0
    for seed in range(trials):
        z, correct = scores(400, seed, decimals=15)
        low, high = interval(resampled_metrics(z, correct, counts)["auc"])
        covered += low <= truth <= high
    # Percentile intervals of 400 samples cover a little less than they say; 3 deviations of 400 tosses are 3.3 %.
    assert 0.90 <= covered / trials <= 0.983


def test_a_paired_difference_is_surer_than_its_parts():
    z, correct = scores(1000)
    other = z + np.random.default_rng(1).normal(0, 0.1, 1000)
    counts = draw_counts(1000)
    one, two = (resampled_metrics(s, correct, counts)["auc"] for s in (z, other))
    widths = [np.subtract(*interval(values)[::-1]) for values in (one, one - two)]
    assert widths[1] < widths[0] / 3


def test_where_a_resample_lacks_a_class_what_that_leaves_undefined_has_no_interval():
    z = np.arange(50.0)
    correct = z > 1  # two wrong ones: e^-2 of the resamples have none
    found = resampled_metrics(z, correct, draw_counts(50))
    for name, metric in METRICS.items():
        low, high = interval(found[name])
        assert math.isnan(low) == math.isnan(high) == ("wrong" in metric.needs), name


def test_an_interval_is_the_middle_of_the_values():
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))
    assert interval(np.arange(1001.0), level=0.5) == pytest.approx((250, 750))


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 1)])
def test_counts_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="Counts"):
        resampled_metrics([1.0, 2.0, 3.0], [True, False, True], np.ones(shape, np.uint8))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_the_metrics_of_the_rows_drawn():
    z, correct = scores(9000, decimals=3)
    counts = draw_counts(9000, 5)
    found = resampled_metrics(z, correct, torch.from_numpy(np.ascontiguousarray(counts)).cuda())
    for r, drawn in enumerate(counts):
        wanted = of_rows(z, correct, drawn)
        assert {name: values[r] for name, values in found.items()} == pytest.approx(wanted, abs=1e-9)
