"""Reading images: the loader of an extraction against bare loops that decode, resize and crop, in one run.

    python benchmarks/reading.py FOLDER_OR_TAR [--workers 2] [--images 1000] [--data-root DIR]

The bare loops run in as many processes, on the same files with the same transform, and hand nothing over: what these
cores can decode. Prints images a second and the loader's share of that, medians of interleaved rounds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from trustcache.data.dataset import Dataset, open_dataset
from trustcache.data.known_data import find_manifests
from trustcache.data.loader import Viewer, viewed_batches
from trustcache.models.preprocessing import Preprocessing

PREPROCESSING = Preprocessing((224, 224), 0.875, "center", "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BATCH = 64
ROUNDS = 5


def bare_loop(dataset: Dataset, indices: np.ndarray, transform: Any, start: Any) -> None:
    """What one process decodes, once all of them are ready."""
    torch.set_num_threads(1)
    start.wait()
    for index in indices:
        transform(dataset.read(int(index)))


def bare(dataset: Dataset, indices: np.ndarray, workers: int) -> float:
    """Images a second of `workers` bare loops, without the time they take to start."""
    context = multiprocessing.get_context("fork")
    start, transform = context.Barrier(workers + 1), PREPROCESSING.transform()
    loops = [
        context.Process(target=bare_loop, args=(dataset, indices[i::workers], transform, start)) for i in range(workers)
    ]
    for loop in loops:
        loop.start()
    start.wait()
    began = time.perf_counter()
    for loop in loops:
        loop.join()
    return len(indices) / (time.perf_counter() - began)


def loader(dataset: Dataset, indices: np.ndarray, workers: int) -> float:
    """Images a second as an extraction gets them, with the time its processes take to start."""
    viewer = Viewer(PREPROCESSING, torch.device("cpu"), workers)
    batches = [indices[i : i + BATCH] for i in range(0, len(indices), BATCH)]
    began = time.perf_counter()
    seen = sum(len(batch.indices) for batch in viewed_batches(dataset, viewer, batches))
    assert seen == len(indices)
    return len(indices) / (time.perf_counter() - began)


def main() -> None:
    """Run both, in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    options = parser.parse_args()
    dataset = open_dataset(find_manifests(options.data)[0], options.data_root)
    indices = np.arange(options.images) % len(dataset)
    rates = [
        (bare(dataset, indices, options.workers), loader(dataset, indices, options.workers)) for _ in range(ROUNDS)
    ]
    alone, loaded = (statistics.median(column) for column in zip(*rates, strict=True))
    share = statistics.median(ours / theirs for theirs, ours in rates)
    print(f"{options.images} images of {dataset.manifest.name}, {options.workers} processes, {ROUNDS} rounds")
    print(f"bare loops  {alone:7.0f} images/s")
    print(f"loader      {loaded:7.0f} images/s")
    print(f"share       {share:7.2f}")


if __name__ == "__main__":
    main()
