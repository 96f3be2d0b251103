"""Training steps of heads in one of torch's threads, with another for the next minibatch, and in all, in one run.

    python benchmarks/threads.py [--rounds 3] [--threads N]

Prints milliseconds a step on random features in each way, and what chooses between them: how many numbers a step
multiplies, and of how many its minibatch is made. `->` marks trustcache's way. A step is a training's median epoch,
divided by its steps. Torch's threads sleep while they wait for each other, as `import trustcache` sets them to:
decoding processes need the cores.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from heads import BATCH, swept, timed_at_once

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from trustcache.data import threads
from trustcache.oracles import head_training
from trustcache.oracles.heads import LINEAR, HeadSpec

ROWS, EPOCHS = 32_768, 3  # of 768 features more than processors' caches hold
LINEAR_CASES = ((1, 64), (1, 384), (1, 512), (1, 768), (1, 2048), (4, 768), (64, 768), (256, 768), (256, 2048))
CASES = [(count, width, LINEAR) for count, width in LINEAR_CASES]
CASES += [(1, width, HeadSpec("mlp", hidden=256, dropout=0.5)) for width in (150, 512, 768, 3000)]
# For each way, the least multiplications of a step in all threads, and the least numbers of a minibatch made beside.
WAYS = {"one": (torch.inf, torch.inf), "one, one beside": (torch.inf, 0), "all": (0, 0)}


def seconds_a_step(count: int, width: int, spec: HeadSpec, least: tuple[float, float]) -> float:
    """Seconds of a step in one of `WAYS`."""
    x, correct = torch.randn(ROWS, width).half(), torch.rand(ROWS) < 0.8
    worth_threads = mock.patch.object(threads, "WORTH_THREADS", least[0])
    worth_beside = mock.patch.object(head_training, "WORTH_BESIDE", least[1])
    with worth_threads, worth_beside:
        epoch, _ = timed_at_once(x, correct, swept(count), EPOCHS, BATCH, spec)
    return epoch / (ROWS / BATCH)


def main() -> None:
    """Time each case in all ways, interleaved, and print the least of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="the least of so many times counts")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    seconds_a_step(*CASES[0], WAYS["all"])  # torch loads what it needs
    print(f"ms a step{'multiplied':>16}{'made':>9}{''.join(f'{way:>20}' for way in WAYS)}   ({asked.threads} threads)")
    for count, width, spec in CASES:
        rounds = [[seconds_a_step(count, width, spec, least) for least in WAYS.values()] for _ in range(asked.rounds)]
        products = 2 * BATCH * count * width * max(spec.hidden, 1)
        made = BATCH * (width + (spec.hidden if spec.dropout else 0))
        beside = asked.threads > 1 and made >= threads.WORTH_BESIDE
        taken = "all" if products >= threads.WORTH_THREADS else list(WAYS)[beside]
        each = zip(WAYS, [min(column) * 1e3 for column in zip(*rounds, strict=True)], strict=True)
        times = "".join(f"{'->' if way == taken else '':>12}{ms:8.2f}" for way, ms in each)
        what = f"{count} x {spec.kind} on {width} features{f', {spec.hidden} units' if spec.hidden else ''}"
        print(f"{products / 1e6:23.1f} M{made / 1e6:7.2f} M{times}   {what}")


if __name__ == "__main__":
    main()
