"""The post-hoc scores by name: what each means and how it is computed; its code names the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from trustcache.cache import CacheView
from trustcache.cache.view import require_cache
from trustcache.errors import TrustcacheError, UsageError, in_python, kind_and_line
from trustcache.models.views import VIEWS, view_column
from trustcache.registry import Registry
from trustcache.scores.activation_scores import ActivationScaling, ActivationShaping
from trustcache.scores.entry import Fitted, PostHoc, arrays_of, entry_of, name_of, restored
from trustcache.scores.feature_scores import DeltaMahalanobis, SoftmaxRetaining, VirtualLogit
from trustcache.scores.fitted_logit_scores import PNorm, RelU, Temperature, least_aurc
from trustcache.scores.fitting import FittingData, Outputs, TooFew, fitting_data, outputs_of
from trustcache.scores.guided_neighbours import NeighbourGuidance
from trustcache.scores.logit_scores import (
    doctor,
    logit_margin,
    max_logit,
    maximum_class_probability,
    mean_confidence,
    negative_energy,
    negative_entropy,
    negative_generalised_entropy,
    negative_predictive_entropy,
)
from trustcache.scores.neighbour_scores import DeltaNeighbour, NearestNeighbour
from trustcache.scores.small_networks import ConfidenceNetwork, Invariance
from trustcache.scores.trust_score import TrustScore

# In units that bring both parts of a sum to one spread.
WEIGHTS = tuple(2.0**power for power in range(-5, 4))


@dataclass(frozen=True)
class Weight:
    """Weight of the second score of a sum, float >= 0: the one of least AURC."""

    weight: float

    @classmethod
    def fit(cls, first: np.ndarray, second: np.ndarray, correct: np.ndarray) -> Weight:
        """Fit to scores (N,) of samples that are right where `correct` (N,)."""
        spread = float(first.std() / second.std()) if second.std() > 0 else 0.0
        weights = [spread * w for w in WEIGHTS]
        return cls(weights[least_aurc([first + w * second for w in weights], correct)])

    @property
    def chosen(self) -> dict[str, float | str]:
        return {"weight": float(f"{self.weight:.3g}")}


_NORM = {"p": ("p=", "p-norm: the norm of least AURC on held-out training data; mcp where none is better than mcp")}
_LAMBDA = {"lambda": ("λ=", "rel-u: how much wrong training samples count beside right ones")}
_TEMPERATURE = {"T": ("T=", "temperature: what the logits are divided by, by cross-entropy on held-out training data")}
_NEIGHBOURS = {"k": ("k=", "how many nearest training samples count")}
_WEIGHT = {"weight": ("×", "sums: what the margin is multiplied by")}
_PERCENTILE = {"percentile": ("%=", "ash, scale: the percentile that a sample's largest features lie above")}
_EPOCHS = {"epochs": ("epochs=", "confidnet, invariance: passes over the training samples")}
_ALPHA = {"alpha": ("α=", "trust-score: share of each class's training samples, of least density, that is left out")}

_FEATURES, _BOTH = ("features",), ("logits", "features")

_BUILT_IN = {
    "mcp": PostHoc(
        "maximum class probability: the classifier's own confidence", maximum_class_probability, natural_zero=True
    ),
    "margin": PostHoc("the largest logit less the second largest", logit_margin),
    "max-logit": PostHoc("the largest logit", max_logit),
    "p-norm": PostHoc(
        "the largest centred logit over the p-norm of all; mcp where that is better", PNorm, settings=_NORM
    ),
    "entropy": PostHoc("how little the softmax is spread over the classes", negative_entropy),
    "gen": PostHoc("like entropy, but small probabilities count for more", negative_generalised_entropy),
    "energy": PostHoc("log-sum-exp of the logits", negative_energy),
    "doctor": PostHoc("the chance that two draws from the softmax agree, as log-odds", doctor),
    "rel-u": PostHoc("like doctor, but pairs of classes count by how often they are confused", RelU, settings=_LAMBDA),
    "temperature": PostHoc(
        "mcp after temperature scaling: what calibration does to the ranking",
        Temperature,
        natural_zero=True,
        settings=_TEMPERATURE,
    ),
    "knn": PostHoc("how near the k-th nearest training feature is", NearestNeighbour, _FEATURES, settings=_NEIGHBOURS),
    "nnguide": PostHoc(
        "energy times how similar training samples of high energy are", NeighbourGuidance, _BOTH, settings=_NEIGHBOURS
    ),
    "delta-knn": PostHoc(
        "log distance to the nearest wrong training samples less that to right ones",
        DeltaNeighbour,
        _FEATURES,
        settings=_NEIGHBOURS,
    ),
    "delta-mahalanobis": PostHoc(
        "Mahalanobis distance to the classes of wrong training samples less that to right ones",
        DeltaMahalanobis,
        _FEATURES,
    ),
    "delta-knn+margin": PostHoc(
        "delta-knn plus weighted margin", Weight, _BOTH, settings=_WEIGHT, sum_of=("delta-knn", "margin")
    ),
    "delta-mahalanobis+margin": PostHoc(
        "delta-mahalanobis plus weighted margin",
        Weight,
        _BOTH,
        settings=_WEIGHT,
        sum_of=("delta-mahalanobis", "margin"),
    ),
    "sirc": PostHoc("mcp, lowered where the features are shorter than those of training data", SoftmaxRetaining, _BOTH),
    "vim": PostHoc("energy less how far the features lie outside their principal space", VirtualLogit, _BOTH),
    "ash": PostHoc(
        "energy after small features are left out and the others sharpened",
        ActivationShaping,
        _BOTH,
        settings=_PERCENTILE,
    ),
    "scale": PostHoc("energy after all features are sharpened", ActivationScaling, _BOTH, settings=_PERCENTILE),
    "confidnet": PostHoc(
        "five layers on the features that regress the probability of the true class",
        ConfidenceNetwork,
        _BOTH,
        settings=_EPOCHS,
    ),
    "trust-score": PostHoc(
        "distance to the nearest other class over that to the predicted one",
        TrustScore,
        ("features", "predictions"),
        settings=_ALPHA,
    ),
    "mc-dropout": PostHoc(
        "how little the mean softmax is spread over the classes when dropout stays on (extract --mc-dropout)",
        negative_predictive_entropy,
        ("mc_dropout",),
    ),
    "mcp-mirrored": PostHoc(
        "mcp of the image and its mirror image, averaged (extract --views mirrored)",
        mean_confidence,
        ("logits", "mirrored_logits"),
        natural_zero=True,
    ),
    "mcp-views": PostHoc(
        "mcp of the image and all views of it, averaged (extract --views all)",
        mean_confidence,
        ("logits", *map(view_column, VIEWS)),
        natural_zero=True,
    ),
    "invariance": PostHoc(
        "a small network on the logits of the image and its mirror image (extract --views mirrored)",
        Invariance,
        ("logits", "mirrored_logits"),
        settings=_EPOCHS,
    ),
}

POST_HOC: Registry[PostHoc] = Registry("trustcache.scores", "--score", _BUILT_IN, entry_of)
"""The post-hoc scores by name: those of `_BUILT_IN`, those of installed packages, and users' own functions."""


