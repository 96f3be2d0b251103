"""Prediction sets keep their coverage within each class, by the ranks that crepes' p-values come to."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from trustcache.metrics.conformal import class_cuts, cut, fewest_samples, set_figures


def test_each_class_is_covered_over_draws_of_the_calibration_samples() -> None:
    draws, tested, confidence = 300, 50, 0.9
    rng = np.random.default_rng(0)
    covered = np.zeros((draws, 3))
    for draw in range(draws):
        labels = np.repeat([0, 1, 2], [9, 20, 200])
        tests = np.repeat([0, 1, 2], tested)
        p, new = (rng.beta(8 - 3 * y, 1 + 2 * y) for y in (labels, tests))
        hits = new >= class_cuts(p, labels, 3, confidence)[tests]
        covered[draw] = hits.reshape(3, tested).mean(axis=1)
    means, deviations = covered.mean(axis=0), covered.std(axis=0) / draws**0.5
    assert (means > confidence - 3 * deviations).all()
    assert (means < confidence + np.array([1 / 10, 1 / 21, 1 / 201]) + 3 * deviations).all()


def test_one_cut_covers_all_samples_together_and_not_those_of_each_class() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        labels = rng.permutation(np.repeat([0, 1], [90, 10]))
        p, new = (rng.beta(8 - 6 * labels, 1 + 2 * labels) for _ in range(2))
        hits = new >= cut(p, 0.9)
        covered.append((hits.mean(), hits[labels == 1].mean()))
    together, of_the_hard = np.mean(covered, axis=0)
    assert 0.895 < together < 0.92
    assert of_the_hard < 0.5


@pytest.mark.parametrize("samples", [1, 7, 18, 19, 20, 99])
def test_the_sets_are_those_of_crepes_ties_included(samples: int) -> None:
    crepes = pytest.importorskip("crepes")
    rng = np.random.default_rng(samples)
    labels = rng.integers(0, 4, 4 * samples)
    for values in (rng.random(4 * samples), rng.integers(0, 6, 4 * samples) / 6):
        new = rng.permutation(np.concatenate([values, rng.random(20)]))
        for confidence in (0.5, 0.8, 0.87, 0.9, 0.95):
            cuts = class_cuts(values, labels, 4, confidence)
            fitted = crepes.ConformalClassifier().fit(-values, bins=labels)
            for number in range(4):
                found, of_class = new >= cuts[number], np.full(len(new), number)
                own = (labels == number).sum() + 1
                ranks = fitted.predict_p(-new, bins=of_class, smoothing=False) * own
                exact = 1 - Fraction(str(confidence))
                assert [Fraction(round(rank), int(own)) > exact for rank in ranks] == found.tolist()
                if (exact * int(own)).denominator > 1:  # else its sets hold one rank more
                    theirs = fitted.predict_set(-new, bins=of_class, smoothing=False, confidence=confidence)
                    assert theirs.astype(bool).tolist() == found.tolist()


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.9, 0.95, 0.99, 0.999])
def test_one_sample_less_than_it_takes_lets_everything_in(confidence: float) -> None:
    enough = fewest_samples(confidence)
    p = np.random.default_rng(0).uniform(0.2, 1, enough)
    assert cut(p, confidence) == p.min()
    assert cut(p[1:], confidence) == 0
    assert cut([], confidence) == 0


def test_figures_are_counts_and_a_class_that_does_not_occur_is_not_the_worst() -> None:
    rng = np.random.default_rng(1)
    members, labels = rng.random((200, 6)) < 0.4, rng.choice([0, 2, 3, 5], 200)
    hits = members[np.arange(200), labels]
    found = set_figures(members.sum(axis=1), hits, labels)
    shares = {y: hits[labels == y].mean() for y in (0, 2, 3, 5)}
    assert (found.samples, found.coverage, found.mean_size) == (200, hits.mean(), members.sum() / 200)
    assert found.worst_class == min(shares, key=shares.__getitem__)
    assert found.worst_coverage == pytest.approx(min(shares.values()))
    assert found.worst_samples == (labels == found.worst_class).sum()
    assert (found.singletons, found.empty) == tuple((members.sum(axis=1) == size).mean() for size in (1, 0))
