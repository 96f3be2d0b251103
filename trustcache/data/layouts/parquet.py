"""Parquet files with a column of images, as the library `datasets` writes them: a struct of bytes and path a row."""

from __future__ import annotations

import functools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trustcache.data.archives import FolderTree, read_file
from trustcache.data.content import Stamp, stamp_of
from trustcache.data.image_files import image_files
from trustcache.data.layouts.numbers import labels_as_written
from trustcache.data.path_patterns import is_pattern, is_within, matches
from trustcache.data.samples import BadImage, Samples, decode_rgb
from trustcache.errors import UsageError, first_line, visible

if TYPE_CHECKING:
    from PIL import Image

SUFFIX = ".parquet"
_IMAGES, _LABELS = ("image", "img"), ("label", "labels")
# The names of splits by which `datasets` parts the files of a folder.
_SPLIT = re.compile(r"(?<![a-z])(train|test|eval|val|dev)(?:ing|uation|id|idation)?(?![a-z])")


def bare_parquet(path: Path) -> dict[str, Any] | None:
    """Return the keys for Parquet files, or for a folder of them and of no class folders."""
    others = path.is_dir() and any(is_folder and name != "data" for name, is_folder in FolderTree(path).entries())
    return {"path": str(path)} if parquet_exists(Path(), str(path)) and not others else None


def parquet_exists(data_root: Path, path: str, image: str = "", label: str = "") -> bool:
    """Return True if there is a Parquet file at a path, or in that folder."""
    return any(file.is_file() for file in _files(data_root / path))


def read_parquet(
    data_root: Path, classes: tuple[str, ...] | None, path: str, image: str = "", label: str = ""
) -> ParquetSamples:
    """List the rows of one or more files; of a folder, those in it and in its folder `data`, which are of one split.

    image, label: their columns, by default the one that the schema calls so if `datasets` wrote it, or one of a usual
    name. Labels are numbers, with names in such a schema, or names.
    """
    files = _files(data_root / path)
    passed_over = _others(data_root / path, files)
    if missing := [file for file in files if not file.is_file()]:
        raise UsageError(f"{missing[0]}: is missing; fetch it")
    rows: list[tuple[int, int, int]] = []
    ids: list[str] = []
    values: list[Any] = []
    columns, names = [], tuple[str, ...]()
    for number, file in enumerate(files):
        found = _open(file)
        features = _features(found.schema_arrow)
        columns.append(_column(file, found.schema_arrow.names, image, _typed(features, "Image") or _IMAGES, "image"))
        usual = _typed(features, "ClassLabel") or _LABELS
        chosen = _column(file, found.schema_arrow.names, label, usual, "label")
        names = _class_names(features, chosen) or names
        values += found.read(columns=[chosen], use_threads=False).column(0).to_pylist()
        groups = [found.metadata.row_group(group).num_rows for group in range(found.num_row_groups)]
        rows += [(number, group, row) for group, count in enumerate(groups) for row in range(count)]
        stem = file.stem if len({f.name for f in files}) == len(files) else f"{number:05d}"
        ids += [f"{stem}/{row:06d}" for row in range(sum(groups))]
    labels, classes = _labels(values, names, classes, lambda row: f"{data_root / path}: {ids[row]}")
    samples = ParquetSamples([*map(str, files)], columns, np.array(rows).reshape(-1, 3), ids, labels, classes)
    samples.passed_over = passed_over
    return samples


def _labels(
    values: Sequence[Any], names: tuple[str, ...], classes: tuple[str, ...] | None, where: Callable[[int], str]
) -> tuple[list[int], tuple[str, ...]]:
    """Return label numbers (N,) and class names. names: those of the file; classes: those of the manifest, or None."""
    if None in values:
        raise UsageError(f"{where(values.index(None))}: has no label; leave out rows without one")
    texts = list(map(str, values))
    if not names:
        return labels_as_written(texts, classes, where, numbers_first=True)
    numbers, _ = labels_as_written(texts, names, where, numbers_first=True)
    if classes and set(names) <= set(classes):
        of_name = {name: label for label, name in enumerate(classes)}
        return [of_name[names[number]] for number in numbers], classes
    if classes and len(classes) != len(names):
        raise UsageError(f"{where(0)}: is of {len(names)} classes, its manifest has {len(classes)}; correct 'classes'")
    return numbers, classes or names


