"""How a report was made: when, and with which versions."""

from __future__ import annotations

import datetime
import platform
from importlib.metadata import version

import trustcache


def made_with() -> dict[str, str]:
    """Today's date and the versions of what computes the figures."""
    libraries = {name: version(name) for name in ("torch", "timm", "numpy")}
    return {
        "date": datetime.date.today().isoformat(),
        "trustcache": trustcache.__version__,
        "python": platform.python_version(),
        **libraries,
    }
