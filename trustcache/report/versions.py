"""How a report was made: when, and with which versions."""

from __future__ import annotations

import datetime
import platform

from trustcache.cache.versions import software_versions


def made_with() -> dict[str, str]:
    """Today's date and the versions of what computes the figures."""
    return {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        **software_versions("torch", "timm", "numpy"),
    }
