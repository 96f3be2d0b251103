"""How fast are 1,000 resamples of all ten metrics? Run: python benchmarks/bootstrap.py [--device cuda] [--json FILE]

On 5,000 and 50,000 samples: `resampled_metrics` for several of 60 scores, draws included, on one core or, in wall
time, on a GPU, against the limit: reading all counts once a score, on the processor. A ratio is the time over that
limit's, both measured in this run. Sorting each resample for `trust_metrics` is timed on a few resamples, which also
shows that both give the same figures. The promise: 60 scores of 5,000 samples in at most 6 s, of 50,000 in a minute.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from trustcache.metrics.bootstrap import draw_counts, resampled_metrics
from trustcache.metrics.ranking import trust_metrics

SCORES = 60
TIMED = 4
"""How many of the 60 scores are timed; they take alike long."""
PLAIN = 5


def seconds(work: Callable[[], Any], clock: Callable[[], float], repeats: int = TIMED) -> float:
    """Return the least seconds of a few calls, after one that is not counted."""
    work()
    taken = []
    for _ in range(repeats):
        began = clock()
        work()
        taken.append(clock() - began)
    return min(taken)


def measure(n: int, device: str) -> dict[str, Any]:
    """Return and print the seconds of 60 scores each way."""
    generator = np.random.default_rng(0)
    correct = generator.random(n) < 0.8
    z = correct + generator.standard_normal(n)
    counts = draw_counts(n)
    on_gpu = device != "cpu"
    # The processor wants a sample's counts side by side, a GPU a resample's.
    given: Any = torch.from_numpy(np.ascontiguousarray(counts)).to(device) if on_gpu else counts
    found = resampled_metrics(z, correct, given)
    began = time.process_time()
    for r in range(PLAIN):
        rows = np.repeat(np.arange(n), counts[r])
        plain = trust_metrics(z[rows], correct[rows])
        assert all(abs(found[name][r] - value) < 1e-9 for name, value in plain.items())
    sorting = (time.process_time() - began) / PLAIN * len(counts) * SCORES
    drawing = seconds(lambda: draw_counts(n), time.process_time, 1)
    limit = SCORES * seconds(counts.max, time.process_time)
    clock = time.perf_counter if on_gpu else time.process_time
    taken = drawing + SCORES * seconds(lambda: resampled_metrics(z, correct, given), clock)
    print(
        f"{n:6,} samples, {SCORES} scores, {device}: {taken:6.2f} s (drawing {drawing:.2f}); reading the counts "
        f"{limit:5.2f} s, ratio {taken / limit:6.2f}; sorting {sorting:6.1f} s, {sorting / taken:.0f} x"
    )
    row = {"samples": n, "scores": SCORES, "device": device, "seconds": taken, "limit_s": limit, "ratio": taken / limit}
    return row | {"drawing_s": drawing, "sorting_s": sorting, "times_less_than_sorting": sorting / taken}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    rows = [measure(size, asked.device) for size in (5_000, 50_000)]
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")
