"""The post-hoc scores by name: what each means, who proposed it, and how it is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from trustcache.cache import CacheView
from trustcache.scores.feature_scores import DeltaMahalanobis, SoftmaxRetaining, VirtualLogit
from trustcache.scores.fitted_logit_scores import PNorm, RelU, Temperature, least_aurc
from trustcache.scores.fitting import FittingData, Outputs, fitting_data
from trustcache.scores.logit_scores import (
    doctor,
    logit_margin,
    max_logit,
    maximum_class_probability,
    mirrored_confidence,
    negative_energy,
    negative_entropy,
)
from trustcache.scores.neighbour_scores import DeltaNeighbour, NearestNeighbour
from trustcache.scores.trust_score import TrustScore


class Fitted(Protocol):
    """What was learnt from a training cache: a frozen dataclass of arrays and numbers."""

    @classmethod
    def fit(cls, data: FittingData) -> Fitted:
        """Learn from a training cache. Raises TooFew where that lacks what it learns from."""
        ...

    def score(self, rows: Outputs) -> np.ndarray:
        """float64 (N,), higher = more trustworthy; it does not depend on which rows are scored together."""
        ...

    @property
    def chosen(self) -> dict[str, float | str]:
        """The settings that were chosen, as a report shows them."""
        ...


@dataclass(frozen=True)
class Weight:
    """How much the second score of a sum counts."""

    weight: float

    @property
    def chosen(self) -> dict[str, float | str]:
        return {"weight": float(f"{self.weight:.3g}")}


@dataclass(frozen=True)
class PostHoc:
    """A score's meaning and paper, and one of four ways to compute it.

    logits: a function of logits (N, K). rows: one of outputs with a `column` that only some extractions make, by
    `option`. learner: fitted on a training cache first. sum_of: two other scores, the second weighted by least AURC on
    a training cache's validation part.
    features: whether it looks at the last layer's features.
    natural_zero: whether above 0 means trusted; else only the order counts, and TPR and TNR are undefined.
    """

    meaning: str
    paper: str
    logits: Callable[[np.ndarray], np.ndarray] | None = None
    rows: Callable[[Any], np.ndarray] | None = None
    column: str = ""
    option: str = ""
    learner: type[Fitted] | None = None
    sum_of: tuple[str, ...] = ()
    natural_zero: bool = False
    features: bool = False

    @property
    def fitted(self) -> bool:
        """Whether it learns from a training cache."""
        return self.logits is None and self.rows is None


POST_HOC: dict[str, PostHoc] = {
    "mcp": PostHoc(
        "maximum class probability: the classifier's own confidence",
        "Hendrycks & Gimpel 2017, arXiv:1610.02136",
        logits=maximum_class_probability,
        natural_zero=True,
    ),
    "margin": PostHoc(
        "the largest logit less the second largest", "Liang et al. 2024, arXiv:2405.05160", logits=logit_margin
    ),
    "max-logit": PostHoc("the largest logit", "Hendrycks et al. 2022, arXiv:1911.11132", logits=max_logit),
    "p-norm": PostHoc(
        "the largest centred logit over the p-norm of all; mcp where that is better",
        "Cattelan & Silva 2023, arXiv:2305.15508",
        learner=PNorm,
    ),
    "entropy": PostHoc(
        "how little the softmax is spread over the classes",
        "Malinin & Gales 2018, arXiv:1802.10501",
        logits=negative_entropy,
    ),
    "energy": PostHoc("log-sum-exp of the logits", "Liu et al. 2020, arXiv:2010.03759", logits=negative_energy),
    "doctor": PostHoc(
        "the chance that two draws from the softmax agree, as log-odds",
        "Granese et al. 2021, arXiv:2106.02395",
        logits=doctor,
    ),
    "rel-u": PostHoc(
        "like doctor, but pairs of classes count by how often they are confused",
        "Dadalto et al. 2023, arXiv:2306.01710",
        learner=RelU,
    ),
    "temperature": PostHoc(
        "mcp after temperature scaling: what calibration does to the ranking",
        "Guo et al. 2017, arXiv:1706.04599",
        learner=Temperature,
        natural_zero=True,
    ),
    "knn": PostHoc(
        "how near the k-th nearest training feature is",
        "Sun et al. 2022, arXiv:2204.06507",
        learner=NearestNeighbour,
        features=True,
    ),
    "delta-knn": PostHoc(
        "log distance to the nearest wrong training samples less that to right ones",
        "Heng & Soh 2025, arXiv:2505.15008",
        learner=DeltaNeighbour,
        features=True,
    ),
    "delta-mahalanobis": PostHoc(
        "Mahalanobis distance to the classes of wrong training samples less that to right ones",
        "Heng & Soh 2025, arXiv:2505.15008",
        learner=DeltaMahalanobis,
        features=True,
    ),
    "delta-knn+margin": PostHoc(
        "delta-knn plus weighted margin",
        "Heng & Soh 2025, arXiv:2505.15008",
        sum_of=("delta-knn", "margin"),
        features=True,
    ),
    "delta-mahalanobis+margin": PostHoc(
        "delta-mahalanobis plus weighted margin",
        "Heng & Soh 2025, arXiv:2505.15008",
        sum_of=("delta-mahalanobis", "margin"),
        features=True,
    ),
    "sirc": PostHoc(
        "mcp, lowered where the features are shorter than those of training data",
        "Xia & Bouganis 2022, arXiv:2207.07506",
        learner=SoftmaxRetaining,
        features=True,
    ),
    "vim": PostHoc(
        "energy less how far the features lie outside their principal space",
        "Wang et al. 2022, arXiv:2203.10807",
        learner=VirtualLogit,
        features=True,
    ),
    "trust-score": PostHoc(
        "distance to the nearest other class over that to the predicted one",
        "Jiang et al. 2018, arXiv:1805.11783",
        learner=TrustScore,
        features=True,
    ),
    "mc-dropout": PostHoc(
        "how little the mean softmax is spread over the classes when dropout stays on (extract --mc-dropout)",
        "Gal & Ghahramani 2016, arXiv:1506.02142",
        rows=lambda outputs: outputs.mc_dropout.astype(np.float64),
        column="mc_dropout",
        option="--mc-dropout N",
    ),
    "mcp-mirrored": PostHoc(
        "mcp of the image and its mirror image, averaged (extract --features stages)",
        "Ashukha et al. 2020, arXiv:2002.06470",
        rows=lambda outputs: mirrored_confidence(outputs.logits, outputs.mirrored_logits),
        column="mirrored_logits",
        option="--features stages",
        natural_zero=True,
    ),
}

# In units that bring both parts of a sum to one spread.
WEIGHTS = tuple(2.0**power for power in range(-5, 4))


def fit_weight(first: np.ndarray, second: np.ndarray, correct: np.ndarray) -> Weight:
    """The weight of least AURC for `first + weight * second`, scores (N,) of samples that are right where `correct`."""
    spread = float(first.std() / second.std()) if second.std() > 0 else 0.0
    weights = [spread * w for w in WEIGHTS]
    return Weight(weights[least_aurc([first + w * second for w in weights], correct)])


class Learnt:
    """What scores learn from one training cache, each when first asked for and once."""

    def __init__(self, data: Callable[[], FittingData]) -> None:
        self._read = data
        self._known: dict[str, Fitted | Weight] = {}

    @cached_property
    def data(self) -> FittingData:
        return self._read()

    def __getitem__(self, name: str) -> Fitted | Weight:
        """What a score learnt. Raises TooFew where the training cache lacks what it learns from."""
        if name not in self._known:
            self._known[name] = self._learn(name)
        return self._known[name]

    def _learn(self, name: str) -> Fitted | Weight:
        entry = POST_HOC[name]
        if entry.learner is not None:
            return entry.learner.fit(self.data)
        first, second = self.scores(entry.sum_of, self.data.validation).values()
        return fit_weight(first, second, self.data.validation.correct)

    def scores(self, names: Iterable[str], rows: Outputs) -> dict[str, np.ndarray]:
        """Scores of some samples, float64 (N,) each; a sum takes the parts that are among them from there."""
        found: dict[str, np.ndarray] = {}
        for name in names:
            entry = POST_HOC[name]
            if entry.logits is not None:
                found[name] = entry.logits(rows.logits)
                continue
            if entry.rows is not None:
                found[name] = entry.rows(rows)
                continue
            learnt = self[name]
            if isinstance(learnt, Weight):
                missing = self.scores([part for part in entry.sum_of if part not in found], rows)
                first, second = ({**found, **missing}[part] for part in entry.sum_of)
                found[name] = first + learnt.weight * second
            else:
                found[name] = learnt.score(rows)
        return found


def post_hoc_score(name: str, cache: CacheView, training: CacheView | None = None) -> np.ndarray:
    """A post-hoc score of every row of a cache, float64 (N,), in slices of bounded memory.

    training: a training cache of the same classifier, which fitted scores learn from.
    Raises ValueError where such a score is given none, or the cache lacks the column that a score is; and TooFew where
    the training cache lacks what the score learns from.
    """
    entry = POST_HOC[name]
    if entry.column and not cache.index.holds(entry.column):
        raise ValueError(f"{name} is made at extraction, and {cache.index.folder} was extracted without {entry.option}")
    learnt = Learnt(lambda: fitting_data(_given(name, training)))
    return np.concatenate([learnt.scores([name], part)[name] for part in cache.chunks()])


def _given(name: str, training: CacheView | None) -> CacheView:
    if training is None:
        raise ValueError(f"{name} is fitted first: it needs a training cache of the same classifier")
    return training
