"""Freed memory is kept for the next batch: no pages are asked for again."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
import numpy as np
import trustcache as tc
from cli import app

net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
small = dict(input_size=(8, 8), crop_pct=1.0, mean=(0.5,) * 3, std=(0.5,) * 3)
image = np.zeros((8, 8, 3), np.uint8)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def arrays(count):
    before = faults()
    for _ in range(count):
        torch.ones(10_000_000)
    return faults() - before

# A small array that comes to lie in a freed block makes the next large one ask for pages of its own: now and then
# at first, not for long.
arrays(12)
plain = arrays(6)
USE
arrays(12)
print(plain, arrays(6))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that is told so")
@pytest.mark.parametrize(
    "use",
    [
        'app(["presets"], standalone_mode=False)',
        'tc.extract(net, [(image, 0)], preprocess=small, device="cpu")',
        'tc.TrustedClassifier(net, "mcp", 0.5, preprocess=small, device="cpu")',
    ],
)
def test_a_process_keeps_what_an_array_of_40_mb_leaves_for_the_next(use: str) -> None:
    printed = subprocess.check_output([sys.executable, "-c", FAULTS.replace("USE", use)], text=True).splitlines()[-1]
    plain, command = map(int, printed.split())
    assert command * 2 < plain, printed
