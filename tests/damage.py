"""Damage files as disks and copies do: flipped bits and cuts, all different, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator


def damaged(data: bytes, flips: int, cuts: int, seed: int = 0) -> Iterator[bytes]:
    """Yield copies of a file's bytes, each with a flipped bit, or cut; the first and the last bytes among them."""
    rng = random.Random(seed)
    places = {0, len(data) * 8 - 1} | {rng.randrange(len(data) * 8) for _ in range(flips - 2)}
    for place in sorted(places):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        yield bytes(flipped)
    for length in sorted({0, len(data) - 1} | {rng.randrange(len(data)) for _ in range(cuts - 2)}):
        yield data[:length]
