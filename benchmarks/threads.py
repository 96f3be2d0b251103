"""Training steps of heads in one of torch's threads, against all of them, in one run.

    python benchmarks/threads.py [--rounds 3] [--threads N]

Prints milliseconds a step on random features in one thread, in all, and the ratio of the two; `->` marks the way that
trustcache goes. A step is what an epoch more takes, divided by its steps. Torch's threads sleep while they wait for
each other, as `import trustcache` sets them to: decoding processes need the cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from heads import swept

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from trustcache.data import threads
from trustcache.oracles.head_training import train_heads
from trustcache.oracles.heads import LINEAR, HeadSpec
from trustcache.protocols import Optimiser

ROWS, EPOCHS = 8192, 4
OPTIMISER = Optimiser("adam", 1, batch_size=512, lr=1e-3)
CASES = [(count, width, LINEAR) for count, width in ((1, 64), (1, 768), (4, 768), (64, 768), (256, 768), (256, 2048))]
CASES += [(1, width, HeadSpec("mlp", hidden=256, dropout=0.5)) for width in (150, 768, 3000)]


def seconds_a_step(count: int, width: int, spec: HeadSpec, most: float) -> float:
    """Seconds of a step with all threads, or in one where it multiplies fewer numbers than `most`."""
    x, correct = torch.randn(ROWS, width).half(), torch.rand(ROWS) < 0.8
    taken = []
    for epochs in (1, 1 + EPOCHS):
        optimiser, began = replace(OPTIMISER, epochs=epochs), time.perf_counter()
        with mock.patch.object(threads, "WORTH_THREADS", most):
            train_heads({"features": x}, correct, correct.float(), swept(count), optimiser, 0.0, spec)
        taken.append(time.perf_counter() - began)
    return (taken[1] - taken[0]) / (EPOCHS * ROWS / OPTIMISER.batch_size)


def main() -> None:
    """Time each case in both ways, interleaved, and print the least of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="the least of so many times counts")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    seconds_a_step(*CASES[0], most=0)  # torch loads what it needs
    print(f"{'million products':>16}{'one thread':>15}{f'{asked.threads} threads':>15}   ratio")
    for count, width, spec in CASES:
        rounds = [[seconds_a_step(count, width, spec, most) for most in (torch.inf, 0)] for _ in range(asked.rounds)]
        one, several = (min(column) * 1e3 for column in zip(*rounds, strict=True))
        products = 2 * OPTIMISER.batch_size * count * width * max(spec.hidden, 1)
        marks = ("-> ", "   ")[:: 1 if products < threads.WORTH_THREADS else -1]
        what = f"{count} x {spec.kind} on {width} features{f', {spec.hidden} units' if spec.hidden else ''}"
        print(f"{products / 1e6:16.1f}{marks[0]}{one:9.2f} ms{marks[1]}{several:9.2f} ms{one / several:8.2f}   {what}")


if __name__ == "__main__":
    main()
