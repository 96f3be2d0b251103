"""The machine that images are decoded and models run on: what several commands ask of it, declared once."""

from __future__ import annotations

import os
import sys
from typing import Any

from trustcache.data.ranks import ranks
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
