"""Neighbour distances against scikit-learn's, and Delta-kNN written from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from trustcache.metrics.ranking import trust_metrics
from trustcache.scores import neighbour_scores
from trustcache.scores.fitting import FittingData, Outputs, TooFew
from trustcache.scores.neighbour_scores import (
    LEAST_SQUARE,
    NEIGHBOURS,
    QUERY_ROWS,
    REFERENCE_ROWS,
    DeltaNeighbour,
    NearestNeighbour,
    nearest_squares,
    unit,
)


def distances(queries: np.ndarray, references: np.ndarray, k: int) -> np.ndarray:
    """Distances to the k nearest, ascending, all brought to length 1, by scikit-learn in float64."""
    a, b = (x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1)[:, None] for x in (queries, references))
    return NearestNeighbors(n_neighbors=k, algorithm="brute").fit(b).kneighbors(a)[0]


def neighbour_distance(queries: np.ndarray, references: np.ndarray, k: int) -> np.ndarray:
    return NearestNeighbour(k, references).score(Outputs({"features": queries}.__getitem__))


def delta_neighbours(queries: np.ndarray, right: np.ndarray, wrong: np.ndarray, k: int) -> np.ndarray:
    return DeltaNeighbour(k, right, wrong).score(Outputs({"features": queries}.__getitem__))


@pytest.mark.usefixtures("medium_products")
def test_nearest_squares_by_torch_are_those_by_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    queries, references = generator.normal(size=(70, 5)), generator.normal(size=(130, 5))
    expected = nearest_squares(queries, references, 9)
    for name, value in {"WORTH_GPU": 0, "GPU_QUERY_ROWS": 32, "GPU_REFERENCE_ROWS": 7}.items():
        monkeypatch.setattr(neighbour_scores, name, value)
    monkeypatch.setattr(neighbour_scores, "_gpu", lambda: torch.device("cpu"))
    product, exact = torch.addmm, set[str]()

    def noted(*tensors: torch.Tensor, **named: float) -> torch.Tensor:
        exact.add(torch.get_float32_matmul_precision())
        return product(*tensors, **named)

    monkeypatch.setattr(torch, "addmm", noted)
    np.testing.assert_array_equal(nearest_squares(queries, references, 9), expected)
    assert exact == {"highest"}


@pytest.mark.parametrize("among", ["random", "equal"])
def test_nearest_squares_by_faiss_are_those_by_numpy(monkeypatch: pytest.MonkeyPatch, among: str) -> None:
    faiss = pytest.importorskip("faiss")
    generator, asked = np.random.default_rng(1), list[int]()
    queries, references = unit(generator.normal(size=(70, 40))), unit(generator.normal(size=(530, 40)))
    if among == "equal":  # more than are kept as candidates
        references[:200], queries[0] = references[0], references[0]
    expected, search = nearest_squares(queries, references, 9), faiss.knn
    monkeypatch.setattr(neighbour_scores, "WORTH_FAISS", 0)
    monkeypatch.setattr(faiss, "knn", lambda x, y, count: asked.append(count) or search(x, y, count))
    np.testing.assert_array_equal(nearest_squares(queries, references, 9), expected)
    assert asked == [9 + neighbour_scores.SPARE]
    double = nearest_squares(queries.astype(float), references.astype(float), 9)
    monkeypatch.setattr(neighbour_scores, "find_spec", lambda name: None)
    np.testing.assert_array_equal(nearest_squares(queries, references, 9), expected)
    np.testing.assert_allclose(double, expected, atol=1e-6)
    assert len(asked) == 1


def test_a_gpu_whose_memory_is_full_leaves_the_search_to_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*tensors: torch.Tensor, **named: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    queries, references = np.eye(3), np.ones((5, 3))
    expected = nearest_squares(queries, references, 2)
    monkeypatch.setattr(neighbour_scores, "WORTH_GPU", 0)
    monkeypatch.setattr(neighbour_scores, "_gpu", lambda: torch.device("cpu"))
    monkeypatch.setattr(torch, "addmm", full)
    np.testing.assert_array_equal(nearest_squares(queries, references, 2), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_querys_squares_are_differences_to_the_last_bit_whatever_stands_beside_it(dtype: type) -> None:
    rng = np.random.default_rng(0)
    references = unit(rng.normal(size=(400, 40)) * (np.arange(400) % 4 > 0)[:, None]).astype(dtype)
    # Beside them, far more references that are all but alike than candidates are kept.
    references[100:300] = references[100] + (1e-7 * rng.normal(size=(200, 40))).astype(dtype)
    queries = np.concatenate([references[:200], unit(rng.normal(size=(70, 40))).astype(dtype)])
    differences = np.square(references[None] - queries[:, None]).sum(axis=2)
    expected = np.sort(differences, axis=1)[:, :25]
    np.testing.assert_array_equal(nearest_squares(queries, references, 25), expected)
    assert (expected[:200, 0] == 0).all()
    for some in (slice(0, 1), slice(90, 110), slice(137, 270)):
        np.testing.assert_array_equal(nearest_squares(queries[some], references, 25), expected[some])


def test_nearest_squares_are_scikit_learns_across_blocks_of_queries_and_references() -> None:
    rng = np.random.default_rng(0)
    queries, references = rng.normal(size=(QUERY_ROWS + 50, 6)), rng.normal(size=(2 * REFERENCE_ROWS + 3, 6))
    expected = NearestNeighbors(n_neighbors=7).fit(references).kneighbors(queries)[0]
    np.testing.assert_allclose(nearest_squares(queries, references, 7), expected**2, rtol=1e-9, atol=1e-12)


def test_all_references_may_be_neighbours() -> None:
    found = nearest_squares(np.array([[0.0, 0]]), np.array([[3.0, 4], [0, 1], [0, 0]]), 3)
    np.testing.assert_allclose(found, [[0, 1, 25]])


def test_rows_of_zeros_stay_zero() -> None:
    np.testing.assert_allclose(unit(np.array([[0, 0], [3, 4]], dtype=np.float16)), [[0, 0], [0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("k", [1, 10])
def test_knn_is_minus_the_distance_to_the_kth_neighbour(training: FittingData, k: int) -> None:
    queries, references = training.validation.features, training.everyone.features
    expected = -distances(queries, references, k)[:, -1]
    np.testing.assert_allclose(neighbour_distance(queries, references, k), expected, rtol=1e-3, atol=1e-3)


def test_delta_knn_is_the_difference_of_mean_log_distances(training: FittingData) -> None:
    queries, right, wrong = training.validation.features, training.right.features, training.wrong.features
    logs = [np.log(distances(queries, kind, 10) ** 2 + LEAST_SQUARE).mean(axis=1) / 2 for kind in (wrong, right)]
    np.testing.assert_allclose(delta_neighbours(queries, right, wrong, 10), logs[0] - logs[1], atol=1e-4)


def test_a_sample_among_right_ones_is_trusted_and_one_among_wrong_ones_is_not() -> None:
    right, wrong = np.array([[1.0, 0.1], [1, -0.1]]), np.array([[0.1, 1.0], [-0.1, 1]])
    assert (np.sign(delta_neighbours(np.array([[2.0, 0], [0, 2.0]]), right, wrong, 2)) == [1, -1]).all()


def test_a_duplicate_of_a_training_sample_has_a_finite_score() -> None:
    right, wrong = np.array([[1.0, 0]]), np.array([[0.0, 1]])
    assert np.isfinite(delta_neighbours(np.array([[1.0, 0], [0, 1]]), right, wrong, 1)).all()


def test_both_choose_the_k_of_least_aurc(training: FittingData) -> None:
    rows = training.validation
    knn, delta = NearestNeighbour.fit(training), DeltaNeighbour.fit(training)
    knns = [neighbour_distance(rows.features, training.everyone.features, k) for k in NEIGHBOURS]
    deltas = [delta_neighbours(rows.features, training.right.features, training.wrong.features, k) for k in NEIGHBOURS]
    for fitted, scores in ((knn, knns), (delta, deltas)):
        best = int(np.argmin([trust_metrics(score, rows.correct)["aurc"] for score in scores]))
        assert fitted.chosen == {"k": NEIGHBOURS[best]}
        np.testing.assert_allclose(fitted.score(rows), scores[best], atol=1e-6)


def test_few_wrong_answers_lower_k_and_none_is_too_few(training: FittingData) -> None:
    assert DeltaNeighbour.fit(replace(training, wrong=training.wrong[:3])).k == 3
    with pytest.raises(TooFew, match="right and wrong"):
        DeltaNeighbour.fit(replace(training, wrong=training.wrong[:0]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_the_same_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, references = (unit(np.random.default_rng(i).normal(size=(300, 64))) for i in range(2))
    expected = nearest_squares(queries, references, 20)
    monkeypatch.setattr(neighbour_scores, "WORTH_GPU", 0)
    np.testing.assert_array_equal(nearest_squares(queries, references, 20), expected)