class ParquetSamples(Samples):
    """Rows (N, 3) of Parquet files: the number of the file, of the row group in it, and of the row in that."""

    encoded = True

    def __init__(
        self,
        files: list[str],
        columns: list[str],
        rows: np.ndarray,
        ids: list[str],
        labels: Sequence[int],
        classes: tuple[str, ...],
    ) -> None:
        self.files, self.columns, self.rows, self.ids, self.classes = files, columns, rows, ids, classes
        self.labels = np.asarray(labels, dtype=np.int64)

    def raw(self, index: int) -> bytes:
        number, group, row = self.rows[index].tolist()
        file = self.files[number]
        try:
            cell = _cells(file, _stamp(file), group, self.columns[number])[row].as_py()
            found = cell.get("bytes") if isinstance(cell, dict) else cell
            beside = cell.get("path") if isinstance(cell, dict) else cell
            if not isinstance(found, bytes) and isinstance(beside, str) and beside:
                folder = os.path.realpath(Path(file).parent)
                place = os.path.realpath(os.path.join(folder, beside))
                if not is_within(place, folder):
                    raise ValueError(f"it names an image outside of its folder: {visible(beside)}")
                found = read_file(place)
            if not isinstance(found, bytes):
                raise ValueError(f"its column '{self.columns[number]}' holds no bytes and no path of an image")
        except Exception as error:  # pyarrow raises many kinds for a damaged file
            raise BadImage(f"{file}: {self.ids[index]}", first_line(error)) from None
        return found

    def decode(self, index: int, raw: bytes, least: tuple[int, int] | None = None) -> Image.Image:
        return decode_rgb(raw, f"{self.files[self.rows[index][0]]}: {self.ids[index]}", least)

    def take(self, numbers: np.ndarray) -> ParquetSamples:
        ids, labels = [self.ids[i] for i in numbers], self.labels[numbers].tolist()
        return ParquetSamples(self.files, self.columns, self.rows[numbers], ids, labels, self.classes)

    def contents(self) -> bytes:
        # Sizes rather than hashes, as of files.
        sizes = np.array([Path(file).stat().st_size for file in self.files], dtype="<i8")
        return np.column_stack([sizes[self.rows[:, 0]], self.rows[:, 1:].astype("<i8")]).tobytes()

    def stamps(self) -> bytes:
        stamps = {number: _stamp(self.files[number]) for number in np.unique(self.rows[:, 0]).tolist()}
        return repr(stamps).encode() + self.rows.tobytes()


def _stamp(file: str) -> Stamp:
    return stamp_of(Path(file).stat())


@functools.lru_cache(maxsize=2)  # images come in order: a group is read once by each process
def _cells(file: str, stamp: Stamp, group: int, column: str) -> Any:
    # Without threads, which a forked process does not have.
    return _open(Path(file)).read_row_group(group, columns=[column], use_threads=False).column(0)


def _open(file: Path) -> Any:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError(
            f"{file}: reading Parquet needs pyarrow; install it with pip install 'trustcache[parquet]'"
        ) from None
    try:
        return pq.ParquetFile(file)
    except Exception as error:
        raise UsageError(f"{file}: not a Parquet file ({first_line(error)}); fetch it again") from None


def _files(path: Path) -> list[Path]:
    if is_pattern(str(path)) and path.suffix.lower() == SUFFIX:
        return matches(str(path))
    if path.is_dir():
        found = [file for file in [*path.glob("*"), *path.glob("data/*")] if file.suffix.lower() == SUFFIX]
        return sorted(file for file in found if not file.name.startswith("."))
    return [path] if path.suffix.lower() == SUFFIX and path.is_file() else []


def _others(folder: Path, files: Sequence[Path]) -> Counter[str]:
    """Count the other files of a folder by the reason. Raises UsageError where its files are of several splits."""
    if not folder.is_dir():
        return Counter()
    splits = {found[1]: (file, found.end()) for file in files if (found := _SPLIT.search(file.stem.lower()))}
    if len(splits) > 1:
        one, end = splits[min(splits)]
        pattern = one.with_name(f"{one.name[:end]}*{one.suffix}")
        raise UsageError(
            f"{folder}: has Parquet files of several splits ({', '.join(sorted(splits))}); name those of one, as in "
            f"--data '{pattern}'"
        )
    there = image_files(FolderTree(folder))
    there.passed_over["beside the Parquet files"] += len(there.names)
    there.passed_over[f"with the suffix {SUFFIX}"] -= len(files)
    return +there.passed_over


def _typed(features: Mapping[str, Any], kind: str) -> list[str]:
    """Return the one column that `datasets` says is of a kind, or none."""
    found = [name for name, about in features.items() if isinstance(about, Mapping) and about.get("_type") == kind]
    return found if len(found) == 1 else []


def _column(file: Path, names: Sequence[str], name: str, usual: Sequence[str], key: str) -> str:
    found = next((one for one in ([name] if name else usual) if one in names), None)
    if found is None:
        raise UsageError(
            f"{file}: has no column '{name or usual[0]}' among {', '.join(names)}; name '{key}' in a manifest"
        )
    return found


def _features(schema: Any) -> dict[str, Any]:
    """Return what `datasets` keeps in a schema about its columns by name, {} where it did not write it."""
    try:
        return dict(json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}


def _class_names(features: Mapping[str, Any], column: str) -> tuple[str, ...]:
    """Return the names of a column of class numbers, () where there are none."""
    about = features.get(column)
    names = about.get("names") if isinstance(about, Mapping) else None
    return tuple(map(str, names)) if isinstance(names, list) else ()
