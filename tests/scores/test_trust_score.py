"""TrustScore against its published algorithm on scikit-learn's KD-trees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KDTree

from trustcache.metrics.ranking import trust_metrics
from trustcache.scores.fitting import FittingData, TooFew
from trustcache.scores.neighbour_scores import nearest_squares
from trustcache.scores.trust_score import (
    ALPHAS,
    DENSITY_NEIGHBOURS,
    QUERY_ROWS,
    TrustScore,
    densest,
    density_radii,
    trust_score,
)


def by_trees(features: np.ndarray, predictions: np.ndarray, members: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The published score: distances to each class's second nearest member, from one KD-tree a class."""
    present = np.unique(labels).tolist()
    trees = {c: KDTree(members[labels == c].astype(np.float64)) for c in present}
    distance = np.stack([trees[c].query(features.astype(np.float64), k=2)[0][:, 1] for c in present], axis=1)
    own = np.array([row[present.index(p)] for row, p in zip(distance, predictions, strict=True)])
    other = [min(np.delete(row, present.index(p))) for row, p in zip(distance, predictions, strict=True)]
    return np.array(other) / (own + 1e-12)


def test_scores_are_those_of_kd_trees(training: FittingData) -> None:
    rows, members = training.validation, training.everyone
    given = rows.features, rows.predictions, members.features, members.labels
    np.testing.assert_allclose(trust_score(*given), by_trees(*given), rtol=1e-12)


def test_scores_rank_as_those_of_kd_trees_across_blocks_far_from_the_origin() -> None:
    rng = np.random.default_rng(0)
    members, labels = rng.normal(size=(3000, 20)) + 1000, rng.integers(4, size=3000)
    queries, predictions = rng.normal(size=(QUERY_ROWS + 200, 20)) + 1000, rng.integers(4, size=QUERY_ROWS + 200)
    found, expected = (score(queries, predictions, members, labels) for score in (trust_score, by_trees))
    assert (found.argsort() == expected.argsort()).all()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@given(st.integers(0, 10_000))
def test_rounding_hides_no_neighbour_where_members_are_all_but_alike(seed: int) -> None:
    rng = np.random.default_rng(seed)
    members = rng.normal(size=3) + 1e-7 * rng.normal(size=(40, 3))
    members[::5] = members[0]
    labels, predictions = np.arange(40) % 3, rng.integers(3, size=30)
    queries = members[:30] + 1e-7 * rng.normal(size=(30, 3))
    found, expected = (score(queries, predictions, members, labels) for score in (trust_score, by_trees))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_equal_points_are_no_distance_apart() -> None:
    rng = np.random.default_rng(0)
    members = np.repeat(rng.normal(size=(20, 50)), 2, axis=0) + 10  # each twice, so that the second nearest is equal
    labels = np.repeat([0, 1], 20)
    assert (nearest_squares(members, members, 2) == 0).all()
    assert (density_radii(members[:2], labels[:2]) == 0).all()
    found = trust_score(members[:20], labels[:20], members, labels)
    np.testing.assert_allclose(found, by_trees(members[:20], labels[:20], members, labels), rtol=1e-12)
    assert (found > 1e12).all()  # over the authors' least distance, 1e-12, and not over 1e-8


def test_worked_by_hand() -> None:
    members, labels = np.array([[0.0], [1], [10], [12], [90]]), np.array([0, 0, 2, 2, 3])
    # From 2: the second of class 0 lies at 0, that of class 2 at 12; class 3 has one member and counts for nothing.
    np.testing.assert_allclose(
        trust_score(np.array([[2.0]] * 4), np.array([0, 2, 3, 1]), members, labels), [5, 0.2, 0, 0]
    )


def test_two_classes_are_needed() -> None:
    with pytest.raises(ValueError, match="two classes"):
        trust_score(np.zeros((1, 2)), np.zeros(1, int), np.zeros((4, 2)), np.array([0, 0, 0, 1]))


def test_radii_are_the_tenth_distance_of_a_kd_tree_within_the_class(training: FittingData) -> None:
    features, labels = training.everyone.features.astype(np.float64), training.everyone.labels
    found = density_radii(features, labels)
    for label in range(5):
        own = features[labels == label]
        expected = KDTree(own).query(own, k=DENSITY_NEIGHBOURS)[0][:, -1]
        np.testing.assert_allclose(found[labels == label], expected, rtol=1e-9)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_filter_takes_the_least_dense_share_of_each_class(alpha: float) -> None:
    rng = np.random.default_rng(0)
    radii, labels = rng.random(800), np.repeat([0, 1], 400)
    radii[labels == 1] += 5
    kept = densest(radii, labels, alpha)
    for label in (0, 1):
        own = labels == label
        assert np.count_nonzero(kept[own]) == pytest.approx(400 * (1 - alpha), abs=1)
        assert radii[own & kept].max() < radii[own & ~kept].min(initial=np.inf)


def test_the_alpha_of_least_aurc_is_chosen(training: FittingData) -> None:
    fitted, rows, members = TrustScore.fit(training), training.validation, training.everyone
    radii = density_radii(members.features, members.labels)
    scores = []
    for alpha in ALPHAS:
        kept = densest(radii, members.labels, alpha)
        scores.append(trust_score(rows.features, rows.predictions, members.features[kept], members.labels[kept]))
    best = int(np.argmin([trust_metrics(score, rows.correct)["aurc"] for score in scores]))
    assert fitted.chosen == {"alpha": ALPHAS[best]}
    np.testing.assert_allclose(fitted.score(rows), scores[best])


def test_classes_of_a_handful_are_too_few(training: FittingData) -> None:
    with pytest.raises(TooFew, match="20 samples"):
        TrustScore.fit(replace(training, everyone=training.everyone[:30]))
