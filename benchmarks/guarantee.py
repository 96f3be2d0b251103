"""Simulate the guarantees of `calibrate --max-risk`: how often they fail, and how much they trust.

    python benchmarks/guarantee.py [--draws 10000]

Each cell draws N calibration samples from a known population, `--draws` times. It prints how often the true error
rate above the threshold exceeds R, which may be in a share delta of the draws at most, and the mean coverage, of
fixed-sequence testing (`guaranteed`) and of SGR (`selected`). It ends with 1 if a failure rate is above delta beyond
chance (one-sided binomial test, at 0.001 over all cells together).
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, binomtest

from trustcache.metrics.selective import least_trusted, starts

SAMPLES = (300, 1000, 5000)
GOALS = ((0.01, 0.01), (0.02, 0.001), (0.05, 0.01), (0.1, 0.1))
CHUNK = 500
LEVEL = 0.001


@dataclass(frozen=True)
class Population:
    """The chance of an error at quantile q of the scores (0 most trusted), and the error rate above q, times R."""

    name: str
    error: Callable[[np.ndarray], np.ndarray]
    risk: Callable[[np.ndarray], np.ndarray]


def _rising(name: str, total: float, power: float) -> Population:
    return Population(name, lambda q: total * (power + 1) * q**power, lambda q: total * q**power)


POPULATIONS = (
    _rising("all risk 0.3 R", 0.3, 0.0),
    _rising("all risk 1.01 R", 1.01, 0.0),  # every threshold is a failure
    _rising("rising to 0.7 R", 0.7, 1.0),
    _rising("rising to 1.5 R", 1.5, 1.0),
    _rising("rising to 3 R", 3.0, 3.0),
    Population(  # the most trusted tenth is no better than the rest: risk falls, then rises above R
        "falling, then rising to 1.5 R",
        lambda q: np.where(q < 0.1, 1.2, np.where(q < 0.5, 0.5, 2.26)),
        lambda q: np.where(
            q < 0.1, 1.2, np.where(q < 0.5, 0.12 + 0.5 * (q - 0.1), 0.32 + 2.26 * (q - 0.5)) / np.maximum(q, 0.1)
        ),
    ),
)


def draw(population: Population, samples: int, risk: float, draws: int, rng: np.random.Generator) -> tuple:
    """Return the quantiles of the scores, most trusted first, and the errors down to each, both (draws, samples)."""
    spacings = rng.exponential(size=(draws, samples + 1)).cumsum(axis=1)
    quantiles = spacings[:, :-1] / spacings[:, -1:]
    wrong = rng.random(quantiles.shape) < np.minimum(risk * population.error(quantiles), 1)
    return quantiles, wrong.cumsum(axis=1)


def allowed(samples: int, risk: float, level: float) -> np.ndarray:
    """Return the most errors among 1 to `samples` trusted that pass a test at a level, -1 where none do."""
    trusted = np.arange(1, samples + 1)
    most = binom.ppf(level, trusted, risk).astype(int)
    return np.where(binom.cdf(most, trusted, risk) <= level, most, most - 1)


def fixed_sequence(wrong: np.ndarray, risk: float, delta: float) -> np.ndarray:
    """Return how many samples `guaranteed` trusts in each draw, (draws,)."""
    draws, samples = wrong.shape
    begins = starts(samples, risk, delta)
    best, carried = np.zeros(draws, int), np.zeros(draws, int)
    passes = [allowed(samples, risk, delta * (i + 1) / len(begins)) for i in range(len(begins))]
    for first, last in itertools.pairwise([*begins.tolist(), samples + 1]):
        limits = np.stack([most[first - 1 : last - 1] for most in passes])[carried]
        failed = wrong[:, first - 1 : last - 1] > limits
        ended = failed.any(axis=1)
        passed = np.where(ended, failed.argmax(axis=1), last - first)
        best = np.where(passed > 0, first - 1 + passed, best)
        carried = np.where(ended, 0, carried + 1)
    return best


def binary_search(wrong: np.ndarray, risk: float, delta: float) -> np.ndarray:
    """Return how many samples `selected` trusts in each draw, (draws,)."""
    draws, samples = wrong.shape
    steps = (samples - 1).bit_length()
    most, rows = allowed(samples, risk, delta / steps), np.arange(draws)
    least = int(np.ceil(np.log(delta / steps) / np.log1p(-risk)))
    met, missed, best = np.full(draws, least - 1), np.full(draws, samples + 1), np.zeros(draws, int)
    while (active := missed - met > 1).any():
        middle = np.clip((met + missed) // 2, 1, samples)
        passed = active & (wrong[rows, middle - 1] <= most[middle - 1])
        best, met = np.where(passed, middle, best), np.where(passed, middle, met)
        missed = np.where(active & ~passed, middle, missed)
    return best


PROCEDURES = {"fixed-sequence": fixed_sequence, "SGR": binary_search}


def cell(population: Population, samples: int, risk: float, delta: float, draws: int) -> dict[str, tuple[int, float]]:
    """Return the number of draws whose promise fails and the mean coverage, by procedure."""
    rng, failures, coverage = np.random.default_rng(0), dict.fromkeys(PROCEDURES, 0), dict.fromkeys(PROCEDURES, 0.0)
    for start in range(0, draws, CHUNK):
        some = min(CHUNK, draws - start)
        quantiles, wrong = draw(population, samples, risk, some, rng)
        ends = np.concatenate([quantiles, np.ones((some, 1))], axis=1)  # the threshold is the score of the next sample
        for name, procedure in PROCEDURES.items():
            trusted = procedure(wrong, risk, delta)
            true_risk = population.risk(ends[np.arange(some), trusted])
            failures[name] += int(((trusted > 0) & (true_risk > 1)).sum())
            coverage[name] += float(trusted.sum()) / (samples * draws)
    return {name: (failures[name], coverage[name]) for name in PROCEDURES}


def main() -> int:
    """Print the table. Return 1 if a failure rate exceeds its delta by more than chance explains."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=10_000)
    draws = parser.parse_args().draws
    cells = [
        (samples, *goal, population)
        for samples, goal, population in itertools.product(SAMPLES, GOALS, POPULATIONS)
        if least_trusted(samples, *goal) <= samples
    ]
    invalid = 0
    print("| N | R | delta | population | " + " | ".join(f"fails, {n} | coverage, {n}" for n in PROCEDURES) + " |")
    print("|--:|--:|--:|---|" + "--:|" * 2 * len(PROCEDURES))
    for samples, risk, delta, population in cells:
        found = cell(population, samples, risk, delta, draws)
        for failed, _ in found.values():
            chance = binomtest(failed, draws, delta, alternative="greater").pvalue
            invalid += chance < LEVEL / (len(cells) * len(PROCEDURES))
        numbers = " | ".join(f"{failed / draws:.4f} | {share:.3f}" for failed, share in found.values())
        print(f"| {samples:,} | {risk:g} | {delta:g} | {population.name} | {numbers} |", flush=True)
    print(f"\n{draws:,} draws a cell; {invalid} failure rates are above delta beyond chance")
    return int(invalid > 0)


if __name__ == "__main__":
    sys.exit(main())
