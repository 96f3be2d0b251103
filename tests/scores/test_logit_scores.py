"""Scores of logits against the same written plainly with SciPy and torch, and what must not change them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import entropy

from trustcache.scores.logit_scores import (
    BLOCK_ROWS,
    doctor,
    logit_margin,
    max_logit,
    maximum_class_probability,
    mean_confidence,
    negative_energy,
    negative_entropy,
)

LOGITS = arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(2, 8)), elements=st.floats(-15, 15))
SCORES = [maximum_class_probability, logit_margin, max_logit, negative_entropy, negative_energy, doctor]
UNSHIFTED = [maximum_class_probability, logit_margin, negative_entropy, doctor]

Score = Callable[[np.ndarray], np.ndarray]


@given(LOGITS)
def test_mcp_is_the_log_odds_of_the_largest_softmax_probability(logits: np.ndarray) -> None:
    top = softmax(logits, axis=1).max(axis=1)
    found = maximum_class_probability(logits)
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), top, rtol=1e-9)
    assert ((found > 0) == (top > 0.5)).all() or np.isclose(top, 0.5).any()


@given(LOGITS, st.randoms(use_true_random=False))
def test_mean_confidence_is_the_log_odds_of_the_mean_probability_of_the_predicted_class(
    logits: np.ndarray, random: Random
) -> None:
    mirrored = np.array([random.sample(list(row), len(row)) for row in logits])
    rows, predicted = np.arange(len(logits)), logits.argmax(axis=1)
    p = (softmax(logits, axis=1)[rows, predicted] + softmax(mirrored, axis=1)[rows, predicted]) / 2
    before = logits.copy(), mirrored.copy()
    np.testing.assert_allclose(1 / (1 + np.exp(-mean_confidence(logits, mirrored))), p, rtol=1e-9)
    np.testing.assert_array_equal((logits, mirrored), before)
    same = mean_confidence(logits, logits, logits)
    np.testing.assert_allclose(same, maximum_class_probability(logits), rtol=1e-9, atol=1e-9)


def test_mean_confidence_keeps_its_digits_where_both_views_are_sure() -> None:
    logits = np.array([[50.0, 0.0, 0.0], [60.0, 0.0, 0.0]])
    np.testing.assert_allclose(mean_confidence(logits, logits), logits[:, 0] - np.log(2), rtol=1e-12)
    # Two views that are sure of different classes: one half, whatever is left of either.
    np.testing.assert_allclose(mean_confidence(logits, np.roll(logits, 1, axis=1)), 0, atol=1e-12)
    with pytest.raises(ValueError, match="arrays of logits"):
        mean_confidence(logits, logits[:1])


@given(LOGITS)
def test_margin_is_the_largest_logit_less_the_second(logits: np.ndarray) -> None:
    ordered = np.sort(logits, axis=1)
    np.testing.assert_array_equal(logit_margin(logits), ordered[:, -1] - ordered[:, -2])


@given(LOGITS)
def test_max_logit_and_energy_are_those_of_torch(logits: np.ndarray) -> None:
    z = torch.from_numpy(logits)
    np.testing.assert_array_equal(max_logit(logits), z.max(dim=1).values)
    np.testing.assert_allclose(negative_energy(logits), torch.logsumexp(z, dim=1), rtol=1e-12, atol=1e-12)


@given(LOGITS)
def test_entropy_is_that_of_scipy_negated(logits: np.ndarray) -> None:
    np.testing.assert_allclose(negative_entropy(logits), -entropy(softmax(logits, axis=1), axis=1), atol=1e-12)


@given(LOGITS)
def test_doctor_is_minus_the_logarithm_of_d_alpha(logits: np.ndarray) -> None:
    # D_alpha = (1 - g) / g with g = sum p^2 (Granese et al. 2021), written without cancellation.
    p = softmax(logits, axis=1)
    apart = np.array([sum(row[i] * row[j] for i in range(len(row)) for j in range(len(row)) if i != j) for row in p])
    np.testing.assert_allclose(doctor(logits), np.log(np.square(p).sum(axis=1) / apart), rtol=1e-9, atol=1e-9)


def test_worked_by_hand() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.25]]))
    assert maximum_class_probability(logits) == pytest.approx([0])
    assert logit_margin(logits) == pytest.approx([np.log(2)])
    assert max_logit(logits) == pytest.approx([np.log(0.5)])
    assert negative_entropy(logits) == pytest.approx([-1.5 * np.log(2)])
    assert negative_energy(logits) == pytest.approx([0])
    assert doctor(logits) == pytest.approx([np.log(0.375 / 0.625)])


@pytest.mark.parametrize("score", [maximum_class_probability, logit_margin, negative_entropy, doctor])
def test_samples_whose_probability_is_exactly_one_are_still_told_apart(score: Score) -> None:
    logits = np.array([[50.0, 0, 0], [60.0, 0, 0], [55.0, 0, 0]])
    assert (softmax(logits, axis=1).max(axis=1) == 1).all()
    assert score(logits).argsort().tolist() == [0, 2, 1]


@pytest.mark.parametrize("score", SCORES)
def test_the_largest_logits_that_float16_holds_stay_finite(score: Score) -> None:
    logits = np.array([[65504, -65504, 0], [65504, 65504, 65504], [0, 0, 0]], dtype=np.float16)
    assert np.isfinite(score(logits)).all()


@pytest.mark.parametrize("score", UNSHIFTED)
@given(logits=LOGITS, shift=st.floats(-100, 100))
def test_what_is_added_to_all_logits_changes_nothing(score: Score, logits: np.ndarray, shift: float) -> None:
    np.testing.assert_allclose(score(logits), score(logits + shift), atol=1e-9)


@pytest.mark.parametrize("score", [max_logit, negative_energy])
def test_max_logit_and_energy_move_with_all_logits(score: Score) -> None:
    logits = np.array([[1.0, 2, 4], [0, 0, 1]])
    np.testing.assert_allclose(score(logits + 3), score(logits) + 3)


@pytest.mark.parametrize("score", SCORES)
@given(logits=LOGITS, seed=st.integers(0, 100))
def test_classes_may_stand_in_any_order(score: Score, logits: np.ndarray, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(logits.shape[1])
    np.testing.assert_allclose(score(logits[:, order]), score(logits), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("score", UNSHIFTED)
def test_a_surer_classifier_is_trusted_more(score: Score) -> None:
    logits = np.random.default_rng(0).normal(size=(100, 6))
    assert (score(2 * logits) > score(logits)).all()


@pytest.mark.parametrize("score", SCORES)
def test_blocks_leave_no_seam(score: Score) -> None:
    logits = np.random.default_rng(0).normal(size=(2 * BLOCK_ROWS + 7, 10)).astype(np.float16)
    alone = np.concatenate([score(logits[i : i + 1]) for i in range(len(logits))])
    np.testing.assert_allclose(score(logits), alone, rtol=1e-12)
    assert score(logits[:0]).shape == (0,)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("shape", [(5,), (5, 1), (2, 3, 4)])
def test_logits_that_leave_nothing_to_doubt_are_refused(score: Score, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        score(np.zeros(shape))


def test_probabilities_of_scipy_agree_on_many_classes() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 1000)) * 3
    log_p = log_softmax(logits, axis=1).max(axis=1)
    np.testing.assert_allclose(-np.logaddexp(0, -maximum_class_probability(logits)), log_p, rtol=1e-12)
    np.testing.assert_allclose(negative_energy(logits), logsumexp(logits, axis=1), rtol=1e-12)
