"""GEN, NNGuide, ASH-S and SCALE against values that their authors' code gives; small networks that learn trust."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from trustcache.metrics.ranking import trust_metrics
from trustcache.scores.activation_scores import PERCENTILES, ActivationScaling, ActivationShaping
from trustcache.scores.fitting import FittingData, Outputs, TooFew
from trustcache.scores.guided_neighbours import NeighbourGuidance
from trustcache.scores.logit_scores import negative_generalised_entropy
from trustcache.scores.small_networks import ConfidenceNetwork, Invariance

FEATURES = np.array(
    [[3, 1, 2, 0, 0.5, 0.25, 4, 0], [1, 1.125, 0.5, 0.375, 0.75, 0, 0, 2], [0, 0, 6, 0.125, 0, 0, 0.25, 0]], float
)
WEIGHT = np.array(
    [
        *([0.5, -0.25, 0.125], [0, 1, -0.5], [0.25, 0.25, -1], [1, 0, 0]),
        *([-0.5, 0.5, 0.25], [0.75, -0.125, 0.5], [0.125, 0.5, 0.25], [-0.25, 0, 1]),
    ]
)
BIAS = np.array([0.1, -0.2, 0.3])


def outputs(features: np.ndarray) -> Outputs:
    return Outputs({"features": features, "logits": features @ WEIGHT + BIAS}.__getitem__)


# Made by github.com/andrijazz/ash (ash_s), github.com/kai422/SCALE (scale), each with logsumexp of the last layer.
@pytest.mark.parametrize(
    ("kind", "percentile", "expected"),
    [
        (ActivationShaping, 65, [8.414753, 6.636676, 5.121238]),
        (ActivationShaping, 80, [9.475236, 9.432657, 5.019795]),
        (ActivationShaping, 90, [29.189786, 35.750848, 4.994749]),
        (ActivationScaling, 65, [9.811951, 6.037815, 5.121238]),
        (ActivationScaling, 80, [13.697157, 9.017914, 5.211493]),
        (ActivationScaling, 90, [43.426012, 24.337838, 5.409387]),
    ],
)
def test_ash_and_scale_are_their_authors(
    kind: type[ActivationShaping | ActivationScaling], percentile: int, expected: list[float]
) -> None:
    np.testing.assert_allclose(kind(percentile, WEIGHT, BIAS).score(outputs(FEATURES)), expected, atol=1e-6)


def test_gen_is_its_authors() -> None:
    # github.com/XixiLiu95/GEN, generalized_entropy with gamma 0.1 and M 100
    np.testing.assert_allclose(
        negative_generalised_entropy(FEATURES @ WEIGHT + BIAS), [-2.411343, -2.540385, -2.188587], atol=1e-6
    )


def test_gen_counts_the_hundred_likeliest_classes_and_tells_sure_samples_apart() -> None:
    logits = np.random.default_rng(0).normal(size=(1, 300)) * 3
    p = np.sort(np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum())[:, -100:]
    np.testing.assert_allclose(negative_generalised_entropy(logits), -((p * (1 - p)) ** 0.1).sum(axis=1))
    sure, surer = negative_generalised_entropy(np.array([[900.0, 0, 0], [1000.0, 0, 0]]))
    assert sure < surer < 0


def test_nnguide_is_its_authors(training: FittingData) -> None:
    # github.com/roomo7time/nnguide, NNGuideOODDetector with knn_k 2, on features of length 1
    queries = FEATURES[::-1] * [1, 1, 1, 1, 2, 2, 0.5, 1]
    rows = replace(training.everyone[:3], features=FEATURES, logits=FEATURES @ WEIGHT + BIAS)
    fitted = NeighbourGuidance.fit(replace(training, everyone=rows, validation=rows))
    found = NeighbourGuidance(2, fitted.references, fitted.scale).score(outputs(queries))
    np.testing.assert_allclose(found, [4.042390, 4.066608, 6.040156], rtol=1e-5)


@pytest.mark.parametrize("kind", [ActivationShaping, ActivationScaling])
def test_the_percentile_is_the_one_of_least_aurc(
    kind: type[ActivationShaping | ActivationScaling], training: FittingData
) -> None:
    fitted, rows = kind.fit(training), training.validation
    aurc = {
        p: trust_metrics(kind(p, fitted.weight, fitted.bias).score(rows), rows.correct)["aurc"] for p in PERCENTILES
    }
    assert aurc[fitted.percentile] == min(aurc.values())
    assert fitted.chosen == {"percentile": fitted.percentile}
    with pytest.raises(TooFew, match="12"):
        kind.fit(replace(training, everyone=training.everyone[:12]))


def test_samples_without_activation_are_left_as_they_are() -> None:
    rows = Outputs({"features": -np.ones((1, 2))}.__getitem__)
    for kind, logits in ((ActivationShaping, [0.0, -1.0]), (ActivationScaling, [-1.0, -1.0])):
        expected = np.logaddexp(*(np.array(logits) * np.e))
        np.testing.assert_allclose(kind(50, np.eye(2), np.zeros(2)).score(rows), [expected])


@dataclass(frozen=True)
class TwoViews:
    """Logits of images and of their mirror images; the classifier is wrong where these disagree, mostly."""

    logits: np.ndarray
    mirrored_logits: np.ndarray
    correct: np.ndarray

    def __len__(self) -> int:
        return len(self.correct)

    def __getitem__(self, rows: slice) -> TwoViews:
        return TwoViews(self.logits[rows], self.mirrored_logits[rows], self.correct[rows])


def two_views(count: int, seed: int) -> TwoViews:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 4)).astype(np.float16)
    correct = rng.random(count) < 0.8
    other = np.where(correct[:, None], logits, logits[:, ::-1])
    return TwoViews(logits, (other + rng.normal(size=logits.shape) / 2).astype(np.float16), correct)


def test_invariance_distrusts_what_changes_in_the_mirror_whichever_the_class() -> None:
    everyone, rows = two_views(1500, seed=1), two_views(400, seed=2)
    wrong = everyone[slice(0, 1)]
    fitted = Invariance.fit(FittingData(rows, everyone, right=wrong, wrong=wrong))  # type: ignore[arg-type]
    fresh = two_views(500, seed=3)
    z = fitted.score(fresh)  # type: ignore[arg-type]
    assert trust_metrics(z, fresh.correct)["auc"] > 0.85
    parts = [fitted.score(fresh[slice(i, i + 60)]) for i in range(0, 500, 60)]  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.concatenate(parts), z)
    order = [2, 0, 3, 1]
    renamed = TwoViews(fresh.logits[:, order], fresh.mirrored_logits[:, order], fresh.correct)
    np.testing.assert_array_equal(fitted.score(renamed), z)  # type: ignore[arg-type]
    assert fitted.chosen == {"epochs": fitted.epochs}


def test_invariance_needs_wrong_answers() -> None:
    rows = two_views(20, seed=1)
    with pytest.raises(TooFew):
        Invariance.fit(FittingData(rows, rows, right=rows, wrong=rows[slice(0, 0)]))  # type: ignore[arg-type]


def test_confidnet_learns_the_probability_of_the_true_class(
    training: FittingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ConfidenceNetwork, "hidden", (400,) * 4)  # of its own size here, which conftest cuts down
    fitted, rows = ConfidenceNetwork.fit(training), training.validation
    assert fitted.widths.tolist() == [12, 400, 400, 400, 400, 1]
    logits = rows.logits.astype(np.float64)
    p = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))[np.arange(len(rows)), rows.labels]
    learnt = 1 / (1 + np.exp(-fitted.score(rows)))
    assert learnt.mean() == pytest.approx(p.mean(), abs=0.05)
    assert learnt[p > 0.9].mean() > learnt[p < 0.1].mean() + 0.05
    assert fitted.chosen == {"epochs": fitted.epochs}
