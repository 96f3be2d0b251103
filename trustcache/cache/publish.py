"""Publish files whole or not at all: built in memory, written under a temporary name, synced, renamed.

A crash, a full disk or a kill leaves the old file or the new one, and at worst a temporary file, which the next
publication of the same file removes. HDF5 written in place would instead open as if whole after a kill, and crash the
process on a full disk.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trustcache.errors import TrustcacheError, naming

if TYPE_CHECKING:
    import numpy as np

TEMPORARY = ".partial-"
"""Mark in the names of files that are being written."""
# Writing one file takes seconds; a temporary file untouched for this long has no writer any more.
STALE_S = 3600.0
CHUNK_ROWS = 256
# Decoding processes of a killed extraction hold its lock until they notice, which takes torch up to 5 seconds.
LOCK_WAIT_S = 10.0
# Those that work together each find the batch size and look through the data set before they write.
LOCK_WAIT_TOGETHER_S = 600.0
BEING_WRITTEN = "another trustcache extract is writing to it; run the same command again when that has ended"


def publish(path: Path, *parts: bytes | memoryview) -> None:
    """Write bytes to `path` atomically and durably. Raises OSError and leaves nothing behind where that fails.

    >>> publish(tmp / "greeting.txt", b"hello")
    >>> (tmp / "greeting.txt").read_text()
    'hello'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, glob.escape(path.name))
    # Unique to the call, so that no two writers share it; the process is named for `sweep`.
    temporary = path.with_name(f"{path.name}{TEMPORARY}{os.getpid()}-{os.urandom(6).hex()}-{_host()}")
    try:
        with temporary.open("xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename = str(path)  # a failed write names no file, a failed open the temporary one
        raise


def sweep(folder: Path, names: str = "*") -> None:
    """Remove the temporary files that killed writers left in a folder, but none that is being written.

    names: a pattern of the files' names.

    >>> sweep(tmp)
    """
    for temporary in folder.glob(f"{names}{TEMPORARY}*"):
        if not _being_written(temporary):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def sole_writer(folder: Path, together: bool = False) -> Iterator[None]:
    """Hold the lock of a cache's folder. Raises TrustcacheError where another process does, after `LOCK_WAIT_S`.

    together: of processes that work together, which wait longer for one another.

    The operating system releases the lock when its process ends, killed or not. A folder that cannot be locked, on a
    read-only or a network disk, is used without: files are published whole, so two writers only do the work twice.

    >>> with sole_writer(tmp / "cache"):
    ...     publish(tmp / "cache" / "00000.h5", b"")
    """
    wait_s = LOCK_WAIT_TOGETHER_S if together else LOCK_WAIT_S
    with locked(folder.with_name(f".{folder.name}.lock"), wait_s) as mine:
        if not mine:
            raise TrustcacheError(f"{folder}: {BEING_WRITTEN}")
        yield


@contextlib.contextmanager
def locked(path: Path, wait_s: float = 0.0) -> Iterator[bool]:
    """Hold the lock of a file; where another process still does after so many seconds, the context gets False.

    It gets True where nothing can be locked.

    >>> with locked(tmp / "lock") as mine:
    ...     mine
    True
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    mine = True
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait_s)
    except Timeout:
        mine = False
    except (OSError, NotImplementedError):
        pass
    try:
        yield mine
    finally:
        lock.release()


def pack(columns: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays of equal length as the bytes of an HDF5 file: checksummed chunks, no compression, no time stamps.

    The same arrays give the same bytes. (Compression gains nothing on floats and costs ten times the time.)

    >>> import numpy as np
    >>> pack({"z": np.zeros(3)}) == pack({"z": np.zeros(3)})
    True
    """
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver="latest") as file:
        for name, column in columns.items():
            chunks = chunk_shape(column.shape)
            file.create_dataset(name, data=column, chunks=chunks, fletcher32=chunks is not None, track_times=False)
    return buffer.getvalue()


def chunk_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the chunks that `pack` stores an array in, None for one without rows.

    >>> chunk_shape((1000, 10))
    (256, 10)
    """
    return (min(CHUNK_ROWS, shape[0]), *shape[1:]) if shape[0] else None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as `sha256sum` prints it.

    >>> publish(tmp / "empty", b"")
    >>> file_sha256(tmp / "empty")[:12]
    'e3b0c44298fc'
    """
    with naming(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _host() -> str:
    import socket  # not by whom only reads

    return socket.gethostname()


def _sync_folder(folder: Path) -> None:
    """Make a rename in a folder outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _being_written(temporary: Path) -> bool:
    """Return True if a temporary file's writer may be alive: it runs here, or on another machine that wrote lately."""
    process, _, host = temporary.name.rpartition(TEMPORARY)[2].partition("-")
    try:
        if not process.isdecimal() or time.time() - temporary.stat().st_mtime > STALE_S:
            return False
        if host.partition("-")[2] == _host():
            os.kill(int(process), 0)
    except PermissionError:  # another user's process: alive
        return True
    except (ProcessLookupError, FileNotFoundError):
        return False
    return True
