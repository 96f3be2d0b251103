"""How often is the alarm false, and how soon does it see changed images?

    python benchmarks/alarm.py WORKSPACE RUN --data cifar10-test --on cifar10-c-made --on cifar10-fourier

Takes the scores of a run, or of a post-hoc score, from the caches of a workspace (four minutes of one core). First the
share of streams of 10,000 usual images with a false alarm, which the rate bounds; it ends with 1 if one is above it
beyond chance. Then for each changed data set the number of changed images until the alarm, after 1,000 usual ones. Each
stream has a calibration of its own: half of the data, drawn anew. Streams are drawn from the rest, with replacement.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from trustcache.cache.workspace import Workspace
from trustcache.data.splits import half_rows
from trustcache.deploy.labelled import Labelled, LabelledData
from trustcache.deploy.scorers import find_scorer
from trustcache.evaluate.scoring import Scoring
from trustcache.metrics.exchangeability import Martingale, reference
from trustcache.metrics.selective import WorkingPoint, guaranteed, working_point
from trustcache.oracles.optim import Machine

USUAL, CHANGED, BEFORE = 10_000, 2_000, 1_000
MAX_RISK, DELTA = 0.05, 0.001
BEYOND_CHANCE = 0.001
# Calibration scores, and the scores of a stream.
Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]


def alarms(draw: Draw, streams: int, rate: float, seed: int = 0) -> np.ndarray:
    """Return after how many images each stream has the alarm, int (streams,), -1 for never."""
    rng, bins = np.random.default_rng(seed), []
    for number in range(streams):
        calibration, stream = draw(rng)
        made = reference(calibration, number)
        bins.append(made.bins(stream, rng.random(len(stream))))
    martingale, at = Martingale(made, streams), np.full(streams, -1)  # the counts are those of any reference
    for image, column in enumerate(np.stack(bins, axis=1), 1):
        martingale.update(column)
        at[(at < 0) & (martingale.capital >= 1 / rate)] = image
        if (at > 0).all():
            break
    return at


def usual_streams(z: np.ndarray) -> Iterator[tuple[str, Draw]]:
    """Yield draws of calibrations and unchanged streams: of real scores, of normal ones, of few and of equal ones."""

    def normal(calibration: int) -> Draw:
        return lambda rng: (rng.normal(size=calibration), rng.normal(size=USUAL))

    def real(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return rng.choice(z, len(z) // 2), rng.choice(z, USUAL)

    def halves(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        order = rng.permutation(len(z))
        return z[order[: len(z) // 2]], z[order[len(z) // 2 :]]

    def whole(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        calibration, stream = real(rng)
        return calibration.round(), stream.round()

    yield f"real scores, {len(z) // 2:,} calibrated on, streams of {USUAL:,}", real
    yield f"real scores, halves, each once, streams of {len(z) - len(z) // 2:,}", halves
    yield f"real scores to whole numbers, streams of {USUAL:,}", whole
    yield f"normal, 100 calibrated on, streams of {USUAL:,}", normal(100)
    yield f"normal, 5,000 calibrated on, streams of {USUAL:,}", normal(5000)


def after_usual(z: np.ndarray, changed: np.ndarray) -> Draw:
    """Return a draw of half of some scores, and a stream of the other half that becomes one of changed scores."""

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        order = rng.permutation(len(z))
        rest = z[order[len(z) // 2 :]]
        return z[order[: len(z) // 2]], np.concatenate([rng.choice(rest, BEFORE), rng.choice(changed, CHANGED)])

    return draw


def false_alarms(own: Labelled, streams: int, rate: float) -> int:
    """Print the share of usual streams with an alarm. Return in how many rows it is above the rate beyond chance."""
    print(f"| usual scores | streams | with a false alarm, at most {100 * rate:g} % |\n|---|--:|--:|")
    invalid = 0
    for name, draw in usual_streams(own.z):
        count = int((alarms(draw, streams, rate) > 0).sum())
        invalid += binomtest(count, streams, rate, alternative="greater").pvalue < BEYOND_CHANCE
        print(f"| {name} | {streams:,} | {100 * count / streams:.2f} % |", flush=True)
    return invalid


def delays(own: Labelled, changed: Sequence[Labelled], streams: int, rate: float) -> None:
    """Print how soon the alarm sees each changed data set, and what the threshold of 5 % risk is worth there."""
    half = own.take(half_rows(len(own), "first-half"))
    point = guaranteed(half.z, half.correct, MAX_RISK, DELTA)
    assert isinstance(point, WorkingPoint)
    heads = ["changed", "accuracy", "trusted", "wrong among the trusted", "seen within 2,000", "images until the alarm"]
    print(f"\n| {' | '.join(heads)}: median (9 of 10 by) |\n|---|{'--:|' * (len(heads) - 1)}")
    for one in changed:
        at = alarms(after_usual(own.z, one.z), streams, rate)
        late = np.sort(np.where(at < 0, np.inf, at - BEFORE)[(at < 0) | (at > BEFORE)])  # no false alarms before
        ends = ["never" if np.isinf(end) else f"{end:,.0f}" for end in late[[len(late) // 2, len(late) * 9 // 10]]]
        there = working_point(one.z, one.correct, point.threshold)
        shares = one.correct.mean(), there.coverage, there.risk or 0.0, np.isfinite(late).mean()
        print(f"| {one.data} | {' | '.join(f'{100 * s:.1f} %' for s in shares)} | {ends[0]} ({ends[1]}) |", flush=True)


def main() -> int:
    """Print both tables. Return 1 if false alarms exceed the rate beyond chance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("run")
    parser.add_argument("--data", required=True, help="the unchanged data set")
    parser.add_argument("--on", action="append", default=[], help="changed data sets, or families of them")
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--streams", type=int, default=1000)
    asked = parser.parse_args()
    scorer = find_scorer(Workspace(asked.workspace), asked.run)
    source = LabelledData(scorer, Scoring(scorer.workspace_caches, Path("data"), Machine(device="cpu")))
    own = source.named("--data", asked.data)
    invalid = false_alarms(own, asked.streams, asked.rate)
    changed = [one for name in asked.on for one in source.family("--on", name)]
    delays(own, [own, *changed], asked.streams // 10, asked.rate)
    print(f"\n{invalid} shares of false alarms are above {100 * asked.rate:g} % beyond chance")
    return int(invalid > 0)


if __name__ == "__main__":
    sys.exit(main())
