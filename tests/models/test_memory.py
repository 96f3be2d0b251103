"""Freed memory is kept for the next batch: no pages are asked for again."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch

if sys.argv[1] == "command":
    from cli import app
    app(["presets"], standalone_mode=False)

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
print(arrays(6))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that is told so")
def test_a_command_keeps_what_an_array_of_40_mb_leaves_for_the_next() -> None:
    asked = {
        way: int(subprocess.check_output([sys.executable, "-c", FAULTS, way], text=True).splitlines()[-1])
        for way in ("command", "plain")
    }
    assert asked["command"] * 2 < asked["plain"], asked
