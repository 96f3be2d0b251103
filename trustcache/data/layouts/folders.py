"""Class folders, in a folder or in tar files: each holds the images of the class it is named after."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from trustcache.data.archives import FileTree, open_tree
from trustcache.data.layouts.numbers import normal_form
from trustcache.data.samples import IMAGE_SUFFIXES, FileSamples
from trustcache.errors import UsageError


def read_folders(data_root: Path, classes: tuple[str, ...] | None, path: str) -> FileSamples:
    """List folders named after the classes; without class names, the sorted folder names are the classes."""
    tree = _innermost(open_tree(data_root / path), classes)
    folders = _folders(tree)
    composed = [normal_form(folder) for folder in folders]
    if len(set(composed)) < len(composed):
        twice = next(name for i, name in enumerate(composed) if name in composed[:i])
        raise UsageError(f"{tree.root}: has two folders called '{twice}', one in Unicode's decomposed form; join them")
    names = classes or tuple(sorted(composed, key=_folder_order))
    number = {normal_form(name): label for label, name in enumerate(names)}
    return _labelled(tree, folders, lambda folder: number.get(normal_form(folder)), names)


def read_numbered_folders(data_root: Path, classes: tuple[str, ...] | None, path: str) -> FileSamples:
    """List folders named by class numbers, as in ImageNetV2: 0, 1, … 999."""
    tree = _innermost(open_tree(data_root / path), classes)
    folders = _folders(tree)
    names = classes or tuple(str(label) for label in range(len(folders)))

    def label(name: str) -> int | None:
        return int(name) if name.isdecimal() and int(name) < len(names) else None

    return _labelled(tree, folders, label, names)


def image_names(tree: FileTree, folder: str = "") -> list[str]:
    """Return the names of the image files of a tree below a folder, sorted."""
    return sorted(name for name in tree.walk(folder) if _is_image(name))


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _labelled(
    tree: FileTree, folders: list[str], label: Callable[[str], int | None], classes: tuple[str, ...]
) -> FileSamples:
    labels_of = {folder: found for folder in folders if (found := label(folder)) is not None}
    if strangers := sorted(set(folders).difference(labels_of)):
        raise UsageError(
            f"{tree.root}: folder '{strangers[0]}' is none of the data set's {len(classes)} classes (the first is "
            f"'{classes[0]}'); name the classes in label order in a manifest, or move the folder away"
        )
    ids: list[str] = []
    labels: list[int] = []
    for folder in sorted(folders, key=lambda folder: (labels_of[folder], folder)):
        inside = image_names(tree, folder)
        if not inside:
            raise UsageError(f"{tree.root}/{folder}: class folder without images; add some or remove the folder")
        ids += inside
        labels += [labels_of[folder]] * len(inside)
    return FileSamples(tree, ids, labels, classes)


def _folders(tree: FileTree) -> list[str]:
    folders = [name for name, is_folder in tree.entries() if is_folder]
    if not folders:
        raise UsageError(f"{tree.root}: holds no class folders; put images into {tree.root}/<class>/")
    return folders


def _innermost(tree: FileTree, classes: tuple[str, ...] | None) -> FileTree:
    """Skip a lone folder that holds folders and no images, as archives often wrap their class folders."""
    while True:
        folders = [name for name, is_folder in tree.entries() if is_folder]
        if len(folders) != 1 or folders[0] in (classes or ()):
            return tree
        inside = list(tree.entries(folders[0]))
        if not any(is_folder for _, is_folder in inside) or any(_is_image(name) for name, _ in inside):
            return tree
        tree = tree.below(folders[0])


def _folder_order(name: str) -> tuple[int, str]:
    # Folders named by number: 10 comes after 9, not after 1.
    return (int(name), name) if name.isdecimal() else (-1, name)
