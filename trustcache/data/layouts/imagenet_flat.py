"""ImageNet's validation images as published: one flat folder or tar file, and labels in the devkit."""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from io import BytesIO
from pathlib import Path

from trustcache.data.archives import FolderTree, open_tree, tree_exists
from trustcache.data.image_files import image_files
from trustcache.data.samples import FileSamples
from trustcache.errors import UsageError

_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.jpe?g", re.IGNORECASE)
_TRUTH, _SYNSETS = "data/ILSVRC2012_validation_ground_truth.txt", "data/meta.mat"


def flat_exists(data_root: Path, path: str, devkit: str) -> bool:
    """Return True if images lie side by side in the folder or tar file; class folders are another layout."""
    place = data_root / path
    if not place.is_dir():
        return tree_exists(place)
    return any(_NAME.fullmatch(name) for name, _ in FolderTree(place).entries())


def read_flat(data_root: Path, classes: tuple[str, ...] | None, path: str, devkit: str) -> FileSamples:
    """List images numbered by their names; line n of the devkit's ground truth is the class of image n, by ILSVRC id.

    ILSVRC ids are in another order than WordNet ids; `meta.mat` maps one to the other.
    """
    tree = open_tree(data_root / path)
    found = image_files(tree)
    names = [name for name in found.names if _NAME.fullmatch(name)]
    others = Counter({"not named ILSVRC2012_val_*": len(found.names) - len(names)})
    kit = data_root / devkit
    wnids = _wnid_of_id(kit)
    truth = _truth(kit)
    classes = classes or tuple(sorted(wnids.values()))
    number = {wnid: label for label, wnid in enumerate(classes)}
    labels = []
    for name in names:
        match = _NAME.fullmatch(name)
        row = int(match[1]) if match else 0
        wnid = wnids.get(truth[row - 1]) if 1 <= row <= len(truth) else None
        if wnid not in number:
            raise UsageError(
                f"{tree.root}/{name}: the devkit in {kit} has no class for it among {len(truth)} lines of ground "
                "truth; fetch ILSVRC2012_devkit_t12.tar.gz again"
            )
        labels.append(number[wnid])
    return FileSamples(tree, names, labels, classes, found.passed_over + others)


def _wnid_of_id(devkit: Path) -> dict[int, str]:
    """Map ILSVRC2012 ids to WordNet ids, for the synsets that have images (no children)."""
    import scipy

    try:
        synsets = scipy.io.loadmat(BytesIO(_devkit_file(devkit, _SYNSETS)), squeeze_me=True)["synsets"]
        leaves = synsets[synsets["num_children"] == 0]
        return {int(i): str(w) for i, w in zip(leaves["ILSVRC2012_ID"], leaves["WNID"], strict=True)}
    except (scipy.io.matlab.MatReadError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UsageError(f"{devkit}/{_SYNSETS}: not the devkit's table of classes ({error}); fetch it again") from None


def _truth(devkit: Path) -> list[int]:
    try:
        return [int(line) for line in _devkit_file(devkit, _TRUTH).split()]
    except ValueError as error:
        raise UsageError(f"{devkit}/{_TRUTH}: not one number a line ({error}); fetch the devkit again") from None


def _devkit_file(devkit: Path, name: str) -> bytes:
    """Read a file of the devkit from its folder, or from the archive as published."""
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
            f"published beside ImageNet: put it, or the folder it unpacks to, into {devkit.parent}"
        ) from None
