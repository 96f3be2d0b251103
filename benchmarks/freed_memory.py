"""A classifier's forward pass with freed memory kept, as the commands have it, against the C library's own way.

    python benchmarks/freed_memory.py [--model mobilenetv2_100] [--batch-size 64] [--rounds 3]

Each round asks a model with random weights in two fresh processes, one after the other. Prints images a second,
processor seconds and the largest memory of each, medians over rounds, and the ratio of the speeds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import timm
import torch

from trustcache.models.memory import keep_freed_memory

BATCHES = 4
WAYS = ("kept", "given back")


def measured(model: str, batch_size: int, way: str) -> dict[str, float]:
    """Images a second, user and system seconds, and MiB at most, of one process."""
    if way == "kept":
        keep_freed_memory()
    network: Any = timm.create_model(model).eval().to(memory_format=torch.channels_last)
    size = network.pretrained_cfg["input_size"]
    images = torch.rand(batch_size, *size).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        network(images)
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        for _ in range(BATCHES):
            network(images)
        seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    return {
        "images a second": BATCHES * batch_size / seconds,
        "user s": after.ru_utime - before.ru_utime,
        "system s": after.ru_stime - before.ru_stime,
        "MiB": after.ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mobilenetv2_100")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measured(options.model, options.batch_size, options.way)))
        return
    rounds: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    same = [sys.executable, __file__, "--model", options.model, "--batch-size", str(options.batch_size)]
    for _ in range(options.rounds):
        for way in WAYS:
            rounds[way].append(json.loads(subprocess.check_output([*same, "--way", way])))
    speeds = {}
    for way, found in rounds.items():
        medians = {key: statistics.median(one[key] for one in found) for key in found[0]}
        speeds[way] = medians["images a second"]
        print(f"freed memory {way}: " + ", ".join(f"{value:.1f} {key}" for key, value in medians.items()))
    print(f"ratio {speeds['kept'] / speeds['given back']:.2f}")


if __name__ == "__main__":
    main()
