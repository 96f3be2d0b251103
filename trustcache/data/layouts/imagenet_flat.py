"""ImageNet's validation images as they are published: one flat folder or tar file, and labels in the devkit."""

from __future__ import annotations

import re
import tarfile
from io import BytesIO
from pathlib import Path

from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from trustcache.data.archives import FolderTree, open_tree, tree_exists
from trustcache.data.layouts.folders import image_names
from trustcache.data.manifest import Files, Manifest
from trustcache.data.samples import FileSamples
from trustcache.errors import UsageError

_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.jpe?g", re.IGNORECASE)
_TRUTH, _SYNSETS = "data/ILSVRC2012_validation_ground_truth.txt", "data/meta.mat"


def flat_exists(files: Files, data_root: Path) -> bool:
    """Whether images lie there side by side, be they in a tar file; class folders would be another layout."""
    path = data_root / files.path
    if not path.is_dir():
        return tree_exists(path)
    return any(_NAME.fullmatch(name) for name, _ in FolderTree(path).entries())


def read_flat(files: Files, data_root: Path, manifest: Manifest) -> FileSamples:
    """Images numbered by their names; line n of the devkit's ground truth is the n-th image's class, by ILSVRC id.

    Those ids are in another order than the WordNet ids; `meta.mat` says which belongs to which.
    """
    tree = open_tree(data_root / files.path)
    names = [name for name in image_names(tree) if _NAME.fullmatch(name)]
    devkit = data_root / files.devkit
    wnids = _wnid_of_id(devkit)
    truth = _truth(devkit)
    classes = manifest.classes or tuple(sorted(wnids.values()))
    number = {wnid: label for label, wnid in enumerate(classes)}
    labels = []
    for name in names:
        match = _NAME.fullmatch(name)
        row = int(match[1]) if match else 0
        wnid = wnids.get(truth[row - 1]) if 1 <= row <= len(truth) else None
        if wnid not in number:
            raise UsageError(
                f"{tree.root}/{name}: the devkit in {devkit} has no class for it, with its {len(truth)} lines of "
                "ground truth; fetch ILSVRC2012_devkit_t12.tar.gz again"
            )
        labels.append(number[wnid])
    return FileSamples(tree, names, labels, classes)


def _wnid_of_id(devkit: Path) -> dict[int, str]:
    """WordNet ids by ILSVRC2012 id, of the synsets that have images (no children)."""
    try:
        synsets = loadmat(BytesIO(_devkit_file(devkit, _SYNSETS)), squeeze_me=True)["synsets"]
        leaves = synsets[synsets["num_children"] == 0]
        return {int(i): str(w) for i, w in zip(leaves["ILSVRC2012_ID"], leaves["WNID"], strict=True)}
    except (MatReadError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UsageError(f"{devkit}/{_SYNSETS}: not the devkit's table of classes ({error}); fetch it again") from None


def _truth(devkit: Path) -> list[int]:
    try:
        return [int(line) for line in _devkit_file(devkit, _TRUTH).split()]
    except ValueError as error:
        raise UsageError(f"{devkit}/{_TRUTH}: not one number a line ({error}); fetch the devkit again") from None


def _devkit_file(devkit: Path, name: str) -> bytes:
    """A file of the devkit, out of its folder or of the archive as it is published."""
    archive = devkit.with_name(devkit.name + ".tar.gz")
    try:
        if not devkit.is_dir() and archive.is_file():
            with tarfile.open(archive) as tar:
                member = tar.extractfile(f"{devkit.name}/{name}")
                if member is None:
                    raise KeyError(name)
                return member.read()
        return (devkit / name).read_bytes()
    except (OSError, KeyError, tarfile.TarError) as error:
        raise UsageError(
            f"{devkit / name}: cannot be read ({error}); the labels of the images are in ILSVRC2012_devkit_t12.tar.gz, "
            f"from where ImageNet came: put it, or what it unpacks to, into {devkit.parent}"
        ) from None
