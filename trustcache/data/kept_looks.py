"""What was seen of a large data set, kept in the user's cache folder, so that the next look is spared.

Never in a workspace, which another person may have sent, nor beside the images, which may lie where nothing can be
written.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import xxhash

_CHECKSUM = 16
_WAIT_S = 3600.0
"""Processes that work together wait so long for the one that looks."""


def user_cache() -> Path:
    """Return the folder for what can be made anew at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trustcache"


def seen_once(what: str, version: str, look: Callable[[], bytes]) -> bytes:
    """Return what `look` returned for this version, by this or an earlier process of the user; the newest is kept.

    what: a key, which each kind of look begins with a word of its own, another one when its bytes come to mean
    something else. version: changes with what is looked at. Of processes that ask at one time the first looks, the
    others wait. What is damaged is looked at again, and where nothing can be kept each process looks.
    """
    path = user_cache() / "looks" / xxhash.xxh3_128_hexdigest(what.encode("utf-8", "surrogateescape"))
    mark = version.encode("utf-8", "surrogateescape")
    if (found := _read(path, mark)) is not None:
        return found
    with _sole(path):
        if (found := _read(path, mark)) is None:
            found = look()
            with contextlib.suppress(OSError):
                _write(path, mark, found)
    return found


def _read(path: Path, mark: bytes) -> bytes | None:
    """Return what is kept in a file for a version, None where it is none, of another one, or damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    found = data[_CHECKSUM:]
    return found if data[:_CHECKSUM] == _checksum(mark, found) else None


def _write(path: Path, mark: bytes, found: bytes) -> None:
    temporary = path.with_name(f"{path.name}-{os.getpid()}")
    try:
        temporary.write_bytes(_checksum(mark, found) + found)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _checksum(mark: bytes, found: bytes) -> bytes:
    """Return a digest of a version and what was seen of it: either one changed, it is another."""
    digest = xxhash.xxh3_128(len(mark).to_bytes(8, "little"))
    digest.update(mark)
    digest.update(found)
    return digest.digest()


@contextlib.contextmanager
def _sole(path: Path) -> Iterator[None]:
    """Hold a file's lock, if there can be one."""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{path}.lock")
    with contextlib.suppress(OSError, NotImplementedError, Timeout):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=_WAIT_S)
    try:
        yield
    finally:
        lock.release()
