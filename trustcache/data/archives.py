"""File trees: the files below one place: a folder, a tar file, a tar file of tar files, or several.

ImageNet is published as a tar file of one tar file per class, and webdataset's shards are tar files. Both are read
without unpacking: a tar file is a concatenation, so each of its files is a range of bytes.
"""

from __future__ import annotations

import functools
import glob
import os
import posixpath
import stat
import tarfile
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from trustcache.data.content import Stamp, stamp_of
from trustcache.errors import UsageError, first_line

SUFFIX = ".tar"
# First bytes of compressed files: gzip, xz, bzip2, zstandard. Their middle cannot be read without all before it.
_COMPRESSED = (b"\x1f\x8b", b"\xfd7zXZ", b"BZh", b"\x28\xb5\x2f\xfd")
LARGEST_FILE = 1 << 30
"""Bytes of a file that is read whole. An image of more is none: its pixels alone would not fit into memory."""
_LONGEST_HEADER = 1 << 20


def read_file(path: str, largest: int = LARGEST_FILE) -> bytes:
    """Return the bytes of a file. Raises OSError, for anything but a regular file of at most `largest` bytes too."""
    # A pipe without a writer would keep `open` waiting, and a device can be endless.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is no regular file")
        require_size(found.st_size, largest)
        return file.read()


def require_size(size: int, largest: int = LARGEST_FILE) -> None:
    """Raise OSError for a number of bytes that is too large to be read whole."""
    if size > largest:
        raise OSError(f"it has {size:,} bytes, of at most {largest:,}")


class FileTree(ABC):
    """Files by their names relative to `root`, which is a path for messages. `/` separates, "" is the root."""

    root: str

    @abstractmethod
    def entries(self, folder: str = "") -> Iterator[tuple[str, bool]]:
        """Yield the visible names directly in a folder, each with True for a folder. Raises UsageError."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Return the length of a file in bytes, -1 if it no longer exists."""

    @abstractmethod
    def stamp(self, name: str) -> Stamp:
        """Return what changes whenever the bytes of a file do, without reading it."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the bytes of a file. Raises OSError."""

    @abstractmethod
    def below(self, folder: str) -> FileTree:
        """Return the tree of one of its folders."""

    def walk(self, folder: str = "") -> Iterator[str]:
        """Yield the names of all files below a folder, relative to `root`, in no order.

        Raises UsageError for a folder that comes up twice, by a link.
        """
        # Plain strings: ImageNet's 1.28 million paths would take pathlib ten times as long.
        waiting, seen = [folder], dict[object, str]()
        while waiting:
            inside = waiting.pop()
            place = self.place(inside)
            if place in seen:
                raise UsageError(
                    f"{self.root}/{inside}: is the same folder as {self.root}/{seen[place]}, by a link; remove the link"
                )
            seen[place] = inside
            prefix = f"{inside}/" if inside else ""
            for name, is_folder in self.entries(inside):
                if is_folder:
                    waiting.append(prefix + name)
                else:
                    yield prefix + name

    def place(self, folder: str) -> object:
        """Return what tells a folder from others, whatever path leads to it."""
        return folder


