"""Trust scores from the distances to the nearest training features: kNN distance and Delta-kNN.

Features are brought to length 1, as in both papers, and compared in float32, whose rounding is far below that of
features stored as float16. Matrix products over blocks of queries and of references find the candidates (on a GPU, by
faiss where that is installed, or here), whose distances are then taken from differences, row by row. So those of equal
points are 0, and a sample's score is the same to the last bit whatever else is scored, and by what.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from trustcache.models.precision import arithmetic
from trustcache.scores.blocks import over_blocks, squared_lengths
from trustcache.scores.fitted_logit_scores import least_aurc
from trustcache.scores.fitting import FittingData, Outputs

if TYPE_CHECKING:
    import torch

NEIGHBOURS = (5, 10, 25, 50, 100)
QUERY_ROWS, REFERENCE_ROWS = 128, 8192
GPU_QUERY_ROWS, GPU_REFERENCE_ROWS = 4096, 2**16
# Products of numbers from which a GPU saves more than its start takes.
WORTH_GPU = 10**10
# The same from which faiss, up to 1.3 times as fast (`benchmarks/neighbours.py`), may save more than its import takes.
WORTH_FAISS = 10**9
# Candidates beyond the k nearest by product, which is off by its rounding.
SPARE = 32
# Added to squared distances before their logarithm, as in the code of arXiv:2505.15008: duplicates are not infinite.
LEAST_SQUARE = 1e-6


def unit(features: np.ndarray) -> np.ndarray:
    """Return rows of length 1, float32 (N, D), from features (N, D) of any float dtype; rows of zeros stay zero.

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).astype(float).round(3).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    x = features.astype(np.float32)
    norm = np.sqrt(squared_lengths(x))
    x /= np.where(norm > 0, norm, 1)[:, None]
    return x


def nearest_squares(queries: np.ndarray, references: np.ndarray, k: int) -> np.ndarray:
    """Return squared Euclidean distances to the k nearest references, ascending, (N, k), in the dtype of the arguments.

    queries (N, D) and references (M, D) of one float dtype, 1 <= k <= M. No (N, M) array is ever made.

    >>> nearest_squares(np.array([[0.0]]), np.array([[3.0], [1.0], [2.0]]), k=2).tolist()
    [[1.0, 4.0]]
    """
    lengths, wanted = squared_lengths(references), min(k + SPARE, len(references))
    products = len(queries) * references.size
    found = _candidates_on_gpu(queries, references, wanted) if products >= WORTH_GPU else None
    if found is None and products >= WORTH_FAISS:
        found = _candidates_by_faiss(queries, references, wanted)

    def one(rows: slice) -> np.ndarray:
        x = queries[rows]
        values, numbers = (part[rows] for part in found) if found else _candidates(x, references, lengths, wanted)
        return _exact(x, references, lengths, k, values, numbers)

    return over_blocks(one, len(queries), QUERY_ROWS)


def _gpu() -> torch.device | None:
    from trustcache.data.loader import choose_device

    device = choose_device("auto")  # of several processes each has its own
    return device if device.type == "cuda" else None