def probability_of(name: str, z: float) -> float | None:
    """Return the probability that a value of a built-in score stands for, None where it is no log-odds of one.

    >>> probability_of("mcp", 0.0), probability_of("margin", 0.0)
    (0.5, None)
    """
    if name not in _BUILT_IN or not _BUILT_IN[name].natural_zero:
        return None
    from scipy.special import expit

    return float(expit(z))


class Learnt:
    """State of the scores that learn from one training cache, each fitted when first asked for, once.

    own: scores beside those of the registry, by name.
    """

    def __init__(self, data: Callable[[], FittingData], own: Mapping[str, PostHoc] = MappingProxyType({})) -> None:
        self._read, self._own = data, own
        self._known: dict[str, Fitted | Weight] = {}

    def entry(self, name: str) -> PostHoc:
        """Return the entry of a score. Raises UsageError for an unknown one."""
        return self._own[name] if name in self._own else POST_HOC.find(name)

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
        return getattr(self[name], "chosen", {}) if self.entry(name).fitted else {}

    def _learn(self, name: str) -> Fitted | Weight:
        entry = self.entry(name)
        if entry.sum_of:
            first, second = self.scores(entry.sum_of, self.data.validation).values()
            return Weight.fit(first, second, self.data.validation.correct)
        with _own_code(name, entry):
            # As it comes back from disk: products of matrices in another order differ in their last bits.
            return restored(entry.compute, arrays_of(entry.compute.fit(self.data)))

    def scores(self, names: Iterable[str], rows: Outputs) -> dict[str, np.ndarray]:
        """Return scores of some samples, float64 (N,) each; a sum takes the parts that are among them from there.

        Raises UsageError where a user's own score fails or gives another shape.
        """
        found: dict[str, np.ndarray] = {}
        for name in names:
            entry = self.entry(name)
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
                z = learnt.score(rows) if entry.fitted else entry.compute(*columns)
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


def learnt_from(training: CacheView | None, own: Mapping[str, PostHoc] = MappingProxyType({})) -> Learnt:
    """Return the state of scores that learn from a training cache; without one, those that learn raise UsageError.

    >>> learnt_from(None).entry("margin").fitted
    False
    """

    def data() -> FittingData:
        if training is None:
            raise UsageError(
                "scores that learn need a training cache of the same classifier; give it as training=, or an oracle "
                "that is fitted in this process"
            )
        return fitting_data(training)

    return Learnt(data, own)


def scored_rows(name: str, cache: CacheView, learnt: Learnt) -> np.ndarray:
    """Return a post-hoc score of every row of a cache, float64 (N,), in slices of bounded memory.

    >>> from trustcache.cache import open_cache
    >>> scored_rows("margin", open_cache(demo_workspace.cache_folder("net", "birds")), learnt_from(None)).dtype
    dtype('float64')
    """
    cache.require(learnt.entry(name).columns)
    return np.concatenate([learnt.scores([name], outputs_of(part))[name] for part in cache.chunks()])


def post_hoc_score(score: str | Callable[..., Any], cache: CacheView, training: CacheView | None = None) -> np.ndarray:
    """Return a post-hoc score of every row of a cache, float64 (N,).

    score: a name, or a function of columns or a class of your own as `post_hoc` takes them. training: a training cache
    of the same classifier, which scores that learn do so from, the same each time.
    Raises UsageError for an unknown name, for what is no score, where the cache lacks a column that the score reads,
    and where there is nothing, or too little, to learn from.

    >>> from trustcache.cache import open_cache
    >>> cache = open_cache(demo_workspace.cache_folder("net", "birds"))
    >>> post_hoc_score("margin", cache).shape
    (30,)
    >>> post_hoc_score(lambda logits: logits.max(axis=1), cache).shape
    (30,)
    """
    require_cache(cache)
    name = name_of(score)
    with in_python():
        own = {} if isinstance(score, str) else {name: entry_of(name, score)}
    try:
        return scored_rows(name, cache, learnt_from(training, own))
    except TooFew as few:
        raise UsageError(f"{name}: {few}") from None
