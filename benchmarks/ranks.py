"""How much faster two processes extract than one, with a thread each: `python benchmarks/ranks.py`.

Each shard is made by the process that is free. The time is that of the whole command, its start included.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import timm
import torch
from pictures import write_photographs

ROOT = Path(__file__).parent.parent


def seconds(processes: int, folder: str, classifier: str, shard_rows: int) -> float:
    """Return the wall time of an extraction by so many processes at once, into a workspace of their own."""
    words = [
        *("extract", "--classifier", classifier, "--weights", "weights.pth"),
        *("--data", "photos", "--workers", "0", "--shard-rows", str(shard_rows), "--workspace", f"by-{processes}"),
    ]
    common = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "trustcache", *words],
            cwd=folder,
            env={**common, "RANK": str(rank), "WORLD_SIZE": str(processes)},
            stdout=subprocess.DEVNULL,
        )
        for rank in range(processes)
    ]
    codes = [process.wait() for process in started]
    if any(codes):
        sys.exit("an extraction failed")
    return time.perf_counter() - began


def main() -> None:
    """Print the times and their ratio, and that of the bytes that both wrote."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3200)
    parser.add_argument("--classifier", default="resnet18")
    parser.add_argument("--shard-rows", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder) / "photos", options.images, 256, 16)
        torch.save(timm.create_model(options.classifier, num_classes=2).state_dict(), Path(folder) / "weights.pth")
        one, two = (seconds(n, folder, options.classifier, options.shard_rows) for n in (1, 2))
        shards = [sorted(Path(folder, f"by-{n}").rglob("*.h5")) for n in (1, 2)]
        same = [path.read_bytes() for path in shards[0]] == [path.read_bytes() for path in shards[1]]
        print(f"one process {one:.1f} s, two {two:.1f} s: {one / two:.2f} x; {len(shards[0])} shards, {same=}")


if __name__ == "__main__":
    main()
