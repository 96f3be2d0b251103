"""The members of tar files: where the bytes of each file stand, found by reading headers alone.

A file that was cut short, or has another tar file behind it, is refused: readers stop at the first end mark, or at the
end of the file, and would show a part of the images as all of them.
"""

from __future__ import annotations

import functools
import os
import posixpath
import tarfile
from array import array
from pathlib import Path
from typing import BinaryIO

import msgspec

from trustcache.data.content import Stamp
from trustcache.data.kept_looks import seen_once
from trustcache.data.path_patterns import is_pattern, matches
from trustcache.errors import UsageError, first_line

SUFFIX = ".tar"
# First bytes of compressed files, whose middle cannot be read without all before it, and what unpacks them.
_COMPRESSED = {
    b"\x1f\x8b": "tar -xzf",
    b"\xfd7zXZ": "tar -xJf",
    b"BZh": "tar -xjf",
    b"\x28\xb5\x2f\xfd": "tar --zstd -xf",
    b"PK\x03\x04": "unzip",
    b"7z\xbc\xaf": "7z x",
    b"Rar!": "unrar x",
}
_TO_TAR = {"tar -xzf": "gunzip", "tar -xJf": "unxz", "tar -xjf": "bunzip2", "tar --zstd -xf": "unzstd"}
_COMPRESSED_SUFFIX = (".gz", ".tgz", ".xz", ".txz", ".bz2", ".tbz", ".tbz2", ".zst", ".tzst", ".zip", ".7z", ".rar")
_LONGEST_HEADER = 1 << 20
_MOST_HOPS = 40  # from link to link, as on Linux
# Writers fill up with zeros to a multiple of their buffer, which is much smaller.
_LONGEST_END = 1 << 26
# Bytes of tar files whose headers are read in a second at most: a member takes a kilobyte of them or more.
_LARGE = 1 << 26
_SEPARATOR = "\0"  # in no name


class Listing:
    """Index of tar files: by folder, each name's member number (-1: a folder); by member, the place of its bytes.

    sizes: -1 for a member without bytes, as a link to a file that is not there. replaced: names of members of which a
    later one has the same name, as often as this is so.
    """

    def __init__(self, paths: tuple[str, ...], stamps: tuple[Stamp, ...]) -> None:
        self.paths, self.stamps = paths, stamps
        self.folders: dict[str, dict[str, int]] = {"": {}}
        self.replaced: list[str] = []
        self._links: dict[str, str] = {}
        # Machine numbers: ImageNet has 1.28 million members.
        self.tars, self.offsets, self.sizes = array("q"), array("q"), array("q")

    @property
    def version(self) -> str:
        """A text that changes with the tar files, "" where these are so small that nothing of them need be kept."""
        return str(self.stamps) if sum(stamp[0] for stamp in self.stamps) >= _LARGE else ""

    def add(self, name: str, tar: int, offset: int, size: int) -> None:
        folder, base = posixpath.split(name)
        inside = self._folder(folder)
        self.replaced += [name] if base in inside else []
        inside[base] = len(self.sizes)
        for column, value in ((self.tars, tar), (self.offsets, offset), (self.sizes, size)):
            column.append(value)

    def link(self, name: str, tar: int, target: str) -> None:
        """List a file whose bytes stand under another name, be that listed already or later."""
        self._links[name] = target
        self.add(name, tar, 0, -1)

    def follow_links(self) -> None:
        """Give each link the bytes of its file, where that is there."""
        for name, target in self._links.items():
            link = self.member(name)
            for _ in range(_MOST_HOPS if self._has_none(link) else 0):
                if not self._has_none(member := self.member(target)):
                    for column in (self.tars, self.offsets, self.sizes):
                        column[link] = column[member]
                    break
                target = self._links.get(target, "")

    def kept(self) -> bytes:
        """Return its members as bytes for `restore`."""
        names = [f"{folder}/{name}" for folder, inside in self.folders.items() for name in inside]
        members = array("q", [member for inside in self.folders.values() for member in inside.values()])
        texts = [_SEPARATOR.join(each).encode("utf-8", "surrogateescape") for each in (names, self.replaced)]
        columns = [column.tobytes() for column in (members, self.tars, self.offsets, self.sizes)]
        return msgspec.msgpack.encode([*texts, *columns])

    def restore(self, kept: bytes) -> None:
        """Fill a listing without members with those of another one's `kept`."""
        names, replaced, *columns = msgspec.msgpack.decode(kept, type=list[bytes])
        members, self.tars, self.offsets, self.sizes = (array("q", column) for column in columns)
        for name, member in zip(_texts(names), members, strict=True):
            folder, _, base = name.rpartition("/")
            self.folders.setdefault(folder, {})[base] = member
        self.replaced = _texts(replaced)

    def _has_none(self, member: int) -> bool:
        return member < 0 or self.sizes[member] < 0

    def member(self, name: str) -> int:
        """Return the number of a file's member, -1 for a folder and where there is none."""
        folder, base = posixpath.split(name)
        return self.folders.get(folder, {}).get(base, -1)

    def _folder(self, folder: str) -> dict[str, int]:
        found = self.folders.setdefault(folder, {})
        while folder:  # no recursion: a path may have thousands of parts
            folder, base = posixpath.split(folder)
            known = folder in self.folders
            self.folders.setdefault(folder, {}).setdefault(base, -1)
            if known:
                break
        return found


