"""Several files in one text: lists in braces, as a shell and webdataset write them, and `*`, `?` and `[0-9]`."""

from __future__ import annotations

import glob
import itertools
import os
import re
from pathlib import Path

from trustcache.errors import UsageError

PARTS = re.compile(
    r"(train|test|val|valid|eval|dev)(ing|idation|uation)?|calib(ration)?|holdout|pool|(un)?labell?ed"
    r"|images|data|labels|metadata|val_annotations",
    re.IGNORECASE,
)
"""Names of folders that are parts of a data set, and do not tell data sets apart."""
_BRACES = re.compile(r"\{(\d{1,18})\.\.(\d{1,18})\}|\{([^{}]*,[^{}]*)\}")
_WILD = re.compile(r"[*?]|\[[^\[\]]+\]")
_MOST = 1_000_000


def is_pattern(text: str) -> bool:
    """Return True for a text with a `*`, or a list in braces; with `?` or brackets if there is no file of that name."""
    return "*" in text or bool(_BRACES.search(text)) or (bool(_WILD.search(text)) and not os.path.lexists(text))


def is_within(place: str, folder: str) -> bool:
    """Return True for a folder and for what lies in it, both as `os.path.realpath` writes them.

    >>> is_within("/data/birds/a.png", "/data/birds"), is_within("/data/birds-2/a.png", "/data/birds")
    (True, False)
    """
    return os.path.commonpath([place, folder]) == folder


def matches(pattern: str) -> list[Path]:
    """Return the files that a pattern means, in order: of braces each, be it there or not, of wild cards what matches.

    Brackets stand for themselves where this finds files: names of folders have them. Raises UsageError for a list of
    more than a million.

    >>> [str(path) for path in matches("s-{08..10}.tar")]
    ['s-08.tar', 's-09.tar', 's-10.tar']
    """
    texts = _expanded(pattern)
    found = [_found(text) if _WILD.search(text) else [text] for text in texts]
    return [Path(text) for text in itertools.chain.from_iterable(found)]


def _found(text: str) -> list[str]:
    return sorted(glob.glob(text.replace("[", "[[]")) or glob.glob(text))


def _expanded(pattern: str) -> list[str]:
    texts = [""]
    place = 0
    for braces in _BRACES.finditer(pattern):
        first, last, words = braces.groups()
        if first:
            step = 1 if int(first) <= int(last) else -1
            numbers = range(int(first), int(last) + step, step)[: _MOST + 1]
            parts = [f"{number:0{len(first)}d}" for number in numbers]
        else:
            parts = words.split(",")
        if len(texts) * len(parts) > _MOST:
            raise UsageError(f"{pattern}: means more than {_MOST:,} files; name fewer")
        before = pattern[place : braces.start()]
        texts = [text + before + part for text in texts for part in parts]
        place = braces.end()
    return [text + pattern[place:] for text in texts]


def base_name(pattern: str) -> str:
    """Return the beginning of a pattern's last part that all its files share, without a separator behind.

    >>> base_name("shards/train-{0000..0011}.tar"), base_name("shards/*.tar")
    ('train', '')
    """
    name = pattern.rpartition("/")[2]
    special = re.search(f"{_WILD.pattern}|{_BRACES.pattern}", name)
    return name[: special.start()].rstrip("-_. ") if special else name