class FolderTree(FileTree):
    """The files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)

    def entries(self, folder: str = "") -> Iterator[tuple[str, bool]]:
        try:
            with os.scandir(f"{self.root}/{folder}" if folder else self.root) as entries:
                found = [(e.name, _is_folder(e)) for e in entries if not e.name.startswith(".")]
        except OSError as error:
            raise UsageError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions") from None
        return iter(found)

    def place(self, folder: str) -> object:
        try:
            found = os.stat(f"{self.root}/{folder}")
        except OSError:  # it will be reported as one that cannot be listed
            return folder
        return found.st_dev, found.st_ino

    def size(self, name: str) -> int:
        try:
            return os.stat(f"{self.root}/{name}").st_size
        except OSError:  # a dangling link: listed here, and reported as a bad image when it is read
            return -1

    def stamp(self, name: str) -> Stamp:
        try:
            return stamp_of(os.stat(f"{self.root}/{name}"))
        except OSError:
            return ()

    def read(self, name: str) -> bytes:
        return read_file(f"{self.root}/{name}")

    def below(self, folder: str) -> FileTree:
        return FolderTree(Path(self.root) / folder)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: listed as a file, and reported when it is read
        return False


class TarTree(FileTree):
    """The files of one tar file below its folder `inside`; of several, each is a folder named by its stem."""

    def __init__(self, tars: tuple[Path, ...], inside: str = "", several: bool = False) -> None:
        self._listing = _list_all(tuple((str(tar), stamp_of(tar.stat())) for tar in tars), several)
        self._inside, self._several = inside, several
        shown = str(tars[0]) if len(tars) == 1 else f"{tars[0]} and {len(tars) - 1} more"
        self.root = f"{shown}/{inside}" if inside else shown
        if inside not in self._listing.folders:
            raise UsageError(f"{shown}: holds no folder '{inside}'; fetch it again, or correct the manifest's path")

    def entries(self, folder: str = "") -> Iterator[tuple[str, bool]]:
        found = self._listing.folders[posixpath.join(self._inside, folder).rstrip("/")]
        return ((name, member < 0) for name, member in found.items() if not name.startswith("."))

    def size(self, name: str) -> int:
        return self._listing.sizes[self._member(name)]

    def stamp(self, name: str) -> Stamp:
        listing, member = self._listing, self._member(name)
        return listing.offsets[member], listing.sizes[member], *listing.stamps[listing.tars[member]]

    def read(self, name: str) -> bytes:
        member = self._member(name)
        path = self._listing.paths[self._listing.tars[member]]
        require_size(self._listing.sizes[member])
        # Opened each time, which costs microseconds: processes must not share a position.
        with open(path, "rb", buffering=0) as file:
            file.seek(self._listing.offsets[member])
            data = file.read(self._listing.sizes[member])
        if len(data) < self._listing.sizes[member]:
            raise OSError(f"{path} ends before it; fetch the tar file again")
        return data

    def below(self, folder: str) -> FileTree:
        inside = posixpath.join(self._inside, folder).rstrip("/")
        return TarTree(tuple(Path(path) for path in self._listing.paths), inside, self._several)

    def _member(self, name: str) -> int:
        folder, base = posixpath.split(posixpath.join(self._inside, name))
        return self._listing.folders[folder][base]


class _Listing:
    """Index of tar files: by folder, each name's member number (-1: a folder); by member, the place of its bytes."""

    def __init__(self, paths: tuple[str, ...], stamps: tuple[Stamp, ...]) -> None:
        self.paths, self.stamps = paths, stamps
        self.folders: dict[str, dict[str, int]] = {"": {}}
        # Machine numbers: ImageNet has 1.28 million members.
        self.tars, self.offsets, self.sizes = array("q"), array("q"), array("q")

    def add(self, name: str, tar: int, offset: int, size: int) -> None:
        folder, base = posixpath.split(name)
        self._folder(folder)[base] = len(self.sizes)
        for column, value in ((self.tars, tar), (self.offsets, offset), (self.sizes, size)):
            column.append(value)

    def link(self, name: str, target: str) -> None:
        """List a file whose bytes stand under another name; skip it if that is missing."""
        folder, base = posixpath.split(target)
        member = self.folders.get(folder, {}).get(base, -1)
        if member >= 0:
            self.add(name, self.tars[member], self.offsets[member], self.sizes[member])

    def _folder(self, folder: str) -> dict[str, int]:
        found = self.folders.setdefault(folder, {})
        while folder:  # no recursion: a path may have thousands of parts
            folder, base = posixpath.split(folder)
            known = folder in self.folders
            self.folders.setdefault(folder, {}).setdefault(base, -1)
            if known:
                break
        return found


def open_tree(path: Path) -> FileTree:
    """Return the files at `path`: a folder, a tar file, a folder in one (`x.tar/a/b`), or all matches of a `*`.

    Raises UsageError if a tar file is compressed, damaged, or lacks the folder. Each process reads the headers of all
    members once.
    """
    tars, inside = _tars(path)
    return TarTree(tars, inside, several="*" in str(path)) if tars else FolderTree(path)


def tree_exists(path: Path) -> bool:
    """Return True if there is a folder or tar file at `path`; the content of a tar file is not read."""
    return bool(_tars(path)[0]) or path.is_dir()


def _tars(path: Path) -> tuple[tuple[Path, ...], str]:
    """Return the tar files that a path goes through, and the folder inside them."""
    for place in (path, *path.parents):
        if place.suffix == SUFFIX:
            inside = "" if place == path else path.relative_to(place).as_posix()
            if "*" in str(place):
                return tuple(Path(found) for found in sorted(glob.glob(str(place)))), inside
            return ((place,) if place.is_file() else ()), inside
    return (), ""


@functools.lru_cache(maxsize=4)  # the 20 data sets in one of ImageNet-C's archives share a listing
def _list_all(tars: tuple[tuple[str, Stamp], ...], several: bool) -> _Listing:
    listing = _Listing(tuple(path for path, _ in tars), tuple(stamp for _, stamp in tars))
    for number, path in enumerate(listing.paths):
        _list_one(listing, number, path, f"{Path(path).stem}/" if several else "")
    return listing


def _list_one(listing: _Listing, number: int, path: str, prefix: str) -> None:
    try:
        with open(path, "rb") as file:
            if file.read(6).startswith(_COMPRESSED):
                raise UsageError(f"{path}: is compressed, so single images cannot be read from it; unpack it")
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


def _add_members(listing: _Listing, number: int, file: BinaryIO, end: int, prefix: str) -> None:
    """List the members from where `file` stands, those of a tar file inside under a folder named by its stem."""
    tar = tarfile.TarFile(fileobj=_Headers(file, end))  # type: ignore[arg-type]
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # it would keep them all
        name = prefix + posixpath.normpath(member.name).lstrip("/")
        if member.size < 0 or member.issparse():
            raise tarfile.ReadError(f"{name} is stored as a sparse file, or in less than no bytes")
        if member.isreg() and name.endswith(SUFFIX):
            file.seek(member.offset_data)
            _add_members(listing, number, file, member.offset_data + member.size, f"{name.removesuffix(SUFFIX)}/")
        elif member.isreg():
            listing.add(name, number, member.offset_data, member.size)
        elif member.islnk():
            listing.link(name, prefix + posixpath.normpath(member.linkname))
        elif member.issym():
            listing.link(name, posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname)))
    # Python's reader takes a damaged header for the end, which is a block of zeros or of nothing.
    file.seek(tar.offset)
    if tar.offset < end and file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"the header at byte {tar.offset} is damaged")
