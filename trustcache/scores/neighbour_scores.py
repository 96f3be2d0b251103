"""Trust scores from the distances to the nearest training features: kNN distance and Delta-kNN.

Features are brought to length 1, as in both papers, and compared in float32, whose rounding is far below that of
features stored as float16. Distances come from matrix products over blocks of queries and of references.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trustcache.scores.blocks import over_blocks
from trustcache.scores.fitted_logit_scores import least_aurc
from trustcache.scores.fitting import FittingData, Outputs

if TYPE_CHECKING:
    import torch

NEIGHBOURS = (5, 10, 25, 50, 100)
QUERY_ROWS, REFERENCE_ROWS = 256, 8192
GPU_QUERY_ROWS, GPU_REFERENCE_ROWS = 4096, 2**16
# Products of numbers from which a GPU saves more than its start takes.
WORTH_GPU = 10**10
# Added to squared distances before their logarithm, as in the code of arXiv:2505.15008: duplicates are not infinite.
LEAST_SQUARE = 1e-6


def unit(features: np.ndarray) -> np.ndarray:
    """Return rows of length 1, float32 (N, D), from features (N, D) of any float dtype; rows of zeros stay zero.

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).astype(float).round(3).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    x = features.astype(np.float32)
    norm = np.sqrt(np.einsum("nd,nd->n", x, x))
    x /= np.where(norm > 0, norm, 1)[:, None]
    return x


def nearest_squares(queries: np.ndarray, references: np.ndarray, k: int) -> np.ndarray:
    """Return squared Euclidean distances to the k nearest references, ascending, (N, k), in the dtype of the arguments.

    queries (N, D) and references (M, D) of one float dtype, 1 <= k <= M. No (N, M) array is ever made.

    >>> nearest_squares(np.array([[0.0]]), np.array([[3.0], [1.0], [2.0]]), k=2).tolist()
    [[1.0, 4.0]]
    """
    if len(queries) * references.size >= WORTH_GPU and (device := _gpu()):
        return _nearest_on_gpu(queries, references, k, device)
    lengths = np.einsum("md,md->m", references, references)
    return over_blocks(lambda rows: nearest_of_block(queries[rows], references, lengths, k), len(queries), QUERY_ROWS)


def _gpu() -> torch.device | None:
    import torch

    return torch.device("cuda") if torch.cuda.is_available() else None


def _nearest_on_gpu(queries: np.ndarray, references: np.ndarray, k: int, device: torch.device) -> np.ndarray:
    """Return `nearest_squares` by the same products on a device, in the same precision."""
    import torch

    known = torch.from_numpy(references).to(device)
    lengths = known.square().sum(1)
    found = []
    for x in torch.from_numpy(queries).split(GPU_QUERY_ROWS):
        x = x.to(device)
        best = x.new_empty(len(x), 0)
        for first in range(0, len(known), GPU_REFERENCE_ROWS):
            block = slice(first, first + GPU_REFERENCE_ROWS)
            both = torch.cat([best, torch.addmm(lengths[block], x, known[block].T, alpha=-2)], 1)
            best = both.topk(min(k, both.shape[1]), dim=1, largest=False).values
        found.append((best + x.square().sum(1, keepdim=True)).clamp(min=0).cpu())
    return torch.cat(found).numpy()


def nearest_of_block(x: np.ndarray, references: np.ndarray, lengths: np.ndarray, k: int) -> np.ndarray:
    """Return `nearest_squares` of few queries (n, D), given the squared lengths (M,) of the references.

    >>> nearest_of_block(np.array([[0.0]]), np.array([[3.0], [1.0]]), np.array([9.0, 1.0]), k=1).tolist()
    [[1.0]]
    """
    best = np.empty((len(x), 0), x.dtype)
    for first in range(0, len(references), REFERENCE_ROWS):
        block = slice(first, first + REFERENCE_ROWS)
        squares = x @ (-2 * references[block].T)
        squares += lengths[block]
        both = np.concatenate([best, squares], axis=1)
        best = np.partition(both, k - 1, axis=1)[:, :k] if both.shape[1] > k else both
    return np.maximum(np.sort(best, axis=1) + np.einsum("nd,nd->n", x, x)[:, None], 0)


def _mean_log_distances(features: np.ndarray, references: np.ndarray, ks: tuple[int, ...]) -> list[np.ndarray]:
    """Return for each k the mean log distance to the k nearest references (M, D), all of length 1, float64 (N,)."""
    squares = nearest_squares(unit(features), unit(references), max(ks)).astype(np.float64)
    logs = np.log(squares + LEAST_SQUARE) / 2
    return [logs[:, :k].mean(axis=1) for k in ks]


@dataclass(frozen=True)
class NearestNeighbour:
    """Minus the distance to the k-th nearest training feature (M, D), all of length 1, in [-2, 0]; k by least AURC.

    Sun et al. 2022 (arXiv:2204.06507).

    >>> rows = Outputs({"features": np.array([[0.0, 2.0]])}.__getitem__)
    >>> NearestNeighbour(k=1, references=-np.eye(2)[1:]).score(rows).tolist()
    [-2.0]
    """

    k: int
    references: np.ndarray

    @classmethod
    def fit(cls, data: FittingData) -> NearestNeighbour:
        references, rows = data.everyone.features, data.validation
        ks = _possible(len(references))
        squares = nearest_squares(unit(rows.features), unit(references), max(ks))
        return cls(ks[least_aurc([-squares[:, k - 1] for k in ks], rows.correct)], references)

    def score(self, rows: Outputs) -> np.ndarray:
        squares = nearest_squares(unit(rows.features), unit(self.references), self.k)
        return -np.sqrt(squares[:, -1].astype(np.float64))

    @property
    def chosen(self) -> dict[str, float | str]:
        return {"k": self.k}


@dataclass(frozen=True)
class DeltaNeighbour:
    """Mean log distance to the k nearest wrong samples (L, D) less that to the k nearest right ones (M, D).

    Heng & Soh 2025 (arXiv:2505.15008), Delta-kNN. All features are of length 1; k by least AURC.

    >>> rows = Outputs({"features": np.eye(2)}.__getitem__)
    >>> DeltaNeighbour(k=1, right=np.eye(2)[:1], wrong=np.eye(2)[1:]).score(rows).round(2).tolist()
    [7.25, -7.25]
    """

    k: int
    right: np.ndarray
    wrong: np.ndarray

    @classmethod
    def fit(cls, data: FittingData) -> DeltaNeighbour:
        right, wrong = (kind.features for kind in data.right_and_wrong())
        ks, rows = _possible(min(len(right), len(wrong))), data.validation
        near, far = (_mean_log_distances(rows.features, kind, ks) for kind in (right, wrong))
        scores = [w - r for r, w in zip(near, far, strict=True)]
        return cls(ks[least_aurc(scores, rows.correct)], right, wrong)

    def score(self, rows: Outputs) -> np.ndarray:
        wrong, right = (_mean_log_distances(rows.features, kind, (self.k,))[0] for kind in (self.wrong, self.right))
        return wrong - right

    @property
    def chosen(self) -> dict[str, float | str]:
        return {"k": self.k}


def _possible(samples: int) -> tuple[int, ...]:
    """Return the numbers of neighbours to choose from, given the number of samples."""
    return tuple(k for k in NEIGHBOURS if k <= samples) or (samples,)
