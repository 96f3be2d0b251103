"""Image files of a tree: told from others by their suffix, or without one by their first bytes; others are counted.

A file with the suffix of an image is one, and is reported if it cannot be read. Files of other kinds are passed over,
as torchvision does, but counted by the reason.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from trustcache.data.archives import FileTree
from trustcache.data.samples import IMAGE_SUFFIXES

# How files of the formats in IMAGE_FORMATS begin.
_BEGINNINGS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|BM.{4}\0{4}|P[1-6][\s#]|RIFF.{4}WEBP|II[*+]\0|MM\0[*+]|GIF8[79]a", re.DOTALL
)
_SHOWN = 6


@dataclass(frozen=True)
class ImageFiles:
    """Names of image files, sorted, and the number of other files by the reason why they are passed over."""

    names: list[str]
    passed_over: Counter[str]


def image_files(tree: FileTree, folder: str = "") -> ImageFiles:
    """Return the image files of a tree below a folder. Raises UsageError where it cannot be listed."""
    names, passed_over = [], Counter[str]()
    for name in tree.walk(folder, passed_over):
        if reason := why_no_image(tree, name):
            passed_over[reason] += 1
        else:
            names.append(name)
    passed_over["replaced by a later one of the same name"] += tree.replaced(folder)
    return ImageFiles(sorted(names), +passed_over)


def why_no_image(tree: FileTree, name: str) -> str:
    """Return the reason why a file of a tree is no image, "" where it is one.

    >>> [why_no_image(FolderTree(Path()), name) for name in ("a/B.JPG", "a.txt", "a")]
    ['', 'with the suffix .txt', 'without a suffix and unreadable (No such file or directory)']
    """
    suffix = posixpath.splitext(name)[1].lower()
    if suffix in IMAGE_SUFFIXES:
        return ""
    if suffix:
        return f"with the suffix {suffix}"
    try:
        found = _BEGINNINGS.match(tree.head(name))
    except OSError as error:
        return f"without a suffix and unreadable ({error.strerror or error})"
    return "" if found else "without the suffix or the content of an image"


def told(passed_over: Mapping[str, int]) -> str:
    """Return in words how many files are passed over and why, "" for none.

    >>> told({"hidden": 2, "with the suffix .txt": 1})
    'passed over 3 files: 2 hidden, 1 with the suffix .txt'
    """
    counts = Counter(passed_over).most_common()
    parts = [f"{count:,} {reason}" for reason, count in counts[:_SHOWN]]
    if others := sum(count for _, count in counts[_SHOWN:]):
        parts.append(f"{others:,} for other reasons")
    total = sum(passed_over.values())
    return f"passed over {total:,} file{'s' * (total > 1)}: {', '.join(parts)}" if total else ""
