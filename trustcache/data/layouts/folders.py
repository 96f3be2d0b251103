"""Class folders, in a folder or in tar files: each holds the images of the class it is named after."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from trustcache.data.archives import FileTree, open_tree, why_hidden
from trustcache.data.image_files import image_files, why_no_image
from trustcache.data.layouts.numbers import normal_form
from trustcache.data.path_patterns import PARTS
from trustcache.data.progress import listing, silent
from trustcache.data.samples import FileSamples
from trustcache.data.system_calls import in_threads
from trustcache.data.tar_listing import SUFFIX
from trustcache.errors import UsageError

# Folders that are listed in no time.
_FEW = 100


def read_folders(data_root: Path, classes: tuple[str, ...] | None, path: str) -> FileSamples:
    """List folders named after the classes; without class names, the sorted folder names are the classes."""
    tree, outside = _innermost(open_tree(data_root / path), classes)
    folders = _folders(tree)
    if not classes:
        _refuse_splits(tree, folders)
    return _labelled(tree, folders, _by_name(tree, folders, classes), outside)


def read_numbered_folders(data_root: Path, classes: tuple[str, ...] | None, path: str) -> FileSamples:
    """List folders named by class numbers, as in ImageNetV2: 0, 1, … 999."""
    tree, outside = _innermost(open_tree(data_root / path), classes)
    folders = _folders(tree)
    names = classes or tuple(str(label) for label in range(len(folders)))

    def label(name: str) -> int | None:
        return int(name) if name.isdecimal() and int(name) < len(names) else None

    return _labelled(tree, folders, (names, label), outside)


def read_nested_folders(data_root: Path, classes: tuple[str, ...] | None, path: str) -> FileSamples:
    """List folders at any depth that hold images; their paths are the classes, as Places365's `b/balcony/exterior`."""
    tree = open_tree(data_root / path)
    found = image_files(tree)
    folders = sorted({posixpath.dirname(name) for name in found.names} - {""})
    if not folders:
        raise UsageError(f"{tree.root}: holds no folders with images; put images into {tree.root}/<class>/")
    classes = classes and tuple(name.strip("/") for name in classes)
    names, label = _by_name(tree, folders, classes)
    labels_of = _labels_of(tree, folders, (names, label))
    outside = Counter({"beside the class folders": sum("/" not in name for name in found.names)})
    label_of = {name: labels_of[posixpath.dirname(name)] for name in found.names if "/" in name}
    ids = sorted(label_of, key=lambda name: (label_of[name], name))
    return FileSamples(tree, ids, [label_of[name] for name in ids], names, found.passed_over + outside)


Labels = tuple[tuple[str, ...], Callable[[str], int | None]]
"""Class names, and the function from a folder's name to its label, None for none."""


def _by_name(tree: FileTree, folders: list[str], classes: tuple[str, ...] | None) -> Labels:
    """Return the classes that folders are named after, by default the folders, in Unicode's composed form."""
    composed = [normal_form(folder) for folder in folders]
    if len(set(composed)) < len(composed):
        twice = next(name for i, name in enumerate(composed) if name in composed[:i])
        raise UsageError(f"{tree.root}: has two folders called '{twice}', one in Unicode's decomposed form; join them")
    names = classes or tuple(sorted(composed))
    number = {normal_form(name): label for label, name in enumerate(names)}
    return names, lambda folder: number.get(normal_form(folder))


def _labels_of(tree: FileTree, folders: list[str], meaning: Labels) -> dict[str, int]:
    """Return the label of each folder. Raises UsageError for one that is of no class."""
    classes, label = meaning
    labels_of = {folder: found for folder in folders if (found := label(folder)) is not None}
    if strangers := sorted(set(folders).difference(labels_of)):
        raise UsageError(
            f"{tree.root}: folder '{strangers[0]}' is none of the data set's {len(classes)} classes (the first is "
            f"'{classes[0]}'); name the classes in label order in a manifest, or move the folder away"
        )
    return labels_of


def _labelled(tree: FileTree, folders: list[str], meaning: Labels, passed_over: Counter[str]) -> FileSamples:
    """Return the images below some folders; what lies beside these is counted as passed over."""
    labels_of = _labels_of(tree, folders, meaning)
    ids: list[str] = []
    labels: list[int] = []
    in_order = sorted(folders, key=lambda folder: (labels_of[folder], folder))
    with listing(f"listing {tree.root}", len(folders)) if len(folders) > _FEW else silent("", 0) as advance:
        listed = in_threads(lambda folder: image_files(tree, folder), in_order)
        for folder, inside in zip(in_order, listed, strict=True):
            if not inside.names:
                raise UsageError(f"{tree.root}/{folder}: class folder without images; add some or remove the folder")
            ids += inside.names
            labels += [labels_of[folder]] * len(inside.names)
            passed_over += inside.passed_over
            advance(1)
    return FileSamples(tree, ids, labels, meaning[0], passed_over + _beside(tree, folders))


def _beside(tree: FileTree, folders: list[str]) -> Counter[str]:
    """Count the files of a tree that lie outside of some of its folders, by the reason."""
    found = Counter[str]()
    for name, is_folder in tree.everything():
        if name not in folders:
            found[why_hidden(name) or "beside the class folders"] += tree.count(name) if is_folder else 1
    return found


def _folders(tree: FileTree) -> list[str]:
    folders = [name for name, is_folder in tree.entries() if is_folder]
    if not folders:
        tars = any(name.endswith(SUFFIX) for name, _ in tree.entries())
        others = f", or name its tar files: '{tree.root}/*{SUFFIX}'" if tars else ""
        raise UsageError(
            f"{tree.root}: holds no class folders; put images into {tree.root}/<class>/{others}; images without labels "
            "are answered by trustcache predict"
        )
    return folders


def _refuse_splits(tree: FileTree, folders: list[str]) -> None:
    """Raise UsageError where the folders are no classes but parts of a data set, each with class folders."""
    parts = [name for name in folders if PARTS.fullmatch(name)]
    if len(parts) > 1 and all(is_folder for name in parts for _, is_folder in tree.entries(name)):
        example = "test" if "test" in parts else parts[0]
        raise UsageError(
            f"{tree.root}: its folders {', '.join(parts)} look like splits, not classes, as they hold folders; name "
            f"them one by one, as in {tree.root}/{example}"
        )


def _innermost(tree: FileTree, classes: tuple[str, ...] | None) -> tuple[FileTree, Counter[str]]:
    """Skip a lone folder that holds folders and no images, as archives often wrap their class folders.

    Return the files below, and the number of those outside by the reason.
    """
    outside = Counter[str]()
    while True:
        folders = [name for name, is_folder in tree.entries() if is_folder]
        if len(folders) != 1 or folders[0] in (classes or ()):
            return tree, outside
        inside = list(tree.entries(folders[0]))
        files = [name for name, is_folder in inside if not is_folder]
        lone = tree.below(folders[0])
        if len(files) == len(inside) or any(not why_no_image(lone, name) for name in files):
            return tree, outside
        outside += _beside(tree, folders)
        tree = lone
