"""Webdataset shards: tar files in which a sample is an image and a `.cls` file with its label, under one key."""

from __future__ import annotations

import posixpath
from pathlib import Path

from trustcache.data.archives import open_tree
from trustcache.data.layouts.folders import image_names
from trustcache.data.samples import FileSamples
from trustcache.errors import UsageError

_MOST_CLASSES = 1_000_000  # where only labels tell of them


def read_webdataset(data_root: Path, classes: tuple[str, ...] | None, path: str) -> FileSamples:
    """List images in the order of shards and keys; `.cls` holds the number of the class, as text."""
    tree = open_tree(data_root / path)
    # A key ends at the first dot; x.seg.png is another part of sample x, not its image.
    ids = [name for name in image_names(tree) if posixpath.basename(name).count(".") == 1]
    labels = []
    for name in ids:
        label_name = f"{posixpath.splitext(name)[0]}.cls"
        try:
            labels.append(int(tree.read(label_name)))
        except (OSError, KeyError, ValueError):
            raise UsageError(
                f"{tree.root}/{name}: has no label in '{label_name}'; write the shards with one .cls file per sample"
            ) from None
    classes = classes or tuple(str(label) for label in range(min(max(labels, default=-1) + 1, _MOST_CLASSES)))
    for name, label in zip(ids, labels, strict=True):
        if not 0 <= label < len(classes):
            raise UsageError(
                f"{tree.root}/{name}: has the label {label} for {len(classes)} classes; use this data set's files, "
                "or name all 'classes' in its manifest"
            )
    return FileSamples(tree, ids, labels, classes)
