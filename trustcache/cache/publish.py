"""Publishing files whole or not at all: built in memory, written under a temporary name, synced, renamed.

A crash, a full disk or a kill leaves either the old file or the new one, and at worst a temporary file to sweep.
HDF5 written in place would instead open as if whole after a kill, and crash the process on a full disk.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

_MARK = ".partial-"
CHUNK_ROWS = 256


def publish(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path` atomically and durably. Raises OSError, leaving nothing behind, where it cannot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name unique to the call, so that no two writers share it.
    temporary = path.with_name(f"{path.name}{_MARK}{secrets.token_hex(6)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def publish_json(path: Path, value: Any) -> None:
    """Publish plain data as readable JSON; not-a-number is refused (ValueError)."""
    publish(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def sweep(folder: Path) -> None:
    """Remove the temporary files that a killed writer left in a folder."""
    for stale in folder.glob(f"*{_MARK}*"):
        stale.unlink(missing_ok=True)


def pack(columns: Mapping[str, np.ndarray], attributes: Mapping[str, str] | None = None) -> bytes:
    """Arrays of equal length as the bytes of an HDF5 file: checksummed chunks, no compression, no time stamps.

    The same arrays give the same bytes. (Compression gains nothing on floats and costs ten times the time.)
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver="latest") as file:
        file.attrs.update(attributes or {})
        for name, column in columns.items():
            rows = max(1, min(CHUNK_ROWS, len(column)))
            chunks = (rows, *column.shape[1:]) if len(column) else None
            file.create_dataset(name, data=column, chunks=chunks, fletcher32=chunks is not None, track_times=False)
    return buffer.getvalue()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
