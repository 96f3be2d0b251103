"""File trees: the files below one place: a folder, a tar file, a tar file of tar files, or several.

ImageNet is published as a tar file of one tar file per class, and webdataset's shards are tar files. Both are read
without unpacking: a tar file is a concatenation, so each of its files is a range of bytes.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from trustcache.data.content import Stamp, stamp_of
from trustcache.data.path_patterns import is_pattern, matches
from trustcache.data.progress import Advance
from trustcache.data.system_calls import in_threads_if_slow
from trustcache.data.tar_listing import SUFFIX, compressed, list_members, refuse_compressed
from trustcache.errors import UsageError

LARGEST_FILE = 1 << 30
"""Bytes of a file that is read whole. An image of more is none: its pixels alone would not fit into memory."""
STATUS = np.dtype([("size", "<i8"), ("modified", "<i8"), ("changed", "<i8"), ("inode", "<u8")])
"""A file's stamp as a row of an array."""
_GONE = (-1, 0, 0, 0)
_AT_ONCE = 1000
_SLOW_S = 50e-6
"""A look at a file of a disk behind a network takes longer; of one in this machine some 5 microseconds."""
_HEAD = 64
# What systems put into folders beside the files that they hide by a dot.
_OF_SYSTEMS = ("__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini")


def read_file(path: str, largest: int = LARGEST_FILE) -> bytes:
    """Return the bytes of a file. Raises OSError, for anything but a regular file of at most `largest` bytes too."""
    # A pipe without a writer would keep `open` waiting, and a device can be endless.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is no regular file")
        require_size(found.st_size, largest)
        return file.read()


def read_head(path: str) -> bytes:
    """Return the first bytes of a regular file. Raises OSError."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("it is no regular file")
    with open(path, "rb", buffering=0) as file:
        return file.read(_HEAD)


def why_hidden(name: str) -> str:
    """Return the reason why a file or folder of this name is passed over wherever it lies, "" where it is not."""
    return "hidden" if name.startswith(".") else f"named {name}" if name.lower() in _OF_SYSTEMS else ""


def require_size(size: int, largest: int = LARGEST_FILE) -> None:
    """Raise OSError for a number of bytes that is too large to be read whole."""
    if size > largest:
        raise OSError(f"it has {size:,} bytes, of at most {largest:,}")


class FileTree(ABC):
    """Files by their names relative to `root`, which is a path for messages. `/` separates, "" is the root."""

    root: str

    @abstractmethod
    def everything(self, folder: str = "") -> Iterator[tuple[str, bool]]:
        """Yield the names directly in a folder, each with True for a folder. Raises UsageError."""

    def entries(self, folder: str = "") -> Iterator[tuple[str, bool]]:
        """Yield the names directly in a folder but those that `why_hidden` names. Raises UsageError."""
        return ((name, is_folder) for name, is_folder in self.everything(folder) if not why_hidden(name))

    @abstractmethod
    def size(self, name: str) -> int:
        """Return the length of a file in bytes, -1 if it no longer exists."""

    def has(self, name: str) -> bool:
        """Return True if there is such a file."""
        return self.size(name) >= 0

    @abstractmethod
    def stamp(self, name: str) -> Stamp:
        """Return what changes whenever the bytes of a file do, without reading it."""

    def statuses(self, names: Sequence[str], advance: Advance) -> np.ndarray | None:
        """Return the stamps of some files as `STATUS` (N,), size -1 for one that is gone; None where a look-up is free.

        advance: told of the files done.
        """
        return None

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the bytes of a file. Raises OSError."""

    @abstractmethod
    def head(self, name: str) -> bytes:
        """Return the first bytes of a file. Raises OSError."""

    @abstractmethod
    def below(self, folder: str) -> FileTree:
        """Return the tree of one of its folders."""

    def walk(self, folder: str = "", passed_over: Counter[str] | None = None) -> Iterator[str]:
        """Yield the names of the files below a folder, relative to `root`, in no order, but those that are hidden.

        passed_over: counts these, by the reason that `why_hidden` gives. Raises UsageError for a folder that comes up
        twice, by a link.
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
            for name, is_folder in self.everything(inside):
                if reason := why_hidden(name):
                    if passed_over is not None:
                        passed_over[reason] += self.count(prefix + name) if is_folder else 1
                elif is_folder:
                    waiting.append(prefix + name)
                else:
                    yield prefix + name

    def count(self, folder: str) -> int:
        """Return the number of files below a folder, hidden ones too; one behind a link, or not to be listed, is 1."""
        if self.is_link(folder):
            return 1
        found, waiting = 0, [folder]
        while waiting:
            inside = waiting.pop()
            try:
                names = list(self.everything(inside))
            except UsageError:
                found += 1
                continue
            folders = [f"{inside}/{name}" for name, is_folder in names if is_folder]
            links = sum(map(self.is_link, folders))
            waiting += [name for name in folders if not self.is_link(name)]
            found += len(names) - len(folders) + links
        return found

    def is_link(self, folder: str) -> bool:
        """Return True if a folder lies elsewhere."""
        return False

    def replaced(self, folder: str) -> int:
        """Return the number of files below a folder in whose place a later one of the same name is read."""
        return 0

    def place(self, folder: str) -> object:
        """Return what tells a folder from others, whatever path leads to it."""
        return folder


class FolderTree(FileTree):
    """The files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)

    def everything(self, folder: str = "") -> Iterator[tuple[str, bool]]:
        try:
            with os.scandir(f"{self.root}/{folder}" if folder else self.root) as entries:
                found = [(entry.name, _is_folder(entry)) for entry in entries]
        except OSError as error:
            raise UsageError(
                f"{error.filename}: cannot be listed ({error.strerror}); {_REMEDIES.get(error.errno or 0, _MEND)}"
            ) from None
        return iter(found)

    def is_link(self, folder: str) -> bool:
        return os.path.islink(f"{self.root}/{folder}")

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

    def statuses(self, names: Sequence[str], advance: Advance) -> np.ndarray:
        found, done = np.empty(len(names), STATUS), 0
        parts = [names[first : first + _AT_ONCE] for first in range(0, len(names), _AT_ONCE)]

        def look(part: Sequence[str]) -> list[Stamp]:
            return [self.stamp(name) or _GONE for name in part]

        for stamps in in_threads_if_slow(look, parts, _SLOW_S * _AT_ONCE):
            found[done : done + len(stamps)] = stamps
            done += len(stamps)
            advance(len(stamps))
        return found

    def read(self, name: str) -> bytes:
        return read_file(f"{self.root}/{name}")

    def head(self, name: str) -> bytes:
        return read_head(f"{self.root}/{name}")

    def below(self, folder: str) -> FileTree:
        return FolderTree(Path(self.root) / folder)