def _texts(joined: bytes) -> list[str]:
    return joined.decode("utf-8", "surrogateescape").split(_SEPARATOR) if joined else []


def compressed(path: Path) -> Path | None:
    """Return the file, or the first of several that a pattern means, that its name says is a compressed archive."""
    if not path.name.lower().endswith(_COMPRESSED_SUFFIX):
        return None
    return next((file for file in (matches(str(path)) if is_pattern(str(path)) else [path]) if file.is_file()), None)


def refuse_compressed(path: str, head: bytes, pattern: str = "") -> None:
    """Raise UsageError for a compressed archive that begins with some bytes, with the command that unpacks it.

    pattern: means this file and others like it.
    """
    unpack = next((command for magic, command in _COMPRESSED.items() if head.startswith(magic)), None)
    if unpack and pattern:
        raise UsageError(
            f"{pattern}: its files are compressed, so single images cannot be read from them; unpack each with "
            f"{_TO_TAR.get(unpack, unpack)} {pattern}, and name the .tar files that come out"
        )
    if unpack:
        raise UsageError(
            f"{path}: is compressed, so single images cannot be read from it; unpack it with {unpack} {path}, and name "
            "what comes out"
        )


@functools.lru_cache(maxsize=4)  # the 20 data sets in one of ImageNet-C's archives share a listing
def list_members(tars: tuple[tuple[str, Stamp], ...], several: bool) -> Listing:
    """Return the members of tar files with these stamps; of several, below a folder named by the stem of each.

    Those of large files are kept for the user's next call: reading a million headers takes half a minute, and a look at
    a network disk each. Raises UsageError for one that is compressed, damaged or cut short.
    """
    listing = Listing(tuple(path for path, _ in tars), tuple(stamp for _, stamp in tars))
    if not listing.version:
        _read_headers(listing, several)
        return listing

    def look() -> bytes:
        _read_headers(listing, several)
        return listing.kept()

    kept = seen_once(f"members {several} {listing.paths}", listing.version, look)
    if not listing.sizes:
        listing.restore(kept)
    return listing


def _read_headers(listing: Listing, several: bool) -> None:
    for number, path in enumerate(listing.paths):
        _list_one(listing, number, path, f"{Path(path).stem}/" if several else "")
    listing.follow_links()


def _list_one(listing: Listing, number: int, path: str, prefix: str) -> None:
    try:
        with open(path, "rb") as file:
            refuse_compressed(path, file.read(6))
            file.seek(0)
            _add_members(listing, number, file, os.fstat(file.fileno()).st_size, prefix)
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    except Exception as error:  # tarfile's own, and what odd numbers or endless headers lead to
        raise UsageError(f"{path}: not a complete tar file ({first_line(error)}); fetch it again") from None


class _Headers:
    """The bytes of a tar file up to `end`, as tarfile reads its headers, which may claim any length."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        self.file, self.end = file, end
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self.file.read(max(0, min(size, self.end - self.file.tell())))


def _add_members(listing: Listing, number: int, file: BinaryIO, end: int, prefix: str) -> None:
    """List the members from where `file` stands, those of a tar file inside under a folder named by its stem."""
    tar = tarfile.TarFile(fileobj=_Headers(file, end))  # type: ignore[arg-type]
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # it would keep them all
        name = prefix + posixpath.normpath(member.name).lstrip("/")
        if _SEPARATOR in name:
            raise tarfile.ReadError("a name with a zero byte")
        if member.size < 0 or member.issparse():
            raise tarfile.ReadError(f"{name} is stored as a sparse file, or in less than no bytes")
        if member.isreg() and name.lower().endswith(SUFFIX):
            file.seek(member.offset_data)
            _add_members(listing, number, file, member.offset_data + member.size, f"{name[: -len(SUFFIX)]}/")
        elif member.isreg():
            listing.add(name, number, member.offset_data, member.size)
        elif member.islnk():
            listing.link(name, number, prefix + posixpath.normpath(member.linkname))
        elif member.issym():
            listing.link(name, number, posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname)))
        elif not member.isdir():
            listing.add(name, number, 0, -1)
    _require_end(listing.paths[number], file, tar.offset, end)


def _require_end(path: str, file: BinaryIO, offset: int, end: int) -> None:
    """Raise an error unless a tar file ends at `offset` by a block of zeros, with nothing but zeros up to `end`.

    Python's reader takes a damaged header, and the end of the file, for the end mark.
    """
    file.seek(offset)
    mark = file.read(min(tarfile.BLOCKSIZE, end - offset))
    if mark.strip(b"\0"):
        raise tarfile.ReadError(f"the header at byte {offset} is damaged")
    if len(mark) < tarfile.BLOCKSIZE:
        raise UsageError(
            f"{path}: has no end mark, so it may have been cut short; fetch it again, or if it is whole, add one with "
            f"head -c 1024 /dev/zero >> {path}"
        )
    left = end - file.tell()
    while left and left <= _LONGEST_END and not (block := file.read(min(left, 1 << 20))).strip(b"\0") and block:
        left -= len(block)
    if left:
        raise UsageError(
            f"{path}: has {left:,} bytes behind its end mark, perhaps a second tar file, which readers pass over; join "
            "tar files with tar --concatenate, or unpack this one with tar --ignore-zeros -xf"
        )
