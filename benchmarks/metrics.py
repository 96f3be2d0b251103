"""How fast are all ten metrics from one sort? Run: python benchmarks/metrics.py (half a minute)

Side by side on the same 50,000 samples, interleaved, medians: `trust_metrics`; scikit-learn's four ranking
metrics, which sort once each; and loops over thresholds, as ConfidNet and the steep-slope paper's small-scale
code have them. The promise: at least 100 times faster than those loops.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from trustcache.metrics.ranking import trust_metrics

N = 50_000
GRID = 10_000
TOLERANCE = 0.0005
ROUNDS = 3
FAST_CALLS_A_ROUND = 15
PROMISED_RATIO = 100

Scores = npt.NDArray[np.float64]
Correct = npt.NDArray[np.bool_]


def one_sort(z: Scores, correct: Correct) -> tuple[float, float]:
    """FPR at 95 % TPR and AURC, with eight more metrics beside them."""
    metrics = trust_metrics(z, correct)
    return metrics["fpr_at_95_tpr"], metrics["aurc"]


def scikit_learn(z: Scores, correct: Correct) -> tuple[float, float]:
    """FPR at 95 % TPR, beside AUC and both average precisions; it has no AURC."""
    roc_auc_score(correct, z)
    average_precision_score(correct, z)
    average_precision_score(~correct, -z)
    fpr, tpr, _ = roc_curve(correct, z, drop_intermediate=False)
    return float(fpr[tpr >= 0.95].min()), float("nan")


def threshold_loops(z: Scores, correct: Correct) -> tuple[float, float]:
    """FPR at 95 % TPR and AURC, each from a pass over all samples for each threshold."""
    p = 1 / (1 + np.exp(-z))
    return _fpr_on_a_grid(p, correct), _aurc_score_by_score(p, correct)


def _fpr_on_a_grid(p: Scores, correct: Correct) -> float:
    """The first of 10,000 evenly spaced thresholds with a TPR close enough to 95 %; nan where none is."""
    n_correct, n_wrong = np.count_nonzero(correct), np.count_nonzero(~correct)
    for threshold in np.linspace(p.min(), p.max(), GRID):
        trusted = p >= threshold
        if abs(np.count_nonzero(trusted & correct) / n_correct - 0.95) <= TOLERANCE:
            return np.count_nonzero(trusted & ~correct) / n_wrong
    return float("nan")


def _aurc_score_by_score(p: Scores, correct: Correct) -> float:
    """Trapezoids between the points at each distinct score, without the pieces at either end of the curve."""
    coverage, risk = [], []
    for threshold in np.unique(p)[:-1]:
        kept = correct[p > threshold]
        coverage.append(kept.size / p.size)
        risk.append(np.count_nonzero(~kept) / kept.size)
    return float(-np.sum(np.diff(coverage) * (np.array(risk[1:]) + np.array(risk[:-1])) / 2))


CONTENDERS: dict[str, tuple[Callable[[Scores, Correct], tuple[float, float]], int]] = {
    "trust_metrics, ten metrics": (one_sort, FAST_CALLS_A_ROUND),
    "scikit-learn, four metrics": (scikit_learn, FAST_CALLS_A_ROUND),
    "threshold loops, two metrics": (threshold_loops, 1),
}


@dataclass(frozen=True)
class Measured:
    """Median seconds a call, and the two figures that the call gave."""

    seconds: float
    fpr_at_95_tpr: float
    aurc: float


def measure(z: Scores, correct: Correct) -> dict[str, Measured]:
    """Time every contender, each round running all of them in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    figures: dict[str, tuple[float, float]] = {}
    for _ in range(ROUNDS):
        for name, (contender, calls) in CONTENDERS.items():
            for _ in range(calls):
                start = time.perf_counter()
                figures[name] = contender(z, correct)
                seconds[name].append(time.perf_counter() - start)
    return {name: Measured(statistics.median(seconds[name]), *figures[name]) for name in CONTENDERS}


def main() -> int:
    """Print the table; 1 where the promise does not hold on this machine."""
    rng = np.random.default_rng(0)
    z = rng.normal(1.5, 1.5, size=N)
    correct = rng.random(N) < 1 / (1 + np.exp(-z))
    measured = measure(z, correct)
    ours, *_, loops = measured.values()

    print(f"n = {N:,}; medians over {ROUNDS} interleaved rounds\n")
    print(f"{'':30}{'ms':>10}{'ratio':>9}{'FPR@95':>10}{'AURC':>10}")
    for name, row in measured.items():
        times = f"{row.seconds * 1e3:>10.2f}{row.seconds / ours.seconds:>9.1f}"
        print(f"{name:30}{times}{row.fpr_at_95_tpr:>10.5f}{row.aurc:>10.5f}")
    kept = loops.seconds / ours.seconds >= PROMISED_RATIO
    print(f"\nPromise, at least {PROMISED_RATIO} times faster than the loops: {'kept' if kept else 'BROKEN'}.")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