def _candidates_on_gpu(queries: np.ndarray, references: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return `_candidates` by the same products on a GPU; None without one, and where its memory is full."""
    import torch

    device = _gpu()
    if device is None:
        return None
    try:
        with arithmetic("float32", device):
            return _candidates_by_torch(queries, references, count, device)
    except torch.OutOfMemoryError:
        return None


def _candidates_by_torch(
    queries: np.ndarray, references: np.ndarray, count: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Return `_candidates` by the same products on a device, in the same precision."""
    import torch

    known = torch.from_numpy(references).to(device)
    lengths = known.square().sum(1)
    found = []
    for x in torch.from_numpy(queries).split(GPU_QUERY_ROWS):
        x = x.to(device)
        values, numbers = x.new_empty(len(x), 0), torch.empty(len(x), 0, dtype=torch.int64, device=device)
        for first in range(0, len(known), GPU_REFERENCE_ROWS):
            block = slice(first, first + GPU_REFERENCE_ROWS)
            both = torch.cat([values, torch.addmm(lengths[block], x, known[block].T, alpha=-2)], 1)
            own = torch.arange(first, first + len(lengths[block]), device=device).expand(len(x), -1)
            values, places = both.topk(min(count, both.shape[1]), dim=1, largest=False)
            numbers = torch.cat([numbers, own], 1).gather(1, places)
        found.append((values.cpu(), numbers.cpu()))
    return torch.cat([some for some, _ in found]).numpy(), torch.cat([some for _, some in found]).numpy()


def _candidates_by_faiss(
    queries: np.ndarray, references: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return `_candidates` by faiss; None where it is not installed, and for float64, which it would round.

    On Linux alone: elsewhere its threads and torch's do not get on in one process.
    """
    if sys.platform != "linux" or queries.dtype != np.float32 or find_spec("faiss") is None:
        return None
    import faiss

    values, numbers = faiss.knn(queries, references, count)
    return values - squared_lengths(queries)[:, None], numbers


def _candidates(
    x: np.ndarray, references: np.ndarray, lengths: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least squares (n, count), less the query's own length, of few queries, and the references' numbers."""
    values, numbers = np.empty((len(x), 0), x.dtype), np.empty((len(x), 0), np.int64)
    scaled = -2 * x
    for first in range(0, len(references), REFERENCE_ROWS):
        block = slice(first, first + REFERENCE_ROWS)
        squares = scaled @ references[block].T
        squares += lengths[block]
        own = np.broadcast_to(np.arange(first, first + squares.shape[1]), squares.shape)
        values, numbers = np.concatenate([values, squares], axis=1), np.concatenate([numbers, own], axis=1)
        if values.shape[1] > count:
            places = np.argpartition(values, count - 1, axis=1)[:, :count]
            values, numbers = (np.take_along_axis(part, places, axis=1) for part in (values, numbers))
    return values, numbers


def _exact(
    x: np.ndarray, references: np.ndarray, lengths: np.ndarray, k: int, values: np.ndarray, numbers: np.ndarray
) -> np.ndarray:
    """Return the k least squares (n, k), ascending, from differences to those candidates that rounding leaves possible.

    Where these may be more than were kept, as many references are all but alike, all references are asked.
    """
    slack = 2 * product_error(x, lengths)
    limits = np.partition(values, k - 1, axis=1)[:, k - 1] + slack
    crowded = (values.max(axis=1) <= limits) & (values.shape[1] < len(references))
    squares = np.empty((len(x), k), x.dtype)
    for i, row in enumerate(x):
        near = numbers[i][values[i] <= limits[i]]
        if crowded[i]:
            near = np.flatnonzero(lengths - 2 * (references @ row) <= limits[i] + slack[i])
        squares[i] = np.sort(np.square(references[near] - row).sum(axis=1))[:k]
    return squares


def product_error(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return how far off squared distances by product may be, of queries (n, D) to references of squared lengths (M,).

    The errors of a product's terms add up like the steps of a random walk.

    >>> product_error(np.ones((1, 4), np.float32), np.array([4.0], np.float32)).round(7).tolist()
    [6.7e-06]
    """
    longest, own = lengths.max(), squared_lengths(x)
    of_product = (np.sqrt(x.shape[1]) / 2 + 4) * 2 * np.sqrt(longest * own)
    return np.asarray(np.finfo(x.dtype).eps * (of_product + 2 * (longest + own)))


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
        ks = possible_neighbours(len(references))
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
        ks, rows = possible_neighbours(min(len(right), len(wrong))), data.validation
        near, far = (_mean_log_distances(rows.features, kind, ks) for kind in (right, wrong))
        scores = [w - r for r, w in zip(near, far, strict=True)]
        return cls(ks[least_aurc(scores, rows.correct)], right, wrong)

    def score(self, rows: Outputs) -> np.ndarray:
        wrong, right = (_mean_log_distances(rows.features, kind, (self.k,))[0] for kind in (self.wrong, self.right))
        return wrong - right

    @property
    def chosen(self) -> dict[str, float | str]:
        return {"k": self.k}


def possible_neighbours(samples: int) -> tuple[int, ...]:
    """Return the numbers of neighbours to choose from, given the number of samples.

    >>> possible_neighbours(30), possible_neighbours(3)
    ((5, 10, 25), (3,))
    """
    return tuple(k for k in NEIGHBOURS if k <= samples) or (samples,)
