"""p-norm, temperature and Rel-U: their formulas written plainly, and what they choose where the best is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from trustcache.metrics.ranking import trust_metrics
from trustcache.scores.fitted_logit_scores import (
    POWERS,
    PNorm,
    RelU,
    Temperature,
    colder_by,
    least_aurc,
    mean_outer_product,
    p_norm_max_logit,
    relative_uncertainty,
    uncertainty_matrix,
)
from trustcache.scores.fitting import FittingData, TooFew
from trustcache.scores.logit_scores import doctor, maximum_class_probability

LOGITS = arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(2, 8)), elements=st.floats(-15, 15))


@pytest.mark.parametrize("p", POWERS[1:])
def test_p_norm_is_the_centred_maximum_over_numpys_norm(p: int) -> None:
    z = np.random.default_rng(p).normal(size=(60, 7)) * 5
    c = z - z.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(p_norm_max_logit(z, p), c.max(axis=1) / np.linalg.norm(c, ord=p, axis=1), rtol=1e-12)


def test_p_norm_of_zero_is_the_centred_maximum() -> None:
    assert p_norm_max_logit(np.array([[1.0, 2, 6]]), 0) == pytest.approx([3])


@pytest.mark.parametrize("p", POWERS)
@given(logits=LOGITS, shift=st.floats(-50, 50))
def test_p_norm_does_not_change_with_a_shift_of_all_logits(p: int, logits: np.ndarray, shift: float) -> None:
    logits = np.round(logits, 3)  # spreads below the rounding of a shift are no spreads
    np.testing.assert_allclose(p_norm_max_logit(logits, p), p_norm_max_logit(logits + shift, p), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("p", POWERS[1:])
def test_p_norm_does_not_change_with_the_scale_of_logits(p: int) -> None:
    z = np.random.default_rng(0).normal(size=(60, 7))
    np.testing.assert_allclose(p_norm_max_logit(z, p), p_norm_max_logit(1000 * z, p), rtol=1e-12)


def test_p_norm_of_logits_that_are_all_alike_is_zero() -> None:
    assert [p_norm_max_logit(np.full((1, 4), 3.0), p).item() for p in POWERS] == [0] * len(POWERS)


def test_p_norm_of_two_classes_is_constant_and_so_falls_back_to_mcp(training: FittingData) -> None:
    rows = training.validation
    two = replace(rows, logits=rows.logits[:, :2], labels=rows.labels % 2)
    np.testing.assert_allclose(p_norm_max_logit(two.logits, 3), 2 ** (-1 / 3))
    fitted = PNorm.fit(replace(training, validation=two))
    np.testing.assert_array_equal(fitted.score(two), maximum_class_probability(two.logits))
    assert fitted.chosen == {"p": "mcp"}


def test_p_norm_is_chosen_where_confidence_misleads_by_its_scale(training: FittingData) -> None:
    rows = training.validation
    # Wrong samples shout: scale tells the wrong way, and only the shape of the logits is left.
    loud = replace(rows, logits=np.where(rows.correct, 1, 30)[:, None] * rows.logits.astype(np.float64))
    fitted = PNorm.fit(replace(training, validation=loud))
    assert fitted.p in POWERS[1:]
    aurc = [trust_metrics(p_norm_max_logit(loud.logits, p), rows.correct)["aurc"] for p in POWERS]
    assert fitted.p == np.argmin(aurc)
    assert fitted.chosen == {"p": fitted.p}


def test_the_score_of_least_aurc_is_found_and_the_first_of_equals() -> None:
    correct = np.array([True, True, False, False])
    good, bad = np.array([3.0, 2, 1, 0]), np.array([0.0, 1, 2, 3])
    assert least_aurc([bad, good, good], correct) == 1


def test_the_slope_of_the_cross_entropy_is_that_of_torch() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(1300, 6)) * 4, rng.integers(6, size=1300)
    inverse = torch.tensor(1 / 2.5, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.cross_entropy(torch.from_numpy(logits) * inverse, torch.from_numpy(labels)).backward()
    assert colder_by(logits, labels, 2.5) == pytest.approx(float(inverse.grad), rel=1e-10)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0, 1e4])
def test_the_temperature_has_the_least_cross_entropy_of_torch_whatever_the_scale_of_logits(
    training: FittingData, scale: float
) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2000, 5)) * 2
    labels = (softmax(logits / 1.6, axis=1).cumsum(axis=1) > rng.random((2000, 1))).argmax(axis=1)
    rows = replace(training.validation, logits=scale * logits, labels=labels)
    fitted = Temperature.fit(replace(training, validation=rows))

    def loss(log_t: float) -> float:
        z = torch.from_numpy(scale * logits) / np.exp(log_t)
        return float(torch.nn.functional.cross_entropy(z, torch.from_numpy(labels)))

    least = minimize_scalar(loss, bracket=(np.log(scale), np.log(2 * scale)), tol=1e-12).x
    assert np.log(fitted.temperature) == pytest.approx(least, abs=1e-6)
    assert fitted.chosen["T"] == pytest.approx(fitted.temperature, rel=1e-3)


@pytest.mark.parametrize(("label", "end"), [(0, "coldest"), (2, "hottest")])
def test_where_no_temperature_has_the_least_cross_entropy_it_is_said(
    training: FittingData, label: int, end: str
) -> None:
    logits = np.tile([3.0, 1.0, -2.0], (40, 1)) * np.linspace(1, 2, 40)[:, None]
    rows = replace(training.validation, logits=logits, labels=np.full(40, label))
    fitted = Temperature.fit(replace(training, validation=rows))
    assert "last tried" in str(fitted.chosen["T"])
    assert (fitted.temperature < 0.1) == (end == "coldest")
    assert (fitted.temperature > 100) == (end == "hottest")


def test_the_temperature_that_labels_were_drawn_at_is_found(training: FittingData) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20000, 5)) * 2
    drawn = (softmax(logits, axis=1).cumsum(axis=1) > rng.random((20000, 1))).argmax(axis=1)
    rows = replace(training.validation, logits=3 * logits, labels=drawn)
    fitted = Temperature.fit(replace(training, validation=rows))
    assert fitted.temperature == pytest.approx(3, rel=0.05)
    np.testing.assert_allclose(fitted.score(rows), maximum_class_probability(3 * logits / fitted.temperature))


def test_a_temperature_may_reorder_confidence_for_three_classes_but_not_for_two() -> None:
    three = np.array([[3.0, 0, -9], [4.0, 0, 0]])
    assert np.ptp([np.argmax(maximum_class_probability(three / t)) for t in (1, 20)]) == 1
    two = np.random.default_rng(0).normal(size=(50, 2))
    order = maximum_class_probability(two).argsort()
    assert (maximum_class_probability(two / 7).argsort() == order).all()


def test_rel_u_is_the_quadratic_form_written_as_a_double_sum(training: FittingData) -> None:
    rows, fitted = training.validation, RelU.fit(training)
    p = softmax(rows.logits.astype(np.float64), axis=1)
    form = np.array([sum(row[i] * fitted.matrix[i, j] * row[j] for i in range(5) for j in range(5)) for row in p])
    np.testing.assert_allclose(fitted.score(rows), -np.log(form), rtol=1e-9, atol=1e-9)


def test_rel_u_tells_apart_what_is_sure_beyond_the_smallest_float() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.random((4, 4)) * (1 - np.eye(4))
    matrix += matrix.T
    logits = np.array([[margin, 0.0, -1.0, -2.0] for margin in (5, 80, 88, 110, 500, 800, 60_000)])
    others = np.exp([0.0, -1.0, -2.0]) @ matrix[1:, 0]  # to first order in e^-margin, p D p^T = 2 e^-margin others
    np.testing.assert_allclose(relative_uncertainty(logits, matrix)[1:], logits[1:, 0] - np.log(2 * others), rtol=1e-12)
    never_confused = matrix.copy()
    never_confused[0] = never_confused[:, 0] = 0
    found = relative_uncertainty(logits, never_confused)
    assert (np.diff(found) > 0).all()
    assert np.isfinite(found).all()


def test_rel_us_matrix_is_the_papers(training: FittingData) -> None:
    def mean(rows: np.ndarray) -> np.ndarray:
        p = torch.softmax(torch.from_numpy(rows.astype(np.float64)), dim=1)
        return torch.einsum("ij,ik->ijk", p, p).mean(dim=0).numpy()

    wrong, right = training.wrong.logits, training.right.logits
    np.testing.assert_allclose(mean_outer_product([right]), mean(right), rtol=1e-10)
    expected = np.maximum(0.6 * mean(wrong) - 0.4 * mean(right), 0) * (1 - np.eye(5))
    found = uncertainty_matrix(mean_outer_product([wrong]), mean_outer_product([right]), 0.6)
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), rtol=1e-5)
    assert (np.diag(found) == 0).all()


def test_rel_u_with_nothing_to_tell_pairs_apart_ranks_as_doctor() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 4)) * 2
    matrix = uncertainty_matrix(np.zeros((4, 4)), np.ones((4, 4)), 0.5)
    assert (relative_uncertainty(logits, matrix).argsort() == doctor(logits).argsort()).all()


def test_rel_u_takes_the_lambda_of_least_aurc(training: FittingData) -> None:
    rows = training.validation
    wrong, right = mean_outer_product([training.wrong.logits]), mean_outer_product([training.right.logits])
    ratios = [i / 10 for i in range(1, 10)]
    scores = [relative_uncertainty(rows.logits, uncertainty_matrix(wrong, right, ratio)) for ratio in ratios]
    aurc = [trust_metrics(score, rows.correct)["aurc"] for score in scores]
    assert RelU.fit(training).ratio == ratios[np.argmin(aurc)]


def test_rel_u_needs_wrong_answers(training: FittingData) -> None:
    with pytest.raises(TooFew, match="right and wrong"):
        RelU.fit(replace(training, wrong=training.wrong[:0]))
