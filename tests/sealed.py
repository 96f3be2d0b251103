"""Change sealed files as a stranger or another version of trustcache would: with a checksum that fits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from trustcache.cache.seal import UNSEALED, publish_sealed


def write_resealed(path: Path, data: bytes) -> None:
    """Write bytes whose checksum, the first in them, is made to fit."""
    publish_sealed(path, re.sub(rb"sha256:[0-9a-f]{64}", UNSEALED.encode(), data, count=1))


def edit_record(path: Path, changes: dict[str, Any]) -> None:
    """Replace entries of a JSON record; a key such as `meaning.data.samples` is that of a nested one."""
    table = json.loads(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        *parents, last = key.split(".")
        inner = table
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    write_resealed(path, json.dumps(table).encode())
