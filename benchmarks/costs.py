"""Hours, disk and money that extracting a study costs, by the number of GPUs: `python benchmarks/costs.py`.

Counted, not run: rates of one GPU with its cores, as `benchmarks/gpu.py` measures them, and the processes of `torchrun`
that each take whole shards and wait for one another at the end of each data set.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

HASHES = 37  # bytes a row of labels and hashes; an id takes some 30 more


@dataclass(frozen=True)
class Study:
    """Data sets as (number, rows of each, True for those that are made on the fly), and the columns of a row."""

    name: str
    data: tuple[tuple[int, int, bool], ...]
    columns: int

    @property
    def gigabytes(self) -> float:
        """Disk for float16 columns, labels, hashes and ids."""
        return sum(n * rows for n, rows, _ in self.data) * (2 * self.columns + HASHES + 30) / 1e9


STUDIES = (
    Study(
        "ImageNet-1k, ViT-B/16 384: train, val, 95 corruptions",
        ((1, 1_281_167, False), (1, 50_000, False), (95, 50_000, True)),
        768 + 1000,
    ),
    Study("ImageNet-21k, ViT-B/16 384", ((1, 14_197_122, False),), 768 + 21_841),
)


def hours(study: Study, gpus: int, rates: tuple[float, float], shard_rows: int) -> float:
    """Return the hours that `gpus` processes take; rates: images/s of one that reads, and of one that makes them."""
    seconds = 0.0
    for number, rows, made in study.data:
        rounds = math.ceil(math.ceil(rows / shard_rows) / gpus)  # a process makes a shard at a time
        seconds += number * min(rounds * shard_rows, rows) / rates[made]
    return seconds / 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=690, help="images/s of one GPU and its cores, from JPEGs")
    parser.add_argument("--made", type=float, default=290, help="the same, corruptions made on the fly")
    parser.add_argument("--price", type=float, default=3, help="of a GPU hour")
    parser.add_argument("--gpus", type=int, nargs="*", default=(1, 8, 64))
    parser.add_argument("--shard-rows", type=int, default=2048)
    asked = parser.parse_args()
    print(
        "| hours, price, part of n times the speed |",
        " | ".join(f"{n} GPU{'s' * (n > 1)}" for n in asked.gpus),
        "| disk |",
    )
    print("|---|" + "---|" * len(asked.gpus) + "--:|")
    for study in STUDIES:
        one = hours(study, 1, (asked.rate, asked.made), asked.shard_rows)
        cells = []
        for gpus in asked.gpus:
            took = hours(study, gpus, (asked.rate, asked.made), asked.shard_rows)
            cells.append(f"{took:.2f} h, $ {took * gpus * asked.price:,.0f}, {one / took / gpus:.2f}")
        print(f"| {study.name} |", " | ".join(cells), f"| {study.gigabytes:,.0f} GB |")


if __name__ == "__main__":
    main()
