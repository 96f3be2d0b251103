"""Every registered score: documented, finite, the same in chunks as whole, and better than chance where it should."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trustcache.cache import open_cache
from trustcache.cache.workspace import Workspace
from trustcache.errors import UsageError
from trustcache.metrics.ranking import trust_metrics
from trustcache.scores import POST_HOC, post_hoc_score
from trustcache.scores.fitting import FittingData
from trustcache.scores.registry import Learnt, Weight

METHODS = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
NAMES = [
    *("mcp", "margin", "max-logit", "p-norm", "entropy", "gen", "energy", "doctor", "rel-u", "temperature"),
    *("knn", "nnguide", "delta-knn", "delta-mahalanobis", "delta-knn+margin", "delta-mahalanobis+margin"),
    *("sirc", "vim", "ash", "scale", "confidnet", "trust-score", "mc-dropout", "mcp-mirrored"),
    *("mcp-views", "invariance"),
]
# Others need a column that only some caches have; test_mc_dropout, test_strong and test_peers have their promises.
COMPUTED = [name for name, entry in POST_HOC.items() if not {"mc_dropout", "mirrored_logits"} & {*entry.columns}]

# Made to tell images from elsewhere.
FOR_OTHER_IMAGES = {"vim", "max-logit", "energy", "knn", "nnguide", "ash", "scale"}


@pytest.fixture(scope="module")
def learnt(training: FittingData) -> Learnt:
    return Learnt(lambda: training)


def test_the_names_are_those_that_results_are_known_by() -> None:
    assert list(POST_HOC) == NAMES


@pytest.mark.parametrize("name", POST_HOC)
def test_a_score_has_a_meaning_and_a_line_in_the_docs_with_the_paper_that_its_code_names(name: str) -> None:
    entry = POST_HOC[name]
    assert entry.meaning
    (line,) = [line for line in METHODS.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1]]
    ((authors, number),) = re.findall(
        r"\[([^]]+)\]\(https://(?:arxiv.org/abs/|openreview.net/forum\?id=)([\w.]+)\)", line
    )
    assert ("*" in line.split("|")[1]) == entry.fitted
    if not entry.sum_of:
        text = (inspect.getdoc(entry.compute) or "") + (inspect.getmodule(entry.compute).__doc__ or "")
        assert number in text
        assert authors in text.replace("\n", " ")


@pytest.mark.parametrize("name", COMPUTED)
def test_a_score_is_finite_and_the_same_to_the_last_bit_in_chunks_in_any_order_and_alone(
    name: str, learnt: Learnt, samples: Callable[..., FittingData]
) -> None:
    rows = samples(700, seed=3)
    before = rows.logits.copy(), rows.features.copy()
    whole = learnt.scores([name], rows)[name]
    assert whole.shape == (700,)
    assert whole.dtype == np.float64
    assert np.isfinite(whole).all()
    parts = np.concatenate([learnt.scores([name], rows[i : i + 60])[name] for i in range(0, 700, 60)])
    np.testing.assert_array_equal(parts, whole)
    order = np.random.default_rng(0).permutation(700)
    np.testing.assert_array_equal(learnt.scores([name], rows[order])[name], whole[order])
    alone = [learnt.scores([name], rows[i : i + 1])[name].item() for i in range(0, 700, 50)]
    assert alone == whole[::50].tolist()
    assert (rows.logits == before[0]).all()
    assert (rows.features == before[1]).all()


@pytest.mark.parametrize("name", sorted(set(COMPUTED) - FOR_OTHER_IMAGES))
def test_a_score_that_is_made_to_find_mistakes_finds_them(
    name: str, learnt: Learnt, samples: Callable[..., FittingData]
) -> None:
    rows = samples(2000, seed=4)
    assert trust_metrics(learnt.scores([name], rows)[name], rows.correct)["auc"] > 0.7


@pytest.mark.parametrize("name", COMPUTED)
def test_learning_twice_gives_the_same(name: str, training: FittingData, learnt: Learnt) -> None:
    again = Learnt(lambda: training)
    rows = training.validation
    np.testing.assert_array_equal(again.scores([name], rows)[name], learnt.scores([name], rows)[name])


@pytest.mark.parametrize("name", ["delta-knn+margin", "delta-mahalanobis+margin"])
def test_a_sum_is_its_first_part_and_the_weighted_second(name: str, training: FittingData, learnt: Learnt) -> None:
    rows, base = training.validation, name.removesuffix("+margin")
    parts = learnt.scores([base, "margin", name], rows)
    np.testing.assert_array_equal(parts[name], parts[base] + learnt[name].weight * parts["margin"])
    np.testing.assert_array_equal(parts[name], learnt.scores([name], rows)[name])
    aurc = {w: trust_metrics(parts[base] + w * parts["margin"], rows.correct)["aurc"] for w in (0, 1e6)}
    assert trust_metrics(parts[name], rows.correct)["aurc"] <= min(aurc.values()) + 0.01


def test_a_weight_brings_parts_to_one_spread_before_it_compares_them() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=4000)
    correct = truth + 0.3 * rng.normal(size=4000) > 0
    first, second = truth + rng.normal(size=4000), 1000 * (truth + rng.normal(size=4000))
    assert Weight.fit(first, second, correct).weight == pytest.approx(0.001, rel=0.2)
    assert Weight.fit(first, 0 * second, correct) == Weight(0)


def test_a_sum_computes_no_part_a_second_time(training: FittingData, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt = Learnt(lambda: training)
    fitted = learnt["delta-knn"]
    learnt["delta-knn+margin"]
    calls = []
    score = type(fitted).score
    monkeypatch.setattr(type(fitted), "score", lambda self, rows: calls.append(1) or score(self, rows))
    learnt.scores(["margin", "delta-knn", "delta-knn+margin"], training.validation)
    assert calls == [1]


def test_scores_of_a_cache_are_those_of_its_arrays(prepared_workspace: Workspace) -> None:
    cache = open_cache(prepared_workspace.find_cache("test").folder)
    training = open_cache(prepared_workspace.find_cache("train").folder)
    for name, entry in POST_HOC.items():
        if entry.of_logits:
            np.testing.assert_array_equal(post_hoc_score(name, cache), entry.compute(cache.logits))
    assert post_hoc_score("trust-score", cache, training).shape == (len(cache),)


def test_a_score_that_is_fitted_asks_for_a_training_cache(prepared_workspace: Workspace) -> None:
    cache = open_cache(prepared_workspace.find_cache("test").folder)
    with pytest.raises(UsageError, match="training cache"):
        post_hoc_score("knn", cache)
