"""Accuracy without labels: right where the data are the calibration's, and moved as the scores move."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from trustcache.metrics.estimated_accuracy import ESTIMATES, AccuracyFit, estimated_accuracy, fit_accuracy


def drawn(rows: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, outcomes and probabilities; a score z is right with chance sigmoid(z), shifted or not."""
    rng = np.random.default_rng(seed)
    z = rng.normal(1.5 - shift, 1.5, rows)
    return scale * z + 100 * (scale - 1), rng.random(rows) < expit(z), expit(z)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 50.0])
@pytest.mark.parametrize("name", ESTIMATES)
def test_an_estimate_is_the_accuracy_where_scores_mean_the_same(name: str, scale: float) -> None:
    fit = fit_accuracy(*drawn(20_000, 0, scale=scale))
    for shift in (0.0,) if name == "atc" else (0.0, 2.0):  # atc goes too far where easy images grow rare
        z, correct, p = drawn(20_000, 1, shift, scale)
        assert estimated_accuracy(fit, z, p)[name] == pytest.approx(correct.mean(), abs=0.01)


def test_the_threshold_of_atc_divides_the_calibration_data_as_right_and_wrong_do() -> None:
    z, correct, p = drawn(1000, 2)
    fit = fit_accuracy(z, correct, p)
    assert estimated_accuracy(fit, z, p)["atc"] == correct.mean() == fit.accuracy


@pytest.mark.parametrize("right", [True, False])
def test_calibration_data_all_right_or_all_wrong_have_finite_fits(right: bool) -> None:
    fit = fit_accuracy([1.0, 1.0, np.inf], [right] * 3, [0.5] * 3)
    assert np.isfinite([getattr(fit, name) for name in AccuracyFit.__dataclass_fields__]).all()
    assert estimated_accuracy(fit, [1.0], [0.5])["atc"] == right
