"""Splits of a data set's rows: what is set aside for validation, and halves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from trustcache.registry import Setting

SEED = Setting(0, "what first weights and the validation part are drawn by", highest=2**32 - 1)
"""A run's seed."""


def seed_list(values: Iterable[Any]) -> tuple[int, ...]:
    """Return the values of --seed, each once. Raises UsageError for one that is no seed."""
    return tuple(int(seed) for seed in SEED.each("--seed", values))


VAL_FRACTION = 0.1
"""The part of the training samples that is set aside for validation unless told otherwise."""


HALVES = ("first-half", "second-half")


def half_rows(rows: int, half: str, seed: int = 0) -> np.ndarray:
    """The numbers (N/2,), sorted, of the rows in one of `HALVES`; those of a cache are drawn once for all."""
    order = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[: rows // 2] if half == HALVES[0] else order[rows // 2 :])


def other_half(half: str) -> str:
    """The other one of `HALVES`."""
    return HALVES[1 - HALVES.index(half)]


def validation_rows(rows: int, fraction: float, seed: int) -> np.ndarray:
    """Which training rows a seed sets aside for validation: bool (N,), `fraction` of them true."""
    held_out = np.zeros(rows, dtype=bool)
    held_out[np.random.default_rng(seed).permutation(rows)[: round(rows * fraction)]] = True
    return held_out


def training_rows(held_out: np.ndarray, shown_again: np.ndarray) -> np.ndarray:
    """Which rows a seed learns from, bool (N + M,): of N all that it has not `held_out`, bool (N,).

    shown_again: of M rows that come after them, int (M,), the number of the row whose sample each shows again, or -1;
    these are left out where that row is.
    """
    return ~np.concatenate([held_out, held_out[shown_again] & (shown_again >= 0)])
