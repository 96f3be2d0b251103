"""How long commands take to start, beside importing what they are built on: `python benchmarks/startup.py`.

Commands that need no network are compared with importing numpy, scipy, typer and rich; the others with importing torch
and timm. Each runs in an empty workspace, so what is timed is the start, in turn with its yardstick.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIGHT = "import numpy, scipy, typer, rich"
# Yardsticks, how many times as long a command may take, and the commands. The second group prints typer's help or reads
# every run; the third computes bounds of binomial distributions.
GROUPS = (
    (LIGHT, 2.0, (
        ["--help"], ["data", "list"], ["cache", "list"], ["presets"], ["report"], ["bound", "--samples", "45000"],
        ["calibrate", "mcp", "--max-risk", "0.1", "--data", "digits-test"], ["train", "--loss", "ss", "--print-config"],
    )),
    (LIGHT, 3.0, (["train", "--help"], ["extract", "--help"], ["runs", "list"])),
    ("import numpy, scipy.special, typer, rich", 2.0, (["calibrate", "--plan", "--max-risk", "0.1"],)),
    ("import torch, timm", 1.3, (
        ["extract", "--classifier", "cifar-resnet8", "--data", "digits-test"], ["train", "--loss", "ss"], ["evaluate"],
        ["predict", "none", "none.jpg"], ["export", "none"],
    )),
)  # fmt: skip
ROOT = Path(__file__).parent.parent


def seconds(words: list[str], folder: str) -> float:
    """Wall time of a command, whether it succeeds or finds nothing to do."""
    # An installed package has its bytecode beside it, as the yardstick's packages have.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(ROOT)
    started = time.perf_counter()
    subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=False)
    return time.perf_counter() - started


def main() -> None:
    """Print the ratio of each command's median to that of its yardstick, and fail where one is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    slow = []
    with tempfile.TemporaryDirectory() as folder:
        for yardstick, limit, commands in GROUPS:
            print(f"beside `{yardstick}`, at most {limit} times")
            for command in commands:
                words = [sys.executable, "-c", "from cli import app; app()", *command]
                pairs = [
                    (seconds(words, folder), seconds([sys.executable, "-c", yardstick], folder))
                    for _ in range(runs + 1)
                ][1:]  # the first reads files from disk
                own, other = (statistics.median(times) for times in zip(*pairs, strict=True))
                print(f"  trustcache {' '.join(command):60}  {own:5.2f} s  {own / other:5.2f} x")
                if own > limit * other:
                    slow.append(" ".join(command))
    if slow:
        sys.exit(f"slower than allowed: {', '.join(slow)}")


if __name__ == "__main__":
    main()
