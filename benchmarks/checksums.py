"""Checksums in `trustcache evaluate`: the share of its processor time that they take.

    python benchmarks/checksums.py [--rows 20000] [--features 512] [--classes 100]

Makes caches of random logits and features, trains a head for each loss, and removes the scores; `evaluate` then makes
all of them again, in one process and thread. Prints its processor time, that of computing and comparing checksums in
it (of the shards' chunks as HDF5 has them, too, measured by reading the columns with and without), and the share of
the whole without them, medians of the rounds; fails above `LIMIT`.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import torch
from typer.testing import CliRunner

from cli import app
from trustcache.cache import seal
from trustcache.cache.workspace import Workspace

LIMIT = 0.10
ROUNDS = 3


class Clock:
    """Adds up the processor time of the functions that it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            began = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.process_time() - began

        return wrapper


def run(*words: str | Path) -> None:
    """Run a command in this process."""
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.output


def make(root: Path, rows: int, features: int, classes: int) -> None:
    """Import a training and an evaluation cache, and train a head for each loss."""
    rng = np.random.default_rng(0)
    for role in ("train", "test"):
        labels = rng.integers(0, classes, rows)
        logits = rng.normal(0, 1, (rows, classes)).astype(np.float32)
        logits[np.arange(rows), labels] += 3
        arrays: dict[str, np.ndarray] = {
            "logits": logits,
            "labels": labels,
            "features": rng.normal(0, 1, (rows, features)).astype(np.float16),
        }
        for name, array in arrays.items():
            np.save(root / f"{name}.npy", array)
        files = [word for name in arrays for word in (f"--{name}", root / f"{name}.npy")]
        run("import", *files, "--as", "net", "--data", role, "--role", role, "--workspace", root / "workspace")
    run("train", "--frozen", "--loss", "all", "--epochs", "1", "--workspace", root / "workspace", "--device", "cpu")


def chunks(workspace: Workspace) -> float:
    """Return the processor time of HDF5's own checksums in reading every column once: with them less without."""
    shards = [path for index in workspace.caches() for path in sorted(index.folder.glob("*.h5"))]
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for fletcher32 in (True, False):
            for path in shards:
                with h5py.File(path) as old, h5py.File(Path(folder, path.parent.name + path.name), "w") as new:
                    for name, column in old.items():
                        new.create_dataset(name, data=column[()], chunks=column.chunks, fletcher32=fletcher32)
            began = time.process_time()
            for path in Path(folder).iterdir():
                with h5py.File(path) as file:
                    for column in file.values():
                        column[()]
            seconds.append(time.process_time() - began)
    return max(0.0, seconds[0] - seconds[1])


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--classes", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shares = []
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.rows, options.features, options.classes)
        workspace = Workspace(Path(folder, "workspace"))
        once = chunks(workspace)
        for _ in range(ROUNDS):
            for scores in [workspace.root / "scores", *workspace.runs.glob("*/scores")]:
                shutil.rmtree(scores)
            clock, began = Clock(), time.process_time()
            with (
                mock.patch.object(seal, "_fault", clock.timed(seal._fault)),
                mock.patch.object(hashlib, "sha256", clock.timed(hashlib.sha256)),
            ):
                run("evaluate", "--workspace", workspace.root, "--device", "cpu")
            whole, checks = time.process_time() - began, clock.seconds + once
            shares.append(checks / (whole - checks))
            print(f"evaluate {whole:.2f} s, of which checksums {checks:.2f} s: {shares[-1]:.1%} of the rest")
    if (share := statistics.median(shares)) > LIMIT:
        sys.exit(f"checksums add {share:.1%}, more than {LIMIT:.0%}")


if __name__ == "__main__":
    main()
