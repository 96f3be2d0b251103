"""Splits of a data set's rows: a validation split, and halves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from trustcache.registry import Setting

SEED = Setting(0, "seeds the first weights and the validation split", highest=2**32 - 1)
"""A run's seed."""


def seed_list(values: Iterable[Any]) -> tuple[int, ...]:
    """Return the values of --seed, each once. Raises UsageError for one that is no seed."""
    return tuple(int(seed) for seed in SEED.each("--seed", values))


VAL_FRACTION = 0.1
"""Default fraction of the training samples held out for validation."""


HALVES = ("first-half", "second-half")


def half_rows(rows: int, half: str, seed: int = 0) -> np.ndarray:
    """Return the numbers (N/2,), sorted, of the rows in one of `HALVES`; the default seed serves all caches."""
    order = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[: rows // 2] if half == HALVES[0] else order[rows // 2 :])


def other_half(half: str) -> str:
    """Return the other one of `HALVES`."""
    return HALVES[1 - HALVES.index(half)]


def validation_rows(rows: int, fraction: float, seed: int) -> np.ndarray:
    """Return the mask (N,), bool, of the training rows that a seed holds out for validation, a share `fraction`."""
    held_out = np.zeros(rows, dtype=bool)
    held_out[np.random.default_rng(seed).permutation(rows)[: round(rows * fraction)]] = True
    return held_out


def training_rows(held_out: np.ndarray, shown_again: np.ndarray) -> np.ndarray:
    """Return the mask (N + M,), bool, of the rows that a seed learns from: of N rows those not `held_out`, bool (N,).

    shown_again: for M rows that follow, int (M,), the number of the row whose sample each repeats, or -1; a row that
    repeats a held-out one is left out too.
    """
    return ~np.concatenate([held_out, held_out[shown_again] & (shown_again >= 0)])