_REMEDIES = {
    errno.EACCES: "check its permissions",
    errno.ELOOP: "a link in its path leads back to itself: remove that link",
    errno.ENOENT: "correct the path",
}
_MEND = "mend that, or correct the path"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: listed as a file, and reported when it is read
        return False


class TarTree(FileTree):
    """The files of one tar file below its folder `inside`; of several, each is a folder named by its stem.

    version: as of `Listing`.
    """

    def __init__(self, tars: tuple[Path, ...], inside: str = "", several: bool = False) -> None:
        self._listing = list_members(tuple((str(tar), stamp_of(tar.stat())) for tar in tars), several)
        self._inside, self._several, self.version = inside, several, self._listing.version
        shown = str(tars[0]) if len(tars) == 1 else f"{tars[0]} and {len(tars) - 1} more"
        self.root = f"{shown}/{inside}" if inside else shown
        if inside not in self._listing.folders:
            raise UsageError(f"{shown}: holds no folder '{inside}'; fetch it again, or correct the manifest's path")

    def everything(self, folder: str = "") -> Iterator[tuple[str, bool]]:
        found = self._listing.folders[posixpath.join(self._inside, folder).rstrip("/")]
        return ((name, member < 0) for name, member in found.items())

    def size(self, name: str) -> int:
        member = self._member(name)
        return self._listing.sizes[member] if member >= 0 else -1

    def stamp(self, name: str) -> Stamp:
        listing, member = self._listing, self._member(name)
        if member < 0:
            return ()
        return listing.offsets[member], listing.sizes[member], *listing.stamps[listing.tars[member]]

    def read(self, name: str) -> bytes:
        require_size(self.size(name))
        return self._bytes(name, self.size(name))

    def head(self, name: str) -> bytes:
        return self._bytes(name, min(self.size(name), _HEAD))

    def _bytes(self, name: str, size: int) -> bytes:
        if size < 0:
            raise OSError("it is no regular file, or a link to one that the tar file does not hold")
        member = self._member(name)
        path = self._listing.paths[self._listing.tars[member]]
        # Opened each time, which costs microseconds: processes must not share a position.
        with open(path, "rb", buffering=0) as file:
            file.seek(self._listing.offsets[member])
            data = file.read(size)
        if len(data) < size:
            raise OSError(f"{path} ends before it; fetch the tar file again")
        return data

    def replaced(self, folder: str) -> int:
        prefix = posixpath.join(self._inside, folder, "").lstrip("/")
        return sum(name.startswith(prefix) for name in self._listing.replaced)

    def below(self, folder: str) -> FileTree:
        inside = posixpath.join(self._inside, folder).rstrip("/")
        return TarTree(tuple(Path(path) for path in self._listing.paths), inside, self._several)

    def _member(self, name: str) -> int:
        return self._listing.member(posixpath.join(self._inside, name))


def open_tree(path: Path) -> FileTree:
    """Return the files at `path`: a folder, a tar file, a folder in one (`x.tar/a/b`), or several tar files.

    Several are all matches of a `*`, or a list in braces (`s-{0000..0011}.tar`). Raises UsageError if a tar file is
    compressed, damaged or missing in the list, or lacks the folder. Each process reads the headers of all members once.
    """
    if packed := compressed(path):
        refuse_compressed(str(packed), read_head(str(packed)), "" if packed == path else str(path))
    tars, inside, several = _tars(path)
    if not tars:
        return FolderTree(path)
    if missing := [tar for tar in tars if not tar.is_file()]:
        raise UsageError(f"{missing[0]}: is missing, as {len(missing)} of the {len(tars)} files of {path}; fetch it")
    stems = Counter(tar.stem for tar in tars)
    if len(stems) < len(tars):
        raise UsageError(
            f"{path}: has {max(stems.values())} files named {max(stems, key=stems.__getitem__)}; rename one"
        )
    return TarTree(tars, inside, several)


def tree_exists(path: Path) -> bool:
    """Return True if there is a folder or archive at `path`, or any of several; the content is not read."""
    return path.is_dir() or any(tar.is_file() for tar in _tars(path)[0]) or compressed(path) is not None


def _tars(path: Path) -> tuple[tuple[Path, ...], str, bool]:
    """Return the tar files that a path goes through, the folder inside them, and True where it may mean several."""
    for place in (path, *path.parents) if SUFFIX in str(path).lower() else ():
        if place.suffix.lower() == SUFFIX:
            inside = "" if place == path else path.relative_to(place).as_posix()
            if place.is_file():
                return (place,), inside, False
            if is_pattern(str(place)):
                return tuple(matches(str(place))), inside, True
            return (), inside, False
    return (), "", False
