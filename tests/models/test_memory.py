"""Freed memory is kept for the next batch: no pages are asked for again."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from cli import app

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
app(["presets"], standalone_mode=False)
arrays(12)
print(plain, arrays(6))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that is told so")
def test_a_command_keeps_what_an_array_of_40_mb_leaves_for_the_next() -> None:
    printed = subprocess.check_output([sys.executable, "-c", FAULTS], text=True).splitlines()[-1]
    plain, command = map(int, printed.split())
    assert command * 2 < plain, printed
