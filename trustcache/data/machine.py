"""The machine that images are decoded and models run on: what several commands ask of it, declared once."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import Any

from trustcache.data.ranks import ranks
from trustcache.errors import UsageError
from trustcache.registry import option

PANEL = "Machine"
DECODERS = ("pil", "draft", "gpu")
"""Ways of decoding images: Pillow at full size; JPEGs halved by libjpeg as far as the model's size allows; on a GPU."""

# A GPU takes what so many cores decode; more processes only take memory.
_MOST_WORKERS = 32
# On the CPU the model needs the cores.
_BESIDE_A_MODEL = 2
# Fewer images are decoded before processes have started.
_FEW = 32


def device_option() -> Any:
    """Declare a dataclass field `device: str`."""
    return option("auto", "cpu, cuda, cuda:1, mps, xpu …; auto takes the GPU where torch finds one.", panel=PANEL)


def workers_option() -> Any:
    """Declare a dataclass field `workers: int | None`, None for as many as `decoding_workers` says."""
    return option(
        None, "Decoding processes, 0: this one alone (for a GPU all cores but one, else 2).", min=0, panel=PANEL
    )


def memory_option() -> Any:
    """Declare a dataclass field `memory: str | None`, None for half of what is free."""
    return option(
        None,
        "--frozen: the most memory for cached columns, as 4GiB; larger ones are read in shuffled blocks (half of what "
        "is free).",
        panel=PANEL,
    )


def memory_bytes(asked: str) -> int:
    """Return the bytes of a text such as 512MiB or 4 GB. Raises UsageError.

    >>> memory_bytes("1.5GiB"), memory_bytes("2 kB"), memory_bytes("64")
    (1610612736, 2000, 64)
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?)\s*(?:([kmgt])(i?)b?|b?)", asked.strip().lower())
    if not found or not float(found[1]):
        raise UsageError(f"--memory {asked}: expected a size such as 4GiB or 800MB")
    power = "kmgt".index(found[2]) + 1 if found[2] else 0
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def free_memory() -> int:
    """Return the bytes that this process may still take: what the system has, or its container allows."""
    free = _linux_free() or _physical()
    with contextlib.suppress(OSError, ValueError):  # "max" without a limit
        group = Path("/sys/fs/cgroup")
        taken = int((group / "memory.current").read_text())
        free = min(free, max(int((group / "memory.max").read_text()) - taken, 0))
    return free


def _linux_free() -> int:
    with contextlib.suppress(OSError):
        found = re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0
    return 0


def _physical() -> int:
    known = hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if known else 1 << 33


def decoding_workers(asked: int | None, images: int, device: str) -> int:
    """Return the number of decoding processes: those asked for, or as many as suit the images and the type of device.

    >>> decoding_workers(None, 31, "cuda"), decoding_workers(None, 1000, "cpu"), decoding_workers(5, 31, "cpu")
    (0, 2, 5)
    """
    if asked is not None:
        return asked
    if images < _FEW:
        return 0
    if device == "cpu":
        return _BESIDE_A_MODEL
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(max(cores // ranks().local_count - 1, 1), _MOST_WORKERS)
