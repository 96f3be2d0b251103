"""NNGuide: energy times the mean energy of similar training samples (Park et al. 2023, arXiv:2309.14888).

A guidance is a mean of the k largest inner products with training features of length 1, each times its sample's
energy. With one coordinate more, which brings all of these references to one length, the largest inner products are the
nearest references, and `nearest_squares` finds them exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustcache.scores.fitted_logit_scores import least_aurc
from trustcache.scores.fitting import FittingData, Outputs
from trustcache.scores.logit_scores import negative_energy
from trustcache.scores.neighbour_scores import nearest_squares, possible_neighbours, unit


def guidances(features: np.ndarray, references: np.ndarray, ks: tuple[int, ...]) -> list[np.ndarray]:
    """Return for each k the mean of the k largest inner products, float64 (N,), of features of length 1.

    features (N, D) of any float dtype; references (M, D + 1), all of length 1, whose last coordinate does not count.

    >>> [one] = guidances(np.array([[2.0, 0.0]]), np.array([[0.6, 0.0, 0.8], [0.0, 1.0, 0.0]], np.float32), (1,))
    >>> one.round(3).tolist()
    [0.6]
    """
    queries = np.pad(unit(features), ((0, 0), (0, 1)))
    products = 1 - nearest_squares(queries, references, max(ks)).astype(np.float64) / 2
    return [products[:, :k].mean(axis=1) for k in ks]


@dataclass(frozen=True)
class NeighbourGuidance:
    """Energy times guidance, the mean of the k largest similarities to training samples, each times its energy.

    references: (M, D + 1) float32, training features of length 1 times their energy over `scale`, the largest of all.
    k by least AURC.

    >>> rows = Outputs({"features": np.array([[2.0, 0.0]]), "logits": np.array([[2.0, 1.0]])}.__getitem__)
    >>> NeighbourGuidance(k=1, references=np.array([[0.6, 0.0, 0.8]], np.float32), scale=10.0).score(rows).round(3)
    array([13.88])
    """

    k: int
    references: np.ndarray
    scale: float

    @classmethod
    def fit(cls, data: FittingData) -> NeighbourGuidance:
        everyone, rows = data.everyone, data.validation
        energy = negative_energy(everyone.logits)
        scale = float(np.abs(energy).max()) or 1.0
        scaled = unit(everyone.features) * (energy / scale)[:, None].astype(np.float32)
        rest = 1 - np.square(scaled).sum(axis=1, keepdims=True)
        references = np.hstack([scaled, np.sqrt(rest.clip(min=0))])
        ks = possible_neighbours(len(references))
        scores = [g * negative_energy(rows.logits) for g in guidances(rows.features, references, ks)]
        return cls(ks[least_aurc(scores, rows.correct)], references, scale)

    def score(self, rows: Outputs) -> np.ndarray:
        (guidance,) = guidances(rows.features, self.references, (self.k,))
        return self.scale * guidance * negative_energy(rows.logits)

    @property
    def chosen(self) -> dict[str, float | str]:
        return {"k": self.k}
