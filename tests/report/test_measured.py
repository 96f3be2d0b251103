"""The figures of one score: its counts go by the thresholds of its metrics, and its curve keeps whole shares."""

from __future__ import annotations

import numpy as np
import pytest

from trustcache import Cache
from trustcache.report.kept import Kept
from trustcache.report.measured import EXACT_COVERAGES, Measurer

N = 1000


@pytest.fixture(scope="module")
def cache():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(N, 10))
    return Cache.from_arrays(logits, np.where(rng.random(N) < 0.7, logits.argmax(1), 0))


@pytest.mark.parametrize("loss", ["tcp", "ss"])
def test_the_counts_are_those_of_tpr_and_tnr_with_one_threshold_and_with_two(scored, cache, loss: str) -> None:
    z = np.random.default_rng(1).normal(scale=3, size=N)
    made = Measurer(cache, Kept(None)).run(scored(loss, 0).run, {}, z, np.ones(N, dtype=bool), 0)
    counts = {group: bins.sum() for group, bins in made.histogram.items()}
    assert sum(counts.values()) == N
    assert counts["TP"] / (counts["TP"] + counts["FN"]) == pytest.approx(made.record.metrics["tpr"])
    assert counts["TN"] / (counts["TN"] + counts["FP"]) == pytest.approx(made.record.metrics["tnr"])


def test_a_thinned_curve_keeps_the_whole_shares(scored, cache) -> None:
    z = np.random.default_rng(1).normal(size=N)
    made = Measurer(cache, Kept(None)).run(scored("ss", 0).run, {}, z, np.ones(N, dtype=bool), 0)
    assert len(made.coverage) < N / 2
    assert {*np.round(N * np.array(EXACT_COVERAGES))} <= {*np.round(N * made.coverage)}
