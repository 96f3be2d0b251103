"""Post-hoc scores against softmax computed the plain way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from trustcache.scores import POST_HOC, maximum_class_probability

LOGITS = arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(2, 8)), elements=st.floats(-15, 15))


@given(LOGITS)
def test_mcp_is_the_log_odds_of_the_largest_softmax_probability(logits: np.ndarray) -> None:
    top = softmax(logits, axis=1).max(axis=1)
    found = maximum_class_probability(logits)
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), top, rtol=1e-9)
    assert ((found > 0) == (top > 0.5)).all() or np.isclose(top, 0.5).any()


def test_mcp_ranks_where_the_probability_itself_is_exactly_one() -> None:
    logits = np.array([[50.0, 0, 0], [60.0, 0, 0], [55.0, 0, 0]])
    assert (softmax(logits, axis=1).max(axis=1) == 1).all()
    assert maximum_class_probability(logits).argsort().tolist() == [0, 2, 1]


@given(LOGITS, st.floats(-100, 100))
def test_mcp_does_not_depend_on_a_shift_of_all_logits(logits: np.ndarray, shift: float) -> None:
    found, moved = maximum_class_probability(logits), maximum_class_probability(logits + shift)
    np.testing.assert_allclose(found, moved, atol=1e-9)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (2, 3, 4)])
def test_mcp_refuses_logits_that_leave_no_odds(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        maximum_class_probability(np.zeros(shape))


@pytest.mark.parametrize("name", [name for name, entry in POST_HOC.items() if entry.score])
def test_every_registered_score_takes_stored_logits_and_is_finite(name: str) -> None:
    logits = (np.random.default_rng(0).normal(size=(300, 10)) * 20).astype(np.float16)
    scores = POST_HOC[name].score(logits)
    assert scores.shape == (300,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert POST_HOC[name].meaning
