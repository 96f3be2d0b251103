"""Plain data, such as JSON holds: records as they come back from a file, and their fingerprints."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def plain(value: Any) -> Any:
    """A value as it comes back from JSON: tuples are lists."""
    return json.loads(json.dumps(value))


def fingerprint(value: Any) -> str:
    """SHA-256 over plain data, whatever the order of a table's keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
