"""Images whose labels stand in a table: CSV, JSON lines or a text list with a path and a label a row.

Kaggle's `LOC_val_solution.csv`, Tiny-ImageNet's `val_annotations.txt`, Places365's and Caffe's lists, Hugging Face's
`metadata.csv` and `metadata.jsonl`, and any other table with these two columns.
"""

from __future__ import annotations

import functools
import json
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from trustcache.data.archives import open_tree, read_file
from trustcache.data.image_files import image_files
from trustcache.data.layouts.numbers import labels_as_written, normal_form
from trustcache.data.path_patterns import is_within
from trustcache.data.samples import IMAGE_SUFFIXES, FileSamples
from trustcache.errors import UsageError, first_line

_LARGEST = 1 << 30
_SUFFIXES = (".csv", ".tsv", ".jsonl", ".txt")
# Tables that are published inside the folder whose images they label.
_IN_FOLDERS = ("val_annotations.txt", "metadata.csv", "metadata.jsonl", "LOC_val_solution.csv")
# Where images lie beside a table: Tiny-ImageNet's, Kaggle's ImageNet's, those of Kaggle's contests, and others'.
_PLACES = ("images", "ILSVRC/Data/CLS-LOC/val", "", "{stem}", "{stem}_images", "train", "train_images")
# Names of columns, in small letters and without what is no letter.
_PATHS = (
    *("path", "filename", "file", "filepath", "image", "imageid", "imagepath", "imagename", "img", "imgpath"),
    *("paths", "filenames", "files", "filepaths", "images", "id"),
)
_LABELS = ("label", "class", "target", "category", "predictionstring", "wnid", "classname", "labelname", "labels", "y")
# Texts about an image, which are no class of it.
_NO_LABELS = ("text", "caption", "captions", "prompt", "description")
_COLUMNS = "path_column and label_column"
Row = tuple[str, str]
"""The image and the label of a row, as they are written."""


def bare_table(path: Path) -> dict[str, Any] | None:
    """Return the keys for a table, or for a folder with a table that is published in it, and no class folders."""
    if path.is_file() and path.suffix.lower() in _SUFFIXES:
        return {"table": str(path)}
    inside = next((path / name for name in _IN_FOLDERS if (path / name).is_file()), None)
    return {"table": str(inside)} if inside and _labels_images(inside) else None


def _labels_images(file: Path) -> bool:
    """Return True if the first row of a table has a label, and the path of an image that lies in no class folder."""
    try:
        path, _ = next(_rows(file, "", ""), ("", ""))
    except UsageError:  # a table of something else
        return False
    return "/" not in path and _folder(file, path) is not None


def read_table(
    data_root: Path,
    classes: tuple[str, ...] | None,
    table: str,
    images: str = "",
    path_column: str = "",
    label_column: str = "",
) -> FileSamples:
    """List the images that a table names, in its order; those that it does not name are passed over.

    images: their folder or tar file, by default one beside the table, else the folder in the data root that holds them
    all. Paths may lack the suffix.
    """
    file = data_root / table
    rows = list(_rows(file, path_column, label_column))
    paths = [path for path, _ in rows]
    beside = (_folder(file, paths[0]) or _common_folder(file, paths, data_root)) if rows else None
    tree = open_tree(data_root / images if images else beside or file.parent)
    found = image_files(tree)
    names, spellings = _by_path(found.names), _Spellings(Path(tree.root), file.parent)
    ids = [next((names[key] for key in spellings(path) if names.get(key)), "") for path in paths]
    if missing := [row for row, name in enumerate(ids) if not name]:
        raise UsageError(
            f"{file}: row {missing[0] + 1} names '{rows[missing[0]][0]}', which is no image in {tree.root}, nor are "
            f"those of {len(missing) - 1} more rows; put them there, or write a manifest with 'images', and with "
            f"{_COLUMNS} where this is a header"
        )
    if len(set(ids)) < len(ids):
        ((twice, _),) = Counter(ids).most_common(1)
        raise UsageError(f"{file}: names '{twice}' in two rows; keep one")
    labels, classes = labels_as_written([label for _, label in rows], classes, lambda row: f"{file}: row {row + 1}")
    found.passed_over[f"without a row in {file.name}"] += len(found.names) - len(ids)
    if Path(tree.root) == file.parent:
        found.passed_over[f"with the suffix {file.suffix.lower()}"] -= 1  # the table is read
    return FileSamples(tree, ids, labels, classes, +found.passed_over)


def _rows(file: Path, path_column: str, label_column: str) -> Iterator[Row]:
    """Yield the rows below the header. Raises UsageError for a table that cannot be read, or lacks a column."""
    import csv

    try:
        cells = list(_cells(file))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror or error}); correct the path") from None
    except (ValueError, AttributeError, RecursionError, csv.Error) as error:
        raise UsageError(f"{file}: not a table of paths and labels ({first_line(error)}); mend it") from None
    first = cells[0] if cells else []
    heads = [re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in first]
    named = bool(path_column or label_column) or _is_header(first, heads)
    path = _column(file, first, heads, path_column, _PATHS, 0) if named else 0
    label = _column(file, first, heads, label_column, _LABELS, 1 - path) if named else 1
    boxes = named and heads[label] == "predictionstring"  # Kaggle's, where those of the objects follow the class
    for number, row in enumerate(cells[named:], 1):
        found = row[label].split() if label < len(row) else []
        if not found or path >= len(row) or not row[path].strip():
            raise UsageError(f"{file}: row {number} has no path or no label; give each row both")
        yield row[path], found[0] if boxes else row[label].strip()


