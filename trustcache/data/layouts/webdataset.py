"""Webdataset shards: tar files in which a sample is an image and a file with its label, `.cls` or `.json`."""

from __future__ import annotations

import itertools
import json
import posixpath
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from trustcache.data.archives import FileTree, TarTree, open_tree
from trustcache.data.image_files import image_files, why_no_image
from trustcache.data.kept_looks import seen_once
from trustcache.data.layouts.numbers import labels_as_written
from trustcache.data.path_patterns import is_pattern
from trustcache.data.samples import FileSamples
from trustcache.errors import UsageError

_LABELS = (".cls", ".json", ".CLS", ".JSON")
_GLANCE = 10_000
_FIELDS = ("label", "cls", "class", "target", "label_id", "class_id", "class_name")
"""Entries of a `.json` file that are a sample's label; the first one there counts."""


def bare_webdataset(path: Path) -> dict[str, Any] | None:
    """Return the keys for tar files in which an image lies beside its label, None for others.

    Images in folders of one tar file may have `.json` files for other ends; these are shards only if they hold a label.
    """
    tree = open_tree(path)
    if not isinstance(tree, TarTree):
        return None
    names = [name for name in itertools.islice(tree.walk(), _GLANCE) if not why_no_image(tree, name)]
    labelled = ((name, _label_file(tree, stem)) for name in names for stem in (posixpath.splitext(name)[0], _key(name)))
    image, file = next(((name, file) for name, file in labelled if file), ("", ""))
    if file.lower().endswith(".json") and "/" in image and not is_pattern(str(path)):
        try:
            _label(tree, image, file)
        except UsageError:
            return None
    return {"path": str(path)} if file else None


def read_webdataset(data_root: Path, classes: tuple[str, ...] | None, path: str) -> FileSamples:
    """List images in the order of shards and keys.

    `.cls` holds the number or name of the class as text, `.json` has it as `label`. A key ends at the first dot, so
    x.seg.png is another part of sample x, unless it has a label of its own, x.seg.cls, or is the only image of x. So is
    the second of two images with the same label.
    """
    tree = open_tree(data_root / path)
    found = image_files(tree)
    images_of = Counter(map(_key, found.names))
    ids, label_files, files = [], [], set()
    for name in found.names:
        key, stem = _key(name), posixpath.splitext(name)[0]
        file = _label_file(tree, stem) or (_label_file(tree, key) if images_of[key] == 1 else None)
        if file in files or (file is None and stem != key):
            found.passed_over["other parts of samples"] += 1
            continue
        label_files.append(file or f"{stem}.cls")
        ids.append(name)
        files.add(file)
    for file in files:
        found.passed_over[f"with the suffix {posixpath.splitext(file or '')[1].lower()}"] -= 1
    texts = _labels(tree, ids, label_files)
    labels, classes = labels_as_written(texts, classes, lambda row: f"{tree.root}/{ids[row]}", numbers_first=True)
    return FileSamples(tree, ids, labels, classes, +found.passed_over)


def _key(name: str) -> str:
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.partition(".")[0])


def _label_file(tree: FileTree, stem: str) -> str | None:
    return next((stem + suffix for suffix in _LABELS if tree.has(stem + suffix)), None)


def _labels(tree: FileTree, images: list[str], files: list[str]) -> list[str]:
    """Return the images' labels as texts; those in large tar files are kept for the user's next call."""

    def look() -> bytes:
        return msgspec.json.encode([_label(tree, image, file) for image, file in zip(images, files, strict=True)])

    version = tree.version if isinstance(tree, TarTree) else ""
    kept = seen_once(f"labels {tree.root} {files}", version, look) if version else look()
    return msgspec.json.decode(kept, type=list[str])


def _label(tree: FileTree, image: str, file: str) -> str:
    """Return an image's label as text. Raises UsageError where the file holds none."""
    try:
        text = tree.read(file).decode().strip()
        if file.lower().endswith(".json"):
            table = json.loads(text)
            text = table if not isinstance(table, dict) else next(table[key] for key in _FIELDS if key in table)
        if isinstance(text, bool) or not isinstance(text, str | int) or text == "":
            raise ValueError
        return str(text)
    except (OSError, KeyError, ValueError, RecursionError, StopIteration):
        raise UsageError(
            f"{tree.root}/{image}: has no label in '{file}'; write the shards with one .cls file per sample, or a "
            f".json file with one of {', '.join(_FIELDS)}"
        ) from None
