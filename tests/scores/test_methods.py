"""Methods as Python gives them: named, scored, and refused where they are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.caches_in_memory import cache_of
from tests.refusals import refusal_of, tells
from trustcache.cache import CacheView
from trustcache.scores import post_hoc, post_hoc_score
from trustcache.scores.methods import methods_of

TRAINING, TEST = cache_of(400, 1, name="train"), cache_of(200, 2, name="test")


class Mine:
    """Always the largest logit."""

    def decision_function(self, cache: CacheView) -> np.ndarray:
        return cache.logits.max(axis=1)


def largest(logits: np.ndarray) -> np.ndarray:
    """Largest logit."""
    return logits.max(axis=1)


@post_hoc(columns=["features"])
@dataclass(frozen=True)
class Centre:
    """Minus the distance to the mean feature."""

    mean: np.ndarray

    @classmethod
    def fit(cls, data: Any) -> Centre:
        return cls(data.everyone.features.astype(float).mean(axis=0))

    def score(self, outputs: Any) -> np.ndarray:
        return -np.linalg.norm(outputs.features - self.mean, axis=1)


@pytest.mark.parametrize("name", ["mcp", "margin", "temperature", "knn", "delta-knn+margin", "vim", "trust-score"])
def test_a_score_by_name_is_the_post_hoc_score(name: str) -> None:
    (method,) = methods_of([name], TRAINING)
    np.testing.assert_array_equal(method.scores(TEST), post_hoc_score(name, TEST, TRAINING))


def test_a_function_or_class_of_ones_own_has_its_scores_anywhere_its_training_arrays_are() -> None:
    np.testing.assert_array_equal(post_hoc_score(largest, TEST), TEST.logits.max(axis=1))
    again = CacheView.from_arrays(TRAINING.logits, TRAINING.labels, features=TRAINING.features)
    for score in (Centre, "knn"):
        z = post_hoc_score(score, TEST, training=TRAINING)
        np.testing.assert_array_equal(z, methods_of([score], TRAINING)[0].scores(TEST))
        np.testing.assert_array_equal(z, post_hoc_score(score, TEST, training=again))
        assert tells(refusal_of(lambda one=score: post_hoc_score(one, TEST)), "training=")  # type: ignore[misc]
    assert tells(refusal_of(lambda: post_hoc_score(Centre, TEST, training=TRAINING[:1])), "Centre")
    assert tells(refusal_of(lambda: post_hoc_score(3, TEST)), "function", "int")  # type: ignore[arg-type]


def test_functions_classes_and_objects_are_methods() -> None:
    found = methods_of([largest, Mine(), "max-logit"])
    assert [method.name for method in found] == ["largest", "Mine", "max-logit"]
    assert [method.about().meaning for method in found[:2]] == ["Largest logit.", "Always the largest logit."]
    for method in found:
        np.testing.assert_allclose(method.scores(TEST), TEST.logits.max(axis=1))


def test_a_class_of_ones_own_learns_from_the_training_cache() -> None:
    (method,) = methods_of([Centre], TRAINING)
    apart = np.linalg.norm(TEST.features - TRAINING.features.mean(axis=0), axis=1)
    assert np.corrcoef(method.scores(TEST), -apart)[0, 1] > 0.99
    assert method.learnt_rows(TEST) == 0
    assert method.learnt_rows(TRAINING[:70]) == 70


@pytest.mark.parametrize(
    ("given", "facts"),
    [
        ([["unheard"]], ("unheard", "mcp")),
        ([["knn"]], ("training",)),
        ([["mcp", "mcp"]], ("mcp", "twice")),
        ([[lambda x: x]], ("<lambda>", "'x'", "logits")),
        ([[lambda logits: logits]], ("<lambda>", "shape")),
        ([[lambda logits: np.full(len(logits), np.nan)]], ("<lambda>", "not finite")),
        ([[7]], ("int",)),
        ([["mc-dropout"]], ("mc_dropout",)),
    ],
)
def test_what_is_no_method_or_gives_no_scores_is_refused(given: list[Any], facts: tuple[str, ...]) -> None:
    assert tells(refusal_of(lambda: [method.scores(TEST) for method in methods_of(*given)]), *facts)