def _cells(file: Path) -> Iterator[list[str]]:
    """Yield the cells of each row, the header's too. Raises OSError, and other errors for what is no table."""
    import csv

    # Names of files need not be UTF-8.
    text = read_file(str(file), _LARGEST).decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    delimiter = next((mark for mark in "\t,;" if mark in text.partition("\n")[0]), None)
    if file.suffix.lower() == ".jsonl":
        tables = [json.loads(line) for line in text.splitlines() if line.strip()]
        heads = list(tables[0]) if tables else []
        yield from [heads, *([_text(each.get(head)) for head in heads] for each in tables)]
    elif delimiter:
        yield from (row for row in csv.reader(StringIO(text, newline=""), delimiter=delimiter) if any(row))
    else:
        yield from (line.rsplit(None, 1) for line in text.splitlines() if line.strip())


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _is_header(cells: Sequence[str], heads: Sequence[str]) -> bool:
    if any(posixpath.splitext(cell)[1].lower() in IMAGE_SUFFIXES for cell in cells):
        return False
    return any(head in _PATHS for head in heads) or any(head in _LABELS for head in heads)


def _column(file: Path, cells: Sequence[str], heads: Sequence[str], name: str, usual: Sequence[str], other: int) -> int:
    """Return the number of a column: the one of a name, else of a usual one, else of two columns the other one."""
    if name and name in cells:
        return cells.index(name)
    either = len(cells) == 2 and heads[other] not in _NO_LABELS
    found = next((heads.index(one) for one in usual if one in heads), other if either else None)
    if name or found is None:
        cells = [cell or "(unnamed)" for cell in cells]
        wanted = f"column '{name}'" if name else f"column called {usual[0]}"
        raise UsageError(f"{file}: has no {wanted} among {', '.join(cells)}; name {_COLUMNS} in a manifest")
    return found


def _folder(file: Path, image: str) -> Path | None:
    """Return the folder beside a table in which an image lies, None where there is none."""
    relative = image.replace("\\", "/").lstrip("/")
    if ".." in relative.split("/"):
        return None
    for place in (file.parent / place.format(stem=file.stem) for place in _PLACES):
        if any(os.path.lexists(f"{place}/{relative}{suffix}") for suffix in ("", ".JPEG", *IMAGE_SUFFIXES)):
            return place
    return None


def _by_path(names: Sequence[str]) -> dict[str, str]:
    """Return image names by their paths, and by those without suffix, "" where two differ in that alone."""
    found: dict[str, str] = {}
    for name in names:
        stem = normal_form(posixpath.splitext(name)[0])
        found[stem] = "" if stem in found else name
    return found | {normal_form(name): name for name in names}


def _common_folder(file: Path, paths: Sequence[str], data_root: Path) -> Path | None:
    """Return the folder of images that a table names from another place: absolute, from its own, or the data root.

    Returns None where the first is not there, or all lie in the table's folder. Raises UsageError where they lie
    outside of both that and the data root: a table alone does not lead out of these.
    """
    bases = [place for place in (file.parent, data_root) if os.path.isfile(place / paths[0])]
    if not bases:
        return None
    folders = {os.path.dirname(path) for path in paths}
    common = os.path.commonpath([os.path.realpath(bases[0] / folder) for folder in folders])
    inside = [os.path.realpath(place) for place in (file.parent, data_root)]
    if is_within(common, inside[0]):
        return None
    if not is_within(common, inside[1]):
        raise UsageError(
            f"{file}: names images in {common}, outside of its own folder and of the data root {data_root}; name a "
            "folder above them as --data-root, or as 'images' in a manifest"
        )
    return Path(common)


class _Spellings:
    """The names in a tree that a path in a table may mean."""

    def __init__(self, root: Path, beside: Path) -> None:
        self.root = os.path.realpath(root)
        self._bases = [os.path.realpath(beside), *map(str, Path(self.root).parents)]
        self._real = functools.lru_cache(maxsize=4096)(os.path.realpath)

    def __call__(self, path: str) -> Iterator[str]:
        """Yield them: as it is, with `\\` for `/`, from the root, then absolute, or from a folder above the root."""
        for text in (path, path.replace("\\", "/")):
            yield normal_form(posixpath.normpath(text).lstrip("/"))
        for base in self._bases:
            folder, name = posixpath.split(posixpath.join(base, text))
            if is_within(folder := self._real(folder), self.root):
                yield normal_form(posixpath.relpath(posixpath.join(folder, name), self.root))
