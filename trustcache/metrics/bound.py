"""Generalisation bound of a bounded loss, for the steep slope loss the paper's Theorem 3.1."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from trustcache.errors import UsageError
from trustcache.losses import steep_slope_max
from trustcache.registry import REQUIRED, option, option_name

_STEEPEST = 700.0  # e^700 is about the largest number that float64 holds


def generalisation_bound(loss_max: float, log_hypotheses: float, samples: int, delta: float) -> float:
    """Return the largest |R - R^| to expect: loss_max * sqrt((log|F| + log(2/delta)) / (2 |D|)) (Theorem 3.1).

    With probability at least 1 - delta over the draw of |D| = `samples` training samples, it holds for every one of
    |F| = exp(`log_hypotheses`) oracles at once (Hoeffding's inequality and a union bound), R being the expected and R^
    the mean loss, which lies between 0 and `loss_max` (`trustcache.losses.steep_slope_max`). A bound of `loss_max` or
    more says nothing: it is vacuous.
    Raises ValueError where samples < 1, delta is not inside (0, 1), or one of the others is negative or not finite.

    >>> round(generalisation_bound(1.0, log_settings(2), samples=10_000, delta=0.05), 4)
    0.049
    """
    if samples < 1 or not 0 < delta < 1:
        raise ValueError(f"a bound needs samples of 1 or more and delta between 0 and 1, not {samples} and {delta}")
    if not (0 <= loss_max < math.inf and 0 <= log_hypotheses < math.inf):
        raise ValueError(f"a bound needs loss_max and log_hypotheses of 0 or more, not {loss_max}, {log_hypotheses}")
    return loss_max * math.sqrt((log_hypotheses + math.log(2 / delta)) / (2 * samples))


def log_settings(numbers: int) -> float:
    """Return log |F| of all oracles that differ in `numbers` float32 numbers: 32 log 2 for each.

    >>> round(log_settings(1), 2)
    22.18
    """
    return 32 * math.log(2) * numbers


@dataclass(frozen=True)
class BoundOptions:
    """The numbers of a bound, several of some, and one of the three ways to tell |F|."""

    samples: tuple[int, ...] = option(REQUIRED, "|D|: how many samples the oracle learns from, or a list.")
    alpha_pos: tuple[float, ...] = option((1.0,), "The loss's steepness for right answers, or a list.")
    alpha_neg: tuple[float, ...] = option((3.0,), "The loss's steepness for wrong answers, or a list.")
    hypotheses: float | None = option(None, "|F|: among how many oracles the learnt one was chosen.", min=1)
    log_hypotheses: float | None = option(None, "log |F|, where that number is too large to write.", min=0)
    numbers: int | None = option(None, "Of how many float32 numbers the oracle consists: |F| = 2^(32 numbers).", min=1)
    delta: float = option(0.05, "The chance that the bound does not hold.")

    def bounds(self) -> Iterator[tuple[float, float, float, int, float, float]]:
        """Yield alpha_pos, alpha_neg, log |F|, |D|, the largest loss and the bound, for every combination.

        Raises UsageError for a number out of its range, and unless |F| is given in exactly one way.
        """
        if [self.hypotheses, self.log_hypotheses, self.numbers].count(None) != 2:
            raise UsageError("bound: takes exactly one of --hypotheses, --log-hypotheses and --numbers")
        if not 0 < self.delta < 1:
            raise UsageError(f"--delta {self.delta}: must lie between 0 and 1")
        size = math.log(self.hypotheses) if self.hypotheses else self.log_hypotheses
        size = log_settings(self.numbers or 0) if size is None else size
        if math.isinf(size):
            raise UsageError("--hypotheses: is too large a number; give its logarithm with --log-hypotheses")
        for name, limit in (("samples", math.inf), ("alpha_pos", _STEEPEST), ("alpha_neg", _STEEPEST)):
            if wrong := [value for value in getattr(self, name) if not 0 < value <= limit]:
                within = f", at most {limit:g}" if limit < math.inf else ""
                raise UsageError(f"{option_name(name)} {wrong[0]:g}: must be above 0{within}")
        for pos, neg, count in itertools.product(self.alpha_pos, self.alpha_neg, self.samples):
            most = steep_slope_max(pos, neg)
            yield pos, neg, size, count, most, generalisation_bound(most, size, count, self.delta)
