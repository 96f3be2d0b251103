"""Seals: a file of the workspace carries the SHA-256 of its bytes, which is checked whenever the file is read.

A file is written with `UNSEALED` near its beginning, in whatever way its format allows: a field of a JSON record, the
metadata of safetensors. The checksum takes that place, and is over the bytes with `UNSEALED` there. Any other byte,
the names of fields included, is covered. Shards alone have theirs in the record beside them.
"""

from __future__ import annotations

import hashlib
import io
import re
import stat
from pathlib import Path

from trustcache.cache.publish import publish
from trustcache.errors import DamagedError, UsageError, naming

UNSEALED = f"sha256:{'0' * 64}"
"""The place of a checksum, to be written within the first `_HEAD` bytes of a file."""
_SEAL = re.compile(rb"sha256:[0-9a-f]{64}")
_HEAD = 1024


def publish_sealed(path: Path, data: bytes | memoryview) -> None:
    """Publish a file's bytes with their checksum in the place of `UNSEALED`. Raises as `publish`.

    >>> publish_sealed(tmp / "greeting", f"{UNSEALED} hello".encode())
    >>> read_sealed(tmp / "greeting", "greet again")[-6:]
    b' hello'
    """
    view = memoryview(data)
    start = bytes(view[:_HEAD]).index(UNSEALED.encode())
    checksum = f"sha256:{hashlib.sha256(view).hexdigest()}".encode()
    publish(path, view[:start], checksum, view[start + len(checksum) :])


def check_seal(path: Path, remedy: str) -> None:
    """Raise DamagedError naming the file and the remedy if its bytes are not the ones that were published.

    Raises FileNotFoundError where there is none.

    >>> publish(tmp / "greeting", b"hello")
    >>> check_seal(tmp / "greeting", "greet again")
    Traceback (most recent call last):
    trustcache.errors.DamagedError: .../greeting: damaged (it has no checksum); greet again
    """
    if fault := _fault(path):
        raise DamagedError(f"{path}: damaged ({fault}); {remedy}")


def read_sealed(path: Path, remedy: str) -> bytes:
    """Return the bytes of a sealed file. Raises as `check_seal`.

    >>> publish_sealed(tmp / "greeting", UNSEALED.encode())
    >>> read_sealed(tmp / "greeting", "greet again")[:7]
    b'sha256:'
    """
    data = io.BytesIO()  # what is checked is what is returned
    if fault := _fault(path, data):
        raise DamagedError(f"{path}: damaged ({fault}); {remedy}")
    return data.getvalue()


def require_saved(path: Path, kind: str) -> None:
    """Raise UsageError where a path leads to no file that `save` of a class, `kind`, can have written.

    >>> publish(tmp / "greeting", b"hello")
    >>> require_saved(tmp / "greeting", "Oracle")
    Traceback (most recent call last):
    trustcache.errors.UsageError: .../greeting: is no file that Oracle.save wrote; give one
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file; give one that {kind}.save wrote")
    with naming(path), path.open("rb") as file:
        if not _SEAL.search(file.read(_HEAD)):
            raise UsageError(f"{path}: is no file that {kind}.save wrote; give one")


def _fault(path: Path, copy: io.BytesIO | None = None) -> str | None:
    """Say how a file is not as it was published; None if it is. copy: is given its bytes."""
    if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would wait for ever
        return "it is not a regular file"
    with naming(path), path.open("rb") as file:
        head = file.read(_HEAD)
        seal = _SEAL.search(head)
        if not seal:
            return "it has no checksum"
        digest = hashlib.sha256(head[: seal.start()] + UNSEALED.encode() + head[seal.end() :])
        if copy is not None:
            copy.write(head)
        while block := file.read(1 << 20):
            digest.update(block)
            if copy is not None:
                copy.write(block)
    return (
        None if seal[0] == f"sha256:{digest.hexdigest()}".encode() else "its bytes are not the ones that were written"
    )
