"""The post-hoc scores by name: what each means, who proposed it, and how it is computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from trustcache.cache import CacheView
from trustcache.errors import TrustcacheError, UsageError, kind_and_line
from trustcache.registry import Registry
from trustcache.scores.entry import Fitted, PostHoc, entry_of
from trustcache.scores.feature_scores import DeltaMahalanobis, SoftmaxRetaining, VirtualLogit
from trustcache.scores.fitted_logit_scores import PNorm, RelU, Temperature, least_aurc
from trustcache.scores.fitting import FittingData, Outputs, TooFew, fitting_data, outputs_of
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


@dataclass(frozen=True)
class Weight:
    """Weight of the second score of a sum, float >= 0.

    >>> Weight(0.12345).chosen
    {'weight': 0.123}
    """

    weight: float

    @property
    def chosen(self) -> dict[str, float | str]:
        return {"weight": float(f"{self.weight:.3g}")}


_NEIGHBOURS = {"k": ("k=", "how many nearest training samples count")}
_WEIGHT = {"weight": ("×", "sums: what the margin is multiplied by")}

_BUILT_IN = {
    "mcp": PostHoc(
        "maximum class probability: the classifier's own confidence",
        "Hendrycks & Gimpel 2017, arXiv:1610.02136",
        function=maximum_class_probability,
        natural_zero=True,
    ),
    "margin": PostHoc(
        "the largest logit less the second largest", "Liang et al. 2024, arXiv:2405.05160", function=logit_margin
    ),
    "max-logit": PostHoc("the largest logit", "Hendrycks et al. 2022, arXiv:1911.11132", function=max_logit),
    "p-norm": PostHoc(
        "the largest centred logit over the p-norm of all; mcp where that is better",
        "Cattelan & Silva 2023, arXiv:2305.15508",
        learner=PNorm,
        settings={
            "p": (
                "p=",
                "p-norm: the norm of least AURC on held-out training data; mcp where none is better than mcp",
            )
        },
    ),
    "entropy": PostHoc(
        "how little the softmax is spread over the classes",
        "Malinin & Gales 2018, arXiv:1802.10501",
        function=negative_entropy,
    ),
    "energy": PostHoc("log-sum-exp of the logits", "Liu et al. 2020, arXiv:2010.03759", function=negative_energy),
    "doctor": PostHoc(
        "the chance that two draws from the softmax agree, as log-odds",
        "Granese et al. 2021, arXiv:2106.02395",
        function=doctor,
    ),
    "rel-u": PostHoc(
        "like doctor, but pairs of classes count by how often they are confused",
        "Dadalto et al. 2023, arXiv:2306.01710",
        learner=RelU,
        settings={"lambda": ("λ=", "rel-u: how much wrong training samples count beside right ones")},
    ),
    "temperature": PostHoc(
        "mcp after temperature scaling: what calibration does to the ranking",
        "Guo et al. 2017, arXiv:1706.04599",
        learner=Temperature,
        settings={
            "T": (
                "T=",
                "temperature: what the logits are divided by, by cross-entropy on held-out training data",
            )
        },
        natural_zero=True,
    ),
    "knn": PostHoc(
        "how near the k-th nearest training feature is",
        "Sun et al. 2022, arXiv:2204.06507",
        learner=NearestNeighbour,
        settings=_NEIGHBOURS,
        columns=("features",),
    ),
    "delta-knn": PostHoc(
        "log distance to the nearest wrong training samples less that to right ones",
        "Heng & Soh 2025, arXiv:2505.15008",
        learner=DeltaNeighbour,
        settings=_NEIGHBOURS,
        columns=("features",),
    ),
    "delta-mahalanobis": PostHoc(
        "Mahalanobis distance to the classes of wrong training samples less that to right ones",
        "Heng & Soh 2025, arXiv:2505.15008",
        learner=DeltaMahalanobis,
        columns=("features",),
    ),
    "delta-knn+margin": PostHoc(
        "delta-knn plus weighted margin",
        "Heng & Soh 2025, arXiv:2505.15008",
        sum_of=("delta-knn", "margin"),
        settings=_WEIGHT,
        columns=("logits", "features"),
    ),
    "delta-mahalanobis+margin": PostHoc(
        "delta-mahalanobis plus weighted margin",
        "Heng & Soh 2025, arXiv:2505.15008",
        sum_of=("delta-mahalanobis", "margin"),
        settings=_WEIGHT,
        columns=("logits", "features"),
    ),
    "sirc": PostHoc(
        "mcp, lowered where the features are shorter than those of training data",
        "Xia & Bouganis 2022, arXiv:2207.07506",
        learner=SoftmaxRetaining,
        columns=("logits", "features"),
    ),
    "vim": PostHoc(
        "energy less how far the features lie outside their principal space",
        "Wang et al. 2022, arXiv:2203.10807",
        learner=VirtualLogit,
        columns=("logits", "features"),
    ),
    "trust-score": PostHoc(
        "distance to the nearest other class over that to the predicted one",
        "Jiang et al. 2018, arXiv:1805.11783",
        learner=TrustScore,
        settings={
            "alpha": (
                "α=",
                "trust-score: share of each class's training samples, of least density, that is left out",
            )
        },
        columns=("features", "predictions"),
    ),
    "mc-dropout": PostHoc(
        "how little the mean softmax is spread over the classes when dropout stays on (extract --mc-dropout)",
        "Gal & Ghahramani 2016, arXiv:1506.02142",
        function=lambda entropy: entropy.astype(np.float64),
        columns=("mc_dropout",),
    ),
    "mcp-mirrored": PostHoc(
        "mcp of the image and its mirror image, averaged (extract --features stages)",
        "Ashukha et al. 2020, arXiv:2002.06470",
        function=mirrored_confidence,
        columns=("logits", "mirrored_logits"),
        natural_zero=True,
    ),
}

POST_HOC: Registry[PostHoc] = Registry("trustcache.scores", "--score", _BUILT_IN, entry_of)
"""The post-hoc scores by name: those below `_BUILT_IN`, those of installed packages, and users' own functions."""

