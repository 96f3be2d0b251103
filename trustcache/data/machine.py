"""The machine that images are decoded and models run on: what several commands ask of it, declared once."""

from __future__ import annotations

from typing import Any

from trustcache.registry import option

PANEL = "Machine"


def device_option() -> Any:
    """Declare a dataclass field `device: str`."""
    return option("auto", "cpu, cuda, cuda:1 …; auto takes the GPU where there is one.", panel=PANEL)


def workers_option() -> Any:
    """Declare a dataclass field `workers: int`."""
    return option(2, "Decoding processes; 0 decodes in this one.", min=0, panel=PANEL)
