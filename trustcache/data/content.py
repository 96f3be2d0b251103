"""Content of images: hashes of their bytes, and stamps that tell cheaply whether to look at the bytes again.

The hash is XXH3, which costs a thousandth of decoding. It tells images apart that were changed, swapped or copied; it
is no defence against someone who constructs two images with one hash.
"""

from __future__ import annotations

import os

import xxhash

Stamp = tuple[int, ...]


def content_of(raw: bytes) -> int:
    """Return the hash of an image's bytes, from 0 to 2^64 - 1."""
    return xxhash.xxh3_64_intdigest(raw)


def stamp_of(status: os.stat_result) -> Stamp:
    """Return what changes with a file: its size, its times, and its inode, which tells apart files that swap names."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def digest_of(stamps: bytes) -> str:
    """Return a short digest of many stamps."""
    return xxhash.xxh3_128_hexdigest(stamps)
