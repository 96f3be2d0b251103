"""Training many heads at once against one at a time and against the usual DataLoader loop, in one run.

    python benchmarks/heads.py [--rows 50000] [--features 768]

Prints seconds an epoch and a head, and the ratios. The three train the same linear heads on the same random features
with Adam; the loop is what most training code does: a TensorDataset, a DataLoader, one module.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trustcache.head_training import HeadTask, train_heads
from trustcache.losses import LossChoice
from trustcache.oracles import Optimiser

HEADS = 64
BATCH = 512
REPEATS = 3


def tasks(heads: int) -> list[HeadTask]:
    """A sweep of alpha_neg over seeds."""
    losses = [LossChoice("ss", {"alpha_pos": 1.0, "alpha_neg": 1.0 + i % 16}) for i in range(heads)]
    return [HeadTask(loss, True, seed=i // 16) for i, loss in enumerate(losses)]


def at_once(x: torch.Tensor, correct: torch.Tensor, heads: int) -> None:
    """One epoch of `heads` heads, by trustcache."""
    train_heads({"features": x}, correct, correct.float(), tasks(heads), Optimiser("adam", 1, BATCH, 1e-3), 0.1)


def loader_loop(x: torch.Tensor, correct: torch.Tensor) -> None:
    """One epoch of one head, by the usual loop."""
    head = nn.Linear(x.shape[1], 1)
    adam = torch.optim.Adam(head.parameters(), lr=1e-3)
    for rows, target in DataLoader(TensorDataset(x, correct.float()), BATCH, shuffle=True):
        adam.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(head(rows)[:, 0], target).backward()
        adam.step()


def main() -> None:
    """Time all three, interleaved, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--features", type=int, default=768)
    size = parser.parse_args()
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
