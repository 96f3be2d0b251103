"""Layouts: how a data set's files lie on disk, and what samples they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trustcache.data.archives import tree_exists
from trustcache.data.layouts.cifar import read_binary_batches, read_cifar_c, read_python_batches
from trustcache.data.layouts.digits import read_digits
from trustcache.data.layouts.folders import read_folders, read_numbered_folders
from trustcache.data.layouts.idx import idx_path, read_idx
from trustcache.data.layouts.imagenet_flat import flat_exists, read_flat
from trustcache.data.layouts.webdataset import read_webdataset
from trustcache.data.manifest import Files, Manifest
from trustcache.data.samples import Samples


@dataclass(frozen=True)
class Layout:
    """`exists(files, data_root)` takes a glance; `read(files, data_root, manifest)` lists the samples.

    Reading raises UsageError where the files are not what the layout or the manifest says.
    """

    exists: Callable[[Files, Path], bool]
    read: Callable[[Files, Path, Manifest], Samples]


def _tree(files: Files, data_root: Path) -> bool:
    return tree_exists(data_root / files.path)


def _first_member(files: Files, data_root: Path) -> bool:
    return (data_root / files.path / files.members[0]).is_file()


READERS: dict[str, Layout] = {
    "folders": Layout(_tree, read_folders),
    "numbered-folders": Layout(_tree, read_numbered_folders),
    "imagenet-flat": Layout(flat_exists, read_flat),
    "webdataset": Layout(_tree, read_webdataset),
    "cifar-python": Layout(_first_member, read_python_batches),
    "cifar-binary": Layout(_first_member, read_binary_batches),
    "cifar-c": Layout(lambda files, data_root: (data_root / files.images).is_file(), read_cifar_c),
    "idx": Layout(lambda files, data_root: idx_path(data_root, files.images) is not None, read_idx),
    "digits": Layout(lambda files, data_root: True, read_digits),
}
"""Every layout of a manifest; a new one is a function, a line here, and its keys in
`trustcache.data.manifest.LAYOUTS`."""
