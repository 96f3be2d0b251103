"""Exact nearest neighbours by trustcache, faiss and scikit-learn. Run: python benchmarks/neighbours.py [--json FILE]

Random features of length 1 around a hundred centres: seconds of each way, the least of several interleaved runs, and
their ratio to the limit, which is the matrix products of all pairs alone. With a CUDA GPU also trustcache's search on
it, and with `pip install '.[faiss]'` faiss alone and trustcache with it. All must find the same distances but for
rounding, as trustcache takes them from differences and the others from products; trustcache's ways to the last bit.
"""

import argparse
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from trustcache.scores import neighbour_scores
from trustcache.scores.neighbour_scores import nearest_squares, unit

# Queries, references, features, neighbours.
SIZES = ((2_000, 50_000, 768, 5), (2_000, 50_000, 768, 100), (2_000, 50_000, 64, 50), (10_000, 10_000, 512, 50))
REPEATS = 4
NEVER = 2**63


def searched(x: np.ndarray, references: np.ndarray, k: int, gpu: int = NEVER, faiss: int = NEVER) -> np.ndarray:
    """By trustcache, where it is told to."""
    neighbour_scores.WORTH_GPU, neighbour_scores.WORTH_FAISS = gpu, faiss
    return nearest_squares(x, references, k)


def ways_of(x: np.ndarray, references: np.ndarray, k: int) -> dict[str, Callable[[], Any]]:
    """Return each way of finding squared distances to the k nearest references, the limit first."""

    def products() -> None:
        for some in np.array_split(x, max(len(x) // 1024, 1)):
            for first in range(0, len(references), 8192):
                some @ references[first : first + 8192].T

    def sklearn() -> np.ndarray:
        found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(references).kneighbors(x)[0]
        return np.asarray(found) ** 2

    ways: dict[str, Callable[[], Any]] = {"products": products, "trustcache": lambda: searched(x, references, k)}
    if torch.cuda.is_available():
        ways["trustcache, GPU"] = lambda: searched(x, references, k, gpu=0)
    if importlib.util.find_spec("faiss"):
        import faiss

        ways["trustcache, faiss"] = lambda: searched(x, references, k, faiss=0)
        ways["faiss.knn"] = lambda: faiss.knn(x, references, k)[0]
    return ways | {"scikit-learn": sklearn}


def measure(queries: int, count: int, width: int, k: int) -> list[dict[str, Any]]:
    """Return and print each way's seconds, and the ratio to the limit's."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(100, width))

    def drawn(rows: int) -> np.ndarray:
        return unit((centres[rng.integers(0, 100, rows)] + rng.normal(size=(rows, width))).astype(np.float16))

    ways = ways_of(drawn(queries), drawn(count), k)
    expected, seconds = ways["trustcache"](), dict[str, list[float]]()
    for _ in range(REPEATS):
        for name, run in ways.items():
            began = time.perf_counter()
            found = run()
            seconds.setdefault(name, []).append(time.perf_counter() - began)
            assert found is None or np.abs(found - expected).max() <= (0 if "trustcache" in name else 1e-5)
    least = {name: min(taken) for name, taken in seconds.items()}
    print(f"{queries:,} queries, {count:,} references x {width}, {k} neighbours")
    for name, taken in least.items():
        print(f"    {name:<20}{taken:7.2f} s, {taken / least['products']:5.2f} of the products")
    size = {"queries": queries, "references": count, "features": width, "neighbours": k}
    return [size | {"way": name, "seconds": each, "ratio": each / least["products"]} for name, each in least.items()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = [row for size in SIZES for row in measure(*size)]
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")
