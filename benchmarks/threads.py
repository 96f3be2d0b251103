"""Small trainings and forward passes in one of torch's threads, against all of them, in one run.

    python benchmarks/threads.py [--rounds 3] [--threads N]

Prints milliseconds for a training step of heads, and for an answer to four images by a network with random weights, of
least multiplications to most: in one thread, in all, and the ratio of the two. `->` marks the way that trustcache goes.
Torch's threads sleep while they wait for each other, as `import trustcache` sets them to: decoding processes need the
cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import timm
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from trustcache import TrustedClassifier
from trustcache.data import machine
from trustcache.losses import LossChoice
from trustcache.models.zoo.registry import built_in
from trustcache.oracles.head_training import HeadTask, train_heads
from trustcache.oracles.heads import LINEAR, HeadSpec
from trustcache.protocols import Optimiser

ROWS, BATCH, IMAGES = 8192, 512, 32
Case = tuple[str, float, int, Callable[[], object]]
"""What it is, multiplications a step, steps, and the work."""


def heads(count: int, width: int, spec: HeadSpec = LINEAR) -> Case:
    """An epoch of heads on random features."""
    x, correct = torch.randn(ROWS, width).half(), torch.rand(ROWS) < 0.8
    tasks = [HeadTask(LossChoice("ss", {"alpha_pos": 1.0, "alpha_neg": 1.0 + i % 16}), True, i) for i in range(count)]
    optimiser = Optimiser("adam", 2, BATCH, 1e-3)
    weights = count * width * max(spec.hidden, 1)
    name = f"{count} head{'s' * (count > 1)} on {width} features{f', {spec.hidden} units' if spec.hidden else ''}"
    steps = 2 * ROWS // BATCH
    return (
        name, 3 * BATCH * weights, steps,
        lambda: train_heads({"features": x}, correct, correct.float(), tasks, optimiser, 0.0, spec),
    )  # fmt: skip


def answers(name: str, size: int) -> Case:
    """Answers to images of a size."""
    network = built_in(name)
    model = network.build(num_classes=10) if network else timm.create_model(name)
    trusted = TrustedClassifier(model, "mcp", 0.0, preprocess={"input_size": (size, size)}, device="cpu")
    images = [np.random.default_rng(i).integers(0, 256, (size, size, 3), dtype=np.uint8) for i in range(IMAGES)]

    def work() -> None:
        list(trusted(images, batch_size=IMAGES, workers=0))

    work()  # counts the multiplications
    return f"{name}, {size} pixels", 4 * (trusted.pair.products or 0), IMAGES // 4, work


def cases() -> Iterator[Case]:
    for count, width in ((1, 64), (1, 768), (4, 768), (64, 768), (256, 2048)):
        yield heads(count, width)
    for width in (150, 768, 3000):
        yield heads(1, width, HeadSpec("mlp", hidden=256, dropout=0.5))
    for name, size in (("mobilenetv2_100", 32), ("cifar-resnet32", 32), ("mobilenetv2_100", 96), ("resnet18", 64)):
        yield answers(name, size)
    for name, size in (("cifar-vgg16", 32), ("mobilenetv2_100", 224), ("resnet18", 224)):
        yield answers(name, size)


def main() -> None:
    """Time each case in both ways, interleaved, and print the least of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="the least of so many times counts")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    limits = {"one": float("inf"), "all": 0.0}
    print(f"{'million products':>16}{'one thread':>14}{f'{asked.threads} threads':>14}   ratio")
    for name, products, steps, work in sorted(cases(), key=lambda case: case[1]):
        taken: dict[str, list[float]] = {way: [] for way in limits}
        for _ in range(asked.rounds):
            for way, limit in limits.items():
                with mock.patch.object(machine, "WORTH_THREADS", limit):
                    began = time.perf_counter()
                    work()
                    taken[way].append((time.perf_counter() - began) / steps * 1e3)
        one, several = (min(each) for each in taken.values())
        chosen = "->  " if products < machine.WORTH_THREADS else "  ->"
        shown = f"{chosen[:2]}{one:9.2f} ms{chosen[2:]}{several:9.2f} ms"
        print(f"{products / 1e6:16.1f}  {shown}{one / several:8.2f}   {name}", flush=True)


if __name__ == "__main__":
    main()
