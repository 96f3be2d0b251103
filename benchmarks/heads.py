"""Training many heads at once against one at a time and against the usual DataLoader loop, in one run.

    python benchmarks/heads.py [--rows 50000] [--features 768]
    python benchmarks/heads.py --sweep

Prints seconds an epoch and a head, and the ratios. The three train the same linear heads on the same random features
with Adam; the loop is what most training code does: a TensorDataset, a DataLoader, one module. `--sweep` prints instead
what 16 values of alpha_neg with 3 seeds cost in one call against one value with one seed, on data of CIFAR-10's size,
and exits with 1 where that is three times as much or more.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trustcache.losses import LossChoice
from trustcache.oracles.head_training import HeadTask, train_heads
from trustcache.protocols import Optimiser

HEADS = 64
BATCH = 512
REPEATS = 3
MOST = 3
"""Times one value's time that a sweep may take."""


def tasks(heads: int) -> list[HeadTask]:
    """A sweep of alpha_neg over seeds."""
    losses = [LossChoice("ss", {"alpha_pos": 1.0, "alpha_neg": 1.0 + i % 16}) for i in range(heads)]
    return [HeadTask(loss, True, seed=i // 16) for i, loss in enumerate(losses)]


def at_once(x: torch.Tensor, correct: torch.Tensor, heads: int, epochs: int = 1) -> None:
    """`heads` heads, by trustcache."""
    train_heads({"features": x}, correct, correct.float(), tasks(heads), Optimiser("adam", epochs, BATCH, 1e-3), 0.1)


def loader_loop(x: torch.Tensor, correct: torch.Tensor) -> None:
    """One epoch of one head, by the usual loop."""
    head = nn.Linear(x.shape[1], 1)
    adam = torch.optim.Adam(head.parameters(), lr=1e-3)
    for rows, target in DataLoader(TensorDataset(x, correct.float()), BATCH, shuffle=True):
        adam.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(head(rows)[:, 0], target).backward()
        adam.step()


def sweep() -> float:
    """Time a sweep and a single head, interleaved; the least of each counts, which a busy machine disturbs least.

    Returns their ratio.
    """
    x, correct = torch.randn(45_000, 64).half(), torch.rand(45_000) < 0.88
    seconds: dict[int, list[tuple[float, float]]] = {48: [], 1: []}
    for _ in range(REPEATS):
        for heads, taken in seconds.items():
            began = time.perf_counter(), time.process_time()
            at_once(x, correct, heads, epochs=20)
            taken.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    (wall, cpu), (wall_one, cpu_one) = (
        [min(column) for column in zip(*taken, strict=True)] for taken in seconds.values()
    )
    print("45,000 rows x 64 features, 20 epochs: seconds, and seconds of processor time")
    print(f"16 values x 3 seeds, one call{wall:8.3f}{cpu:8.3f}")
    print(f"one value, one seed          {wall_one:8.3f}{cpu_one:8.3f}")
    print(f"ratio                        {wall / wall_one:8.2f}{cpu / cpu_one:8.2f}")
    return wall / wall_one


def main() -> None:
    """Time all three, interleaved, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--features", type=int, default=768)
    size = parser.parse_args()
    if size.sweep:
        sys.exit(sweep() >= MOST)
    x = torch.randn(size.rows, size.features)
    correct = torch.rand(size.rows) < 0.8
    ways: dict[str, tuple[int, Callable[[], None]]] = {
        f"{HEADS} heads at once": (HEADS, lambda: at_once(x, correct, HEADS)),
        "one head, same code": (1, lambda: at_once(x, correct, 1)),
        "one head, DataLoader loop": (1, lambda: loader_loop(x, correct)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, (_, run) in ways.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    print(f"{size.rows:,} rows x {size.features} features, one epoch, batch {BATCH}, {torch.get_num_threads()} threads")
    first = statistics.median(seconds[f"{HEADS} heads at once"]) / HEADS
    for name, (heads, _) in ways.items():
        whole = statistics.median(seconds[name])
        print(f"{name:<28}{whole:8.2f} s{1000 * whole / heads:10.1f} ms a head{whole / heads / first:8.1f} x")


if __name__ == "__main__":
    main()
