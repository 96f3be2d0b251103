"""Delta-Mahalanobis, ViM and SIRC against scikit-learn, NumPy's closed forms and a known last layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import logsumexp, softmax
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA

from trustcache.scores.feature_scores import (
    BLOCK_ROWS,
    ClassGaussians,
    DeltaMahalanobis,
    SoftmaxRetaining,
    VirtualLogit,
    last_layer,
    principal_dimensions,
    residual_length,
)
from trustcache.scores.fitting import FittingData, Outputs, TooFew


def test_the_nearest_class_is_by_scipys_mahalanobis_distance(training: FittingData) -> None:
    rows = training.right
    fitted = ClassGaussians.fit(rows.features, rows.labels)
    x = rows.features.astype(np.float64)
    means = np.stack([x[rows.labels == c].mean(axis=0) for c in range(5)])
    inverse = np.linalg.inv(LedoitWolf(assume_centered=True).fit(x - means[rows.labels]).covariance_)
    queries = training.validation.features.astype(np.float64)
    expected = cdist(queries, means, "mahalanobis", VI=inverse).min(axis=1) ** 2
    np.testing.assert_allclose(fitted.least_squares(queries), expected, rtol=1e-8)


def test_delta_mahalanobis_trusts_what_is_like_right_samples(training: FittingData) -> None:
    fitted, rows = DeltaMahalanobis.fit(training), training.validation
    right = ClassGaussians.fit(training.right.features, training.right.labels).least_squares(rows.features)
    wrong = ClassGaussians.fit(training.wrong.features, training.wrong.labels).least_squares(rows.features)
    np.testing.assert_allclose(fitted.score(rows), wrong - right)
    assert fitted.score(rows)[rows.correct].mean() > fitted.score(rows)[~rows.correct].mean()


def test_classes_that_are_never_wrong_and_features_that_are_dead_do_no_harm(training: FittingData) -> None:
    wrong = training.wrong[training.wrong.labels != 2]
    dead = [replace(kind, features=kind.features * (np.arange(12) != 3)) for kind in (training.right, wrong)]
    fitted = DeltaMahalanobis.fit(replace(training, right=dead[0], wrong=dead[1]))
    assert len(fitted.wrong_means) == 4
    assert np.isfinite(fitted.score(training.validation)).all()


@pytest.mark.parametrize("kept", [0, 1])
def test_no_wrong_answers_or_a_single_one_are_too_few(training: FittingData, kept: int) -> None:
    with pytest.raises(TooFew):
        DeltaMahalanobis.fit(replace(training, wrong=training.wrong[:kept]))


def test_two_wrong_answers_of_one_class_are_too_few_and_three_are_not(training: FittingData) -> None:
    one_class = training.wrong[training.wrong.labels == 1]
    for offset in range(len(one_class) - 1):
        with pytest.raises(TooFew, match="wrong answers"):
            DeltaMahalanobis.fit(replace(training, wrong=one_class[offset : offset + 2]))
    fitted = DeltaMahalanobis.fit(replace(training, wrong=one_class[:3]))
    assert np.isfinite(fitted.score(training.validation)).all()


def test_the_last_layer_is_found_from_what_it_makes(training: FittingData) -> None:
    rows = training.everyone
    weight, bias = last_layer(lambda: [(rows.features, rows.logits)])
    np.testing.assert_allclose(weight, rows.weight, atol=2e-3)
    np.testing.assert_allclose(bias, rows.bias, atol=2e-3)


def test_the_last_layer_ignores_features_that_do_not_vary() -> None:
    rng = np.random.default_rng(0)
    features = np.hstack([rng.normal(size=(400, 3)), np.full((400, 2), 7.0)])
    truth = rng.normal(size=(3, 4))
    weight, bias = last_layer(lambda: [(features, features[:, :3] @ truth + 1)])
    np.testing.assert_allclose(weight, np.vstack([truth, np.zeros((2, 4))]), atol=1e-8)
    np.testing.assert_allclose(bias, 1, atol=1e-7)


def test_the_residual_is_what_pca_leaves() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 6)) * [9, 8, 7, 1, 1, 1]
    features -= features.mean(axis=0)
    pca = PCA(3).fit(features)
    left = features - pca.inverse_transform(pca.transform(features))
    basis = np.linalg.svd(features, full_matrices=True)[2][3:].T
    np.testing.assert_allclose(residual_length(features, np.zeros(6), basis), np.linalg.norm(left, axis=1))


def test_vim_is_energy_less_the_scaled_residual_about_the_layers_origin(training: FittingData) -> None:
    rows, everyone = training.validation, training.everyone
    fitted = VirtualLogit.fit(training)
    origin = -np.linalg.pinv(rows.weight.T) @ rows.bias
    x = everyone.features.astype(np.float64) - origin
    vectors = np.linalg.eigh(x.T @ x)[1][:, ::-1][:, 6:]  # half of 12 features are principal
    alpha = everyone.logits.max(axis=1).astype(np.float64).mean() / np.linalg.norm(x @ vectors, axis=1).mean()
    residual = np.linalg.norm((rows.features.astype(np.float64) - origin) @ vectors, axis=1)
    expected = logsumexp(rows.logits.astype(np.float64), axis=1) - alpha * residual
    np.testing.assert_allclose(fitted.score(rows), expected, rtol=0.02, atol=0.05)


def test_vim_distrusts_what_leaves_the_principal_space(training: FittingData) -> None:
    rows, fitted = training.validation, VirtualLogit.fit(training)
    away = replace(rows, features=rows.features + 5 * fitted.residual[:, 0])
    assert fitted.score(away).mean() < fitted.score(rows).mean()


@pytest.mark.parametrize(
    ("features", "principal"), [(64, 32), (767, 383), (768, 512), (1024, 512), (1536, 512), (2047, 512), (2048, 1000)]
)
def test_the_principal_space_has_the_dimensions_of_the_authors_code(features: int, principal: int) -> None:
    assert principal_dimensions(features) == principal


def test_vim_needs_more_samples_than_features(training: FittingData) -> None:
    with pytest.raises(TooFew, match="12"):
        VirtualLogit.fit(replace(training, everyone=training.everyone[:12]))
    assert np.isfinite(VirtualLogit.fit(replace(training, everyone=training.everyone[:40])).alpha)


def test_sirc_ranks_as_the_papers_formula(training: FittingData) -> None:
    rows = training.validation
    second = np.abs(rows.features.astype(np.float64)).sum(axis=1)
    trained = np.abs(training.everyone.features.astype(np.float64)).sum(axis=1)
    a, b = trained.mean() - 3 * trained.std(), 1 / trained.std()
    p = softmax(rows.logits.astype(np.float64), axis=1).max(axis=1)
    expected = -(1 - p) * (1 + np.exp(-b * (second - a)))
    found = SoftmaxRetaining.fit(training).score(rows)
    np.testing.assert_allclose(found, -np.log(-expected), rtol=1e-5)  # where 1 - p is all rounding
    assert SoftmaxRetaining.fit(training).mean == pytest.approx(trained.mean())


def test_sirc_lowers_mcp_only_where_features_are_short() -> None:
    outputs = {"logits": np.array([[2.0, 0, 0]] * 3), "features": np.array([[50.0, -50], [130, 0], [0, 30]])}
    usual, long, short = SoftmaxRetaining(mean=100, deviation=10).score(Outputs(outputs.__getitem__))
    assert usual == pytest.approx(long, abs=0.06)
    assert short < usual - 3


def test_blocks_leave_no_seam(samples: Callable[..., FittingData], training: FittingData) -> None:
    rows = samples(BLOCK_ROWS + 100, seed=5)
    for kind in (DeltaMahalanobis, VirtualLogit, SoftmaxRetaining):
        fitted = kind.fit(training)
        parts = np.concatenate([fitted.score(rows[i : i + 997]) for i in range(0, len(rows), 997)])
        np.testing.assert_array_equal(fitted.score(rows), parts)
