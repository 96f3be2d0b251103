"""Sequential test that new scores are drawn as the calibration's were: a conformal test martingale.

Vovk, Gammerman & Shafer (Algorithmic Learning in a Random World, 2nd ed. 2022, chapter 8) bet against the ranks of new
scores among those seen before. Here the ranks are those among bins of the calibration scores. If all scores are
exchangeable, the widths of the bins follow a Dirichlet distribution with the bins' counts, so the next score falls into
a bin with a known chance, its share of all counts so far (Pólya's urn): neither the distribution of the scores nor the
noise of a finite calibration set matters. The capital of fair bets on that, starting at 1, reaches 1 / alpha in at most
a share alpha of all streams, however long (Ville's inequality).
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
# Half of the capital is bet within the first 64 scores; a part is kept for changes at any time after.
_PATIENCE = 64
_RICH, _POOR = 1e200, 1e-200  # beyond them capital says no more, and would overflow
_MANY = 2**53  # more are no whole numbers in float64
_LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Reference:
    """Calibration scores as bins: `edges`, ascending, with a random number each that orders equal scores.

    counts: of the bins, one more than there are edges; an edge belongs to the bin below it. They sum to one more than
    there are scores.
    """

    edges: tuple[float, ...]
    tie_breaks: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.edges) == len(self.tie_breaks) == len(self.counts) - 1:
            raise ValueError("edges and counts that are no bins")
        if not all(1 <= count < _MANY for count in self.counts):
            raise ValueError("counts that are none")
        if not np.isfinite(self.edges).all() or [*self.edges] != sorted(self.edges):
            raise ValueError("edges that do not ascend")

    @property
    def samples(self) -> int:
        """Number of calibration scores."""
        return sum(self.counts) - 1

    def bins(self, scores: npt.ArrayLike, draws: npt.ArrayLike) -> Counts:
        """Return the bin of each score, int64 (N,). draws: uniform in (0, 1), (N,), to order equal scores.

        >>> reference([1.0, 2.0, 2.0, 3.0]).bins([0.0, 2.5, 9.0], [0.5, 0.5, 0.5]).tolist()
        [0, 3, 4]
        """
        z, u = _finite(scores), np.asarray(draws, dtype=np.float64)
        edges, breaks = np.array(self.edges), np.array(self.tie_breaks)
        found = np.searchsorted(edges, z)
        ends = np.searchsorted(edges, z, side="right")
        for row in np.flatnonzero(ends > found):  # the edges that share the score are in the order of their draws
            found[row] += np.searchsorted(breaks[found[row] : ends[row]], u[row])
        return found


def reference(scores: npt.ArrayLike, seed: int = 0) -> Reference:
    """Return the bins of calibration scores (N,), of which there must be one at least.

    >>> made = reference(np.arange(1000.0))
    >>> len(made.counts), sum(made.counts), made.edges[:3]
    (58, 1001, (0.0, 1.0, 4.0))
    """
    z = _finite(scores)
    draws = np.random.default_rng(seed).random(len(z))
    order = np.lexsort((draws, z))
    ranks = np.unique(np.clip((_QUANTILES * (len(z) + 1)).round().astype(int), 1, len(z)))
    at = order[ranks - 1]
    counts = np.diff(ranks, prepend=0, append=len(z) + 1)
    return Reference(tuple(z[at].tolist()), tuple(draws[at].tolist()), tuple(counts.tolist()))


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
        self._bets = np.zeros((streams, len(_BETS)))
        # Of each bet, the sum of the logarithms of its gains, its least value, and after how many scores that was.
        self._sums, self._least, self._at_least = (np.zeros((streams, len(_BETS))) for _ in range(3))
        self._seen = 0

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
        stake = (_kept(self._seen) - _kept(self._seen + 1)) / len(_BETS)
        below = np.cumsum(self._counts, axis=1)
        total, high, count = below[:, -1], below[streams, bins], self._counts[streams, bins]
        chances = [scipy.special.betainc(_A, _B, (edge / total)[:, None]) for edge in (high - count, high)]
        gains = (chances[1] - chances[0]) * (total / count)[:, None]
        self._bets = np.minimum((self._bets + stake) * gains, _RICH)
        self._counts[streams, bins] += 1
        self._seen += 1
        self._sums += np.log(np.maximum(gains, _POOR))
        self._at_least[self._sums <= self._least] = self._seen
        np.minimum(self._sums, self._least, out=self._least)


def _kept(seen: int) -> float:
    """Return the share of the first capital that is not bet yet: a slow tail, so that late changes are seen too."""
    return 1 / (1 + np.log2(1 + seen / _PATIENCE))


def _finite(scores: npt.ArrayLike) -> Floats:
    return np.clip(np.asarray(scores, dtype=np.float64), -_LARGEST, _LARGEST)