# In units that bring both parts of a sum to one spread.
WEIGHTS = tuple(2.0**power for power in range(-5, 4))


def fit_weight(first: np.ndarray, second: np.ndarray, correct: np.ndarray) -> Weight:
    """Fit the weight of least AURC for `first + weight * second`.

    first, second: scores (N,) of samples that are right where `correct` (N,).

    >>> correct = np.array([True, True, False, False])
    >>> fit_weight(np.array([1.0, 0.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0]), correct).weight > 0
    True
    """
    spread = float(first.std() / second.std()) if second.std() > 0 else 0.0
    weights = [spread * w for w in WEIGHTS]
    return Weight(weights[least_aurc([first + w * second for w in weights], correct)])


class Learnt:
    """State of the scores that learn from one training cache, each fitted when first asked for, once."""

    def __init__(self, data: Callable[[], FittingData]) -> None:
        self._read = data
        self._known: dict[str, Fitted | Weight] = {}

    @cached_property
    def data(self) -> FittingData:
        return self._read()

    def __getitem__(self, name: str) -> Fitted | Weight:
        """Return what a score learnt. Raises TooFew where the training cache lacks what it learns from."""
        if name not in self._known:
            self._known[name] = self._learn(name)
        return self._known[name]

    def chosen(self, name: str) -> dict[str, float | str]:
        """Return the settings that a score chose, {} if it learns nothing or chooses nothing."""
        return getattr(self[name], "chosen", {}) if POST_HOC[name].fitted else {}

    def _learn(self, name: str) -> Fitted | Weight:
        entry = POST_HOC[name]
        if entry.learner is not None:
            with _own_code(name, entry):
                return settled(entry.learner.fit(self.data))
        first, second = self.scores(entry.sum_of, self.data.validation).values()
        return fit_weight(first, second, self.data.validation.correct)

    def scores(self, names: Iterable[str], rows: Outputs) -> dict[str, np.ndarray]:
        """Return scores of some samples, float64 (N,) each; a sum takes the parts that are among them from there.

        Raises UsageError where a user's own score fails or gives another shape.
        """
        found: dict[str, np.ndarray] = {}
        for name in names:
            entry = POST_HOC[name]
            if entry.sum_of:
                missing = self.scores([part for part in entry.sum_of if part not in found], rows)
                first, second = ({**found, **missing}[part] for part in entry.sum_of)
                weight = self[name]
                assert isinstance(weight, Weight)
                found[name] = first + weight.weight * second
                continue
            columns = [getattr(rows, column) for column in entry.columns]
            learnt: Any = self[name] if entry.fitted else None
            with _own_code(name, entry):
                z = learnt.score(rows) if entry.function is None else entry.function(*columns)
                found[name] = np.asarray(z, np.float64)
                if found[name].shape != columns[0].shape[:1]:
                    raise ValueError(f"gave shape {found[name].shape}, not one score a sample, ({len(columns[0])},)")
        return found


@contextmanager
def _own_code(name: str, entry: PostHoc) -> Iterator[None]:
    """Turn what a user's own score raises into a UsageError."""
    try:
        yield
    except (TrustcacheError, TooFew):
        raise
    except Exception as error:
        if not entry.source:
            raise
        raise UsageError(f"--score {name}: {kind_and_line(error)}") from error


def settled(learnt: Fitted) -> Fitted:
    """Return a fitted score as it comes back from disk, its arrays in C order.

    Products of matrices in another order differ in their last bits. Raises TypeError where it is no dataclass of arrays
    and numbers.

    >>> settled(PNorm(p=2))
    PNorm(p=2)
    """
    if not dataclasses.is_dataclass(learnt):
        raise TypeError("fit must return a dataclass")
    state: dict[str, Any] = {field.name: getattr(learnt, field.name) for field in dataclasses.fields(learnt)}
    if odd := [key for key, value in state.items() if np.asarray(value).dtype.kind not in "biuf"]:
        raise TypeError(f"its field {odd[0]} is neither a number nor an array of numbers")
    whole = {k: np.asarray(v, order="C") if isinstance(v, np.ndarray) and v.ndim else v for k, v in state.items()}
    return type(learnt)(**whole)


def post_hoc_score(name: str, cache: CacheView, training: CacheView | None = None) -> np.ndarray:
    """Return a post-hoc score of every row of a cache, float64 (N,), in slices of bounded memory.

    training: a training cache of the same classifier, which fitted scores learn from.
    Raises ValueError where such a score is given none, UsageError for an unknown name or where the cache lacks a column
    that the score reads, and TooFew where the training cache lacks what the score learns from.

    >>> from trustcache.cache import open_cache
    >>> post_hoc_score("margin", open_cache(demo_workspace.cache_folder("net", "birds"))).shape
    (30,)
    """
    POST_HOC.find(name)
    learnt = Learnt(lambda: fitting_data(_given(name, training)))
    return np.concatenate([learnt.scores([name], outputs_of(part))[name] for part in cache.chunks()])


def _given(name: str, training: CacheView | None) -> CacheView:
    if training is None:
        raise ValueError(f"{name} is fitted first: it needs a training cache of the same classifier")
    return training
