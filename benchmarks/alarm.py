"""How often is the alarm false, and how soon does it see changed images?

    python benchmarks/alarm.py WORKSPACE RUN --data cifar10-test --on cifar10-c-made --on cifar10-fourier

Takes the scores of a run, or of a post-hoc score, and the predicted classes from the caches of a workspace. First the
share of streams of 10,000 usual images with a false alarm, which the rate bounds; it ends with 1 if one is above it
beyond chance; these streams are drawn with replacement unless their row says otherwise. Then for each changed data
set the number of changed images until the alarm, by scores and classes and by scores alone, after 1,000 usual ones
(--before). Each of these streams draws its images anew, and each image once: half of the data to calibrate on, the
usual ones, and changed ones of images that are in neither, until they end. --coverage: of the threshold whose risk is
told, in place of one that promises at most 5 % wrong.
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

USUAL = 10_000
MAX_RISK, DELTA = 0.05, 0.001
BEYOND_CHANCE = 0.001
# Rows are scores and predicted classes, float64 (N, 2). A draw: the rows calibrated on, and those of a stream.
Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]


def alarms(draw: Draw, streams: int, rate: float) -> np.ndarray:
    """Return after how many images each stream has the alarm, int (2, streams), -1 for never, as `Alarm` raises it.

    The first row is of both tests, as ever where classes are known; the second of the test of the scores alone.
    """
    rng, at = np.random.default_rng(0), np.full((2, streams), -1)
    bins: list[list[np.ndarray]] = [[], []]
    for number in range(streams):
        calibration, stream = draw(rng)
        draws = rng.random(len(stream))
        references = reference(calibration[:, 0], seed=number), reference(calibration[:, 0], calibration[:, 1], number)
        bins[0].append(references[0].bins(stream[:, 0], draws))
        bins[1].append(references[1].bins(stream[:, 0], draws, stream[:, 1]))
    tests = [Martingale(one, streams) for one in references]  # the counts are those of any reference
    columns = [np.stack(rows, axis=1) for rows in bins]
    for image in range(len(columns[0])):
        for martingale, column in zip(tests, columns, strict=True):
            martingale.update(column[image])
        by_scores, by_classes = (martingale.capital for martingale in tests)
        rich = np.stack([np.maximum(by_scores, by_classes), by_scores]) >= 2 / rate
        at[(at < 0) & rich] = image + 1
        if (at > 0).all():
            break
    return at


def rows_of(data: Labelled) -> np.ndarray:
    """Return scores and predicted classes, float64 (N, 2)."""
    return np.stack([data.z, data.predictions], axis=1)


def usual_streams(rows: np.ndarray) -> Iterator[tuple[str, Draw]]:
    """Yield draws of calibrations and unchanged streams: of real scores, of normal ones, of few and of equal ones."""

    def normal(calibration: int) -> Draw:
        def made(rng: np.random.Generator, size: int) -> np.ndarray:
            return np.stack([rng.normal(size=size), rng.integers(0, 10, size=size)], axis=1)

        return lambda rng: (made(rng, calibration), made(rng, USUAL))

    def real(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return rng.choice(rows, len(rows) // 2), rng.choice(rows, USUAL)

    def halves(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        order = rng.permutation(len(rows))
        return rows[order[: len(rows) // 2]], rows[order[len(rows) // 2 :]]

    def whole(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        calibration, stream = real(rng)
        return calibration.round(), stream.round()

    yield f"real scores, {len(rows) // 2:,} calibrated on, streams of {USUAL:,}", real
    yield f"real scores, halves, each once, streams of {len(rows) - len(rows) // 2:,}", halves
    yield f"real scores to whole numbers, streams of {USUAL:,}", whole
    yield f"normal, 100 calibrated on, streams of {USUAL:,}", normal(100)
    yield f"normal, 5,000 calibrated on, streams of {USUAL:,}", normal(5000)


def after_usual(own: Labelled, changed: Labelled, before: int, images: int) -> Draw:
    """Return a draw of half of the data, and a stream of usual images and then changed ones, no image twice in both."""
    usual, others, half = rows_of(own), rows_of(changed), len(own) // 2

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        picked = rng.permutation(len(others))[:images]
        rest = rng.permutation(np.flatnonzero(~np.isin(own.content, changed.content[picked])))
        stream = np.concatenate([usual[rest[:before]], others[picked]])
        return usual[rest[before : before + half]], stream

    return draw


def false_alarms(own: Labelled, streams: int, rate: float) -> int:
    """Print the share of usual streams with an alarm. Return in how many rows it is above the rate beyond chance."""
    print(f"| usual scores | streams | with a false alarm, at most {100 * rate:g} % |\n|---|--:|--:|")
    invalid = 0
    for name, draw in usual_streams(rows_of(own)):
        count = int((alarms(draw, streams, rate)[0] > 0).sum())
        invalid += binomtest(count, streams, rate, alternative="greater").pvalue < BEYOND_CHANCE
        print(f"| {name} | {streams:,} | {100 * count / streams:.2f} % |", flush=True)
    return invalid


def threshold_of(own: Labelled, coverage: float | None) -> float:
    """Return the threshold with that coverage, or else the one that promises 5 % risk, of half of the data."""
    half = own.take(half_rows(len(own), "first-half"))
    if coverage:
        return float(np.quantile(half.z, 1 - coverage))
    point = guaranteed(half.z, half.correct, MAX_RISK, DELTA)
    assert isinstance(point, WorkingPoint)
    return point.threshold


def delays(own: Labelled, changed: Sequence[Labelled], asked: argparse.Namespace) -> None:
    """Print how soon the alarm sees each changed data set, and what a threshold is worth there."""
    threshold, before, streams = threshold_of(own, asked.coverage), asked.before, asked.streams // 10
    calibrated_on = own.take(half_rows(len(own), "first-half")).content
    seen = [f"seen{by}, after: median (9 of 10 by)" for by in ("", " by scores alone")]
    heads = ["changed", "images", "right", "trusted", "wrong among the trusted", *seen]
    print(f"\n{streams} streams each, of {before:,} usual images and then so many changed ones:\n")
    print(f"| {' | '.join(heads)} |\n|---|{'--:|' * (len(heads) - 1)}")
    for one in changed:
        images = min(asked.images, len(one), len(own) - len(own) // 2 - before)
        new = one.apart_from(calibrated_on)
        there = working_point(new.z, new.correct, threshold)
        shares = (new.correct.mean(), there.coverage, there.risk or 0.0)
        cells = [f"{images:,}", *(f"{100 * share:.1f} %" for share in shares)]
        for at in alarms(after_usual(own, one, before, images), streams, asked.rate):
            late = np.sort(np.where(at < 0, np.inf, at - before)[(at < 0) | (at > before)])  # no false alarms before
            ends = ["–" if np.isinf(end) else f"{end:,.0f}" for end in late[[len(late) // 2, len(late) * 9 // 10]]]
            cells.append(f"{100 * np.isfinite(late).mean():.0f} %, {ends[0]} ({ends[1]})")
        print(f"| {one.data} | {' | '.join(cells)} |", flush=True)


def main() -> int:
    """Print both tables. Return 1 if false alarms exceed the rate beyond chance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("run")
    parser.add_argument("--data", required=True, help="the unchanged data set")
    parser.add_argument("--on", action="append", default=[], help="changed data sets, or families of them")
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--streams", type=int, default=1000, help="a tenth of them for each changed data set")
    parser.add_argument("--before", type=int, default=1000, help="usual images before the changed ones")
    parser.add_argument("--images", type=int, default=1500, help="changed images of a stream, at most")
    parser.add_argument("--coverage", type=float, help="of the threshold whose risk is told")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    asked = parser.parse_args()
    scorer = find_scorer(Workspace(asked.workspace), asked.run)
    source = LabelledData(scorer, Scoring(scorer.workspace_caches, asked.data_root, Machine(device="cpu")))
    own = source.named("--data", asked.data)
    invalid = false_alarms(own, asked.streams, asked.rate)
    changed = [one for name in asked.on for one in source.family("--on", name)]
    delays(own, [own, *changed], asked)
    print(f"\n{invalid} shares of false alarms are above {100 * asked.rate:g} % beyond chance")
    return int(invalid > 0)


if __name__ == "__main__":
    sys.exit(main())
