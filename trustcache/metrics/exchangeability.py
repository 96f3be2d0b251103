"""Sequential test that new scores are drawn as the calibration's were: a conformal test martingale.

Vovk, Gammerman & Shafer (Algorithmic Learning in a Random World, 2nd ed. 2022, chapter 8) bet against the ranks of new
scores among those seen before. Here the ranks are those among bins of the calibration scores. If all scores are
exchangeable, the widths of the bins follow a Dirichlet distribution with the bins' counts, so the next score falls into
a bin with a known chance, its share of all counts so far (Pólya's urn): neither the distribution of the scores nor the
noise of a finite calibration set matters. Any order of the samples will do: by score, or by predicted class first. The
capital of fair bets on that, starting at 1, reaches 1 / alpha in at most a share alpha of all streams, however long
(Ville's inequality).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from trustcache.metrics.tie_groups import Counts, Floats

# Equal parts, and finer ones at both ends, where gross changes show first.
_QUANTILES = np.array([0.001, 0.002, 0.005, 0.01, *np.arange(0.02, 0.99, 0.02), 0.99, 0.995, 0.998, 0.999])
# Each bet has a Beta density of the rank in (0, 1): ranks lower than before, higher, at both ends, in the middle; those
# near (1, 1) are for slight changes.
_BETS = (
    *((a, 1.0) for a in (0.2, 0.4, 0.6, 0.8, 0.9, 1.2, 2.0, 4.0)),
    *((1.0, b) for b in (0.2, 0.4, 0.6, 0.8, 0.9, 1.2, 2.0, 4.0)),
    *((c, c) for c in (0.5, 0.8, 1.25, 2.0)),
)
_A, _B = np.array(_BETS).T
# More bets learn how many scores fall into each of some equal cells of the ranks. The prior, worth so many scores, is
# the chance of a cell without a change; a score counts less by the factor `memory` with each one after it.
_CELLS = 25
_PRIORS = (25.0, 100.0)
_MEMORIES = (0.99, 0.998)
_LEARNT = [(prior, memory) for prior in _PRIORS for memory in _MEMORIES]
# Share of the capital that each bet gets: half goes to the Beta densities, half to those that learn.
_STAKES = np.repeat([0.5 / len(_BETS), 0.5 / len(_LEARNT)], [len(_BETS), len(_LEARNT)])
# Half of the capital is bet within the first 64 scores; a part is kept for changes at any time after.
_PATIENCE = 64
_RICH, _POOR = 1e200, 1e-200  # beyond them capital says no more, and would overflow
_MANY = 2**53  # more are no whole numbers in float64
_LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Reference:
    """Calibration scores as bins: `edges`, ascending, with a random number each that orders equal scores.

    classes: the predicted classes of the edges, where samples are ordered by class first and by score within it; empty
    where by score alone.
    counts: of the bins, one more than there are edges; an edge belongs to the bin below it. They sum to one more than
    there are scores.
    """

    edges: tuple[float, ...]
    tie_breaks: tuple[float, ...]
    counts: tuple[int, ...]
    classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.edges) == len(self.tie_breaks) == len(self.counts) - 1 == len(self._classes):
            raise ValueError("edges and counts that are no bins")
        if not all(1 <= count < _MANY for count in self.counts):
            raise ValueError("counts that are none")
        order = [*zip(self._classes, self.edges, strict=True)]
        if not np.isfinite(self.edges).all() or order != sorted(order):
            raise ValueError("edges that do not ascend")

    @property
    def _classes(self) -> tuple[int, ...]:
        return self.classes or (0,) * len(self.edges)

    @property
    def samples(self) -> int:
        """Number of calibration scores."""
        return sum(self.counts) - 1

    def bins(self, scores: npt.ArrayLike, draws: npt.ArrayLike, classes: npt.ArrayLike | None = None) -> Counts:
        """Return the bin of each score, int64 (N,). draws: uniform in (0, 1), (N,), to order equal scores.

        classes: predicted, int (N,), if the edges have classes.

        >>> reference([1.0, 2.0, 2.0, 3.0]).bins([0.0, 2.5, 9.0], [0.5, 0.5, 0.5]).tolist()
        [0, 3, 4]
        >>> reference([1.0, 2.0, 2.0, 3.0], [7, 7, 8, 8]).bins([9.0, 0.0], [0.5, 0.5], [7, 8]).tolist()
        [2, 2]
        """
        z = _finite(scores)
        edges = self._classes, self.edges, self.tie_breaks
        below, equal = np.zeros((len(z), len(self.edges)), dtype=bool), np.ones((len(z), len(self.edges)), dtype=bool)
        for edge, key in zip(edges, _keys(z, draws, classes), strict=True):  # the first in which they differ decides
            below |= equal & (np.array(edge) < key[:, None])
            equal &= np.array(edge) == key[:, None]
        return below.sum(axis=1)


def reference(scores: npt.ArrayLike, classes: npt.ArrayLike | None = None, seed: int = 0) -> Reference:
    """Return the bins of calibration scores (N,), of which there must be one at least.

    classes: predicted, int (N,), for bins by class first and by score within it.

    >>> made = reference(np.arange(1000.0))
    >>> len(made.counts), sum(made.counts), made.edges[:3]
    (58, 1001, (0.0, 1.0, 4.0))
    """
    z = _finite(scores)
    draws = np.random.default_rng(seed).random(len(z))
    keys = _keys(z, draws, classes)
    ranks = np.unique(np.clip((_QUANTILES * (len(z) + 1)).round().astype(int), 1, len(z)))
    at = np.lexsort(keys[::-1])[ranks - 1]
    counts = np.diff(ranks, prepend=0, append=len(z) + 1)
    of_edges = () if classes is None else tuple(keys[0][at].tolist())
    return Reference(tuple(z[at].tolist()), tuple(draws[at].tolist()), tuple(counts.tolist()), of_edges)


def _keys(z: Floats, draws: npt.ArrayLike, classes: npt.ArrayLike | None) -> tuple[np.ndarray, Floats, Floats]:
    """Return what samples are ordered by, (N,) each, the first key first."""
    first = np.zeros(len(z), dtype=np.int64) if classes is None else np.asarray(classes, dtype=np.int64)
    return first, z, np.asarray(draws, dtype=np.float64)


class Martingale:
    """Capital of bets that the scores of some streams, side by side, are not drawn as the reference's were.

    capital: (streams,), 1 at first. Under exchangeability it reaches 1 / alpha in at most a share alpha of all streams.

    >>> made = reference(np.arange(1000.0))
    >>> martingale = Martingale(made)
    >>> for score in range(40):  # all among the 4 % that are least trusted
    ...     martingale.update(made.bins([score], [0.5]))
    >>> bool(martingale.capital[0] > 100)
    True
    """

    def __init__(self, reference: Reference, streams: int = 1) -> None:
        self._counts = np.tile(np.array(reference.counts, dtype=np.float64), (streams, 1))
        self._bets = np.zeros((streams, len(_STAKES)))
        # Of each bet, the sum of the logarithms of its gains, its least value, and after how many scores that was.
        self._sums, self._least, self._at_least = (np.zeros_like(self._bets) for _ in range(3))
        self._seen = 0
        middles = (np.cumsum(reference.counts) - np.array(reference.counts) / 2) / sum(reference.counts)
        self._cell = (middles * _CELLS).astype(int)  # of each bin
        self._last = np.searchsorted(self._cell, np.arange(_CELLS), side="right")  # bins up to the end of each cell
        self._in_cells = np.zeros((len(_LEARNT), streams, _CELLS))  # scores of the stream, as each bet remembers them

    @property
    def capital(self) -> Floats:
        """Capital, float64 (streams,): what the bets have made of their stakes, and what is not bet yet."""
        return self._bets.sum(axis=1) + _kept(self._seen)

    @property
    def since(self) -> Counts:
        """Number of the score, counted from 1, with which a change has most likely begun, int64 (streams,).

        It is the first after which the bet with most capital has only gained (CUSUM: Page 1954).
        """
        best = self._bets.argmax(axis=1)
        return 1 + self._at_least[np.arange(len(best)), best].astype(np.int64)

    def update(self, bins: Counts) -> None:
        """Bet on the next score of each stream. bins: int64 (streams,), those it fell into."""
        streams = np.arange(len(bins))
        stakes = (_kept(self._seen) - _kept(self._seen + 1)) * _STAKES
        below = np.cumsum(self._counts, axis=1)
        total, high, count = below[:, -1], below[streams, bins], self._counts[streams, bins]
        chances = [scipy.special.betainc(_A, _B, (edge / total)[:, None]) for edge in (high - count, high)]
        fixed = (chances[1] - chances[0]) * (total / count)[:, None]
        gains = np.hstack([fixed, self._learnt_gains(self._cell[bins], below)])
        self._bets = np.minimum((self._bets + stakes) * gains, _RICH)
        self._counts[streams, bins] += 1
        self._seen += 1
        self._sums += np.log(np.maximum(gains, _POOR))
        self._at_least[self._sums <= self._least] = self._seen
        np.minimum(self._sums, self._least, out=self._least)

    def _learnt_gains(self, cells: Counts, below: Floats) -> Floats:
        """Return the gains of the bets that learn, (streams, bets), and let them learn. cells: hit, (streams,)."""
        streams = np.arange(len(cells))
        ends = np.concatenate([np.zeros((len(cells), 1)), below], axis=1)[:, self._last]
        chance = np.diff(ends, axis=1, prepend=0)[streams, cells] / below[:, -1]
        gains = np.empty((len(cells), len(_LEARNT)))
        for number, ((prior, memory), seen) in enumerate(zip(_LEARNT, self._in_cells, strict=True)):
            believed = (prior * chance + seen[streams, cells]) / (prior + seen.sum(axis=1))
            gains[:, number] = believed / chance
            seen *= memory
            seen[streams, cells] += 1
        return gains


def _kept(seen: int) -> float:
    """Return the share of the first capital that is not bet yet: a slow tail, so that late changes are seen too."""
    return 1 / (1 + np.log2(1 + seen / _PATIENCE))


def _finite(scores: npt.ArrayLike) -> Floats:
    return np.clip(np.asarray(scores, dtype=np.float64), -_LARGEST, _LARGEST)
