"""Images whose names end in their class: `ILSVRC2012_val_00000001_n01440764.JPEG`, as Hugging Face packs ImageNet."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from trustcache.data.archives import FolderTree, open_tree, tree_exists
from trustcache.data.image_files import image_files
from trustcache.data.layouts.numbers import labels_as_written
from trustcache.data.samples import FileSamples

_WORDNET = re.compile(r".+_n\d{8}\.jpe?g", re.IGNORECASE)


def bare_named_files(path: Path) -> dict[str, Any] | None:
    """Return the keys for a folder or tar file of ImageNet's images that are named after their WordNet ids."""
    entries = list(open_tree(path).entries()) if tree_exists(path) else []
    folders = any(is_folder for _, is_folder in entries)
    return None if folders or not any(_WORDNET.fullmatch(name) for name, _ in entries) else {"path": str(path)}


def named_files_exist(data_root: Path, path: str) -> bool:
    """Return True if there is a tar file, or a folder in which files lie side by side, and no class folders."""
    place = data_root / path
    if not place.is_dir():
        return tree_exists(place)
    entries = list(FolderTree(place).entries())
    return bool(entries) and not any(is_folder for _, is_folder in entries)


def read_named_files(data_root: Path, classes: tuple[str, ...] | None, path: str) -> FileSamples:
    """List images; what stands behind the last `_` of a name, before the suffix, is the class."""
    tree = open_tree(data_root / path)
    found = image_files(tree)
    stems = {name: posixpath.splitext(posixpath.basename(name))[0] for name in found.names}
    ids = [name for name in found.names if "_" in stems[name]]
    found.passed_over["without a class in their name"] += len(stems) - len(ids)
    texts = [stems[name].rpartition("_")[2] for name in ids]
    labels, classes = labels_as_written(texts, classes, lambda row: f"{tree.root}/{ids[row]}")
    return FileSamples(tree, ids, labels, classes, +found.passed_over)
