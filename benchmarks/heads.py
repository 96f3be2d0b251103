"""Training many heads at once against a loop for one head, in one run.

    python benchmarks/heads.py [--rows 50000] [--features 768] [--device cuda] [--repeats 3] [--json FILE]
    python benchmarks/heads.py --sweep

Prints seconds an epoch, and their ratio to the limit: a loop over an index permutation that trains one linear head on
the same random features, float16 as caches hold them, with Adam. The DataLoader loop is what most code does: it costs
two to three times the limit, since reading rows of 768 numbers is a part of a step only; beside each way stands how
many times as long such a loop takes, one for each of its heads. Of a training of several epochs the median one counts;
what is done once (moments, validation, the capture of CUDA graphs) stands in a column of its own. On a CPU all have
torch's usual threads, of which trustcache takes one for a small step, and a second that makes the next minibatch.
`--device cuda` adds batches of 8192, and reads the features once for a second limit. `--sweep` prints instead what 16
values of alpha_neg with 3 seeds cost in one call against one value with one seed, on data of CIFAR-10's size, and exits
with 1 where that is three times as much or more.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from trustcache.data.progress import Advance, Progress, silent
from trustcache.losses import LOSSES, LossChoice
from trustcache.oracles.head_training import HeadTask, train_heads
from trustcache.oracles.heads import LINEAR, HeadSpec
from trustcache.protocols import Optimiser

HEADS = 64
PAPER = ("ce", "focal", "tcp", "ss")
EPOCHS, GPU_EPOCHS = 5, 21
BATCH = 512
REPEATS = 3
MOST = 3
"""Times one value's time that a sweep may take."""


def paper_losses() -> list[HeadTask]:
    """A head of each of the paper's losses."""
    return [HeadTask(LossChoice(name, dict(LOSSES[name].defaults)), True, seed=0) for name in PAPER]


def swept(heads: int) -> list[HeadTask]:
    """So many heads of a sweep of alpha_neg over seeds."""
    losses = [LossChoice("ss", {"alpha_pos": 1.0, "alpha_neg": 1.0 + i % 16}) for i in range(heads)]
    return [HeadTask(loss, True, seed=i // 16) for i, loss in enumerate(losses)]


def at_once(
    x: torch.Tensor,
    correct: torch.Tensor,
    tasks: list[HeadTask],
    epochs: int = 1,
    batch: int = BATCH,
    spec: HeadSpec = LINEAR,
    progress: Progress = silent,
) -> None:
    """All tasks' heads in one call, by trustcache."""
    optimiser = Optimiser("adam", epochs, batch, 1e-3)
    train_heads({"features": x}, correct, correct.float(), tasks, optimiser, 0.1, spec, progress)


def timed_at_once(
    x: torch.Tensor, correct: torch.Tensor, tasks: list[HeadTask], epochs: int, batch: int, spec: HeadSpec = LINEAR
) -> tuple[float, float]:
    """The same: seconds of the median epoch, and of what is done once beside all epochs."""
    began = time.perf_counter()
    ends = []

    @contextmanager
    def noted(label: str, total: int) -> Iterator[Advance]:
        ends.append(time.perf_counter())
        yield lambda done: ends.append(time.perf_counter())

    at_once(x, correct, tasks, epochs, batch, spec, noted)
    epoch = statistics.median(after - before for before, after in pairwise(ends))
    return epoch, time.perf_counter() - began - epochs * epoch


def index_loop(x: torch.Tensor, correct: torch.Tensor, batch: int = BATCH) -> None:
    """One epoch of one head, over a permutation of the rows."""
    head, target = nn.Linear(x.shape[1], 1, device=x.device), correct.float()
    adam = torch.optim.Adam(head.parameters(), lr=1e-3)
    for rows in torch.randperm(len(x), device=x.device).split(batch):
        adam.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(head(x[rows].float())[:, 0], target[rows]).backward()
        adam.step()


class Samples(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Rows one by one, as most data sets give them."""

    def __init__(self, x: torch.Tensor, correct: torch.Tensor) -> None:
        self.x, self.target = x, correct.float()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.x[row], self.target[row]


def loader_loop(x: torch.Tensor, correct: torch.Tensor, device: str, workers: int = 0) -> None:
    """One epoch of one head, by the usual loop: samples are drawn, read and collated one by one, then moved."""
    head = nn.Linear(x.shape[1], 1, device=device)
    adam = torch.optim.Adam(head.parameters(), lr=1e-3)
    loader = DataLoader(Samples(x, correct), BATCH, shuffle=True, num_workers=workers, pin_memory=device != "cpu")
    for batch in loader:
        rows, target = (piece.to(device, non_blocking=True) for piece in batch)
        adam.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(head(rows.float())[:, 0], target).backward()
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
            at_once(x, correct, swept(heads), epochs=20)
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
    """Time all ways, interleaved, and print the least of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--features", type=int, default=768)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="the least of so many times counts")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.sweep:
        sys.exit(sweep() >= MOST)
    on_gpu = asked.device != "cpu"
    x = torch.randn(asked.rows, asked.features, device=asked.device).half()
    correct = torch.rand(asked.rows, device=asked.device) < 0.8
    limits: dict[str, Callable[[], object]] = {"one head, index permutation": lambda: index_loop(x, correct)}
    if on_gpu:
        limits["one read of the features"] = lambda: x.sum()
    kept = x.cpu(), correct.cpu()
    limits["one head, DataLoader loop"] = lambda: loader_loop(*kept, asked.device)
    limits["the same, 2 workers"] = lambda: loader_loop(*kept, asked.device, 2)
    ways = {"one head": (swept(1), BATCH), "four losses": (paper_losses(), BATCH)}
    ways |= {f"{HEADS} heads": (swept(HEADS), BATCH)}
    if on_gpu:
        ways |= {"96 heads": (swept(96), BATCH), "96 heads, batch 8192": (swept(96), 8192)}
    # A GPU's libraries load when they are first used.
    index_loop(x[:5000], correct[:5000])
    at_once(x[:5000], correct[:5000], swept(1))
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in (*limits, *ways)}
    for _ in range(asked.repeats):
        for name, run in limits.items():
            began = time.perf_counter()
            run()
            if on_gpu:
                torch.cuda.synchronize()
            taken[name].append((time.perf_counter() - began, 0.0))
        for name, (tasks, batch) in ways.items():
            taken[name].append(timed_at_once(x, correct, tasks, GPU_EPOCHS if on_gpu else EPOCHS, batch))
    least = {name: [min(column) for column in zip(*each, strict=True)] for name, each in taken.items()}
    limit, _ = least["one head, index permutation"]
    loader, _ = least["one head, DataLoader loop"]
    print(f"{asked.rows:,} rows x {asked.features}, batch {BATCH}, {asked.device}: an epoch, ratio to the limit")
    rows: list[dict[str, Any]] = []
    for name, (epoch, once) in least.items():
        way, heads = (f"{name}, trustcache", len(ways[name][0])) if name in ways else (name, 1)
        rows.append({"way": way, "heads": heads, "epoch_s": epoch, "once_s": once})
    for row in rows:
        row["ratio"] = row["epoch_s"] / limit
        line = f"{row['way']:<34}{row['epoch_s']:9.3f} s{row['ratio']:9.2f} x   and once {row['once_s']:6.3f} s"
        row["loader_loops"] = loader * row["heads"] / row["epoch_s"]
        print(f"{line}   DataLoader loops: {row['loader_loops']:6.1f} x")
    if asked.json:
        asked.json.write_text(json.dumps({**vars(asked), "json": None, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
