"""Layouts: how the files of a data set lie on disk, and the samples they hold."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trustcache.data.archives import tree_exists
from trustcache.data.layouts.cifar import batches_exist, read_binary_batches, read_cifar_c, read_python_batches
from trustcache.data.layouts.digits import read_digits
from trustcache.data.layouts.folders import read_folders, read_nested_folders, read_numbered_folders
from trustcache.data.layouts.idx import idx_exists, read_idx
from trustcache.data.layouts.imagenet_flat import flat_exists, read_flat
from trustcache.data.layouts.named_files import bare_named_files, named_files_exist, read_named_files
from trustcache.data.layouts.parquet import bare_parquet, parquet_exists, read_parquet
from trustcache.data.layouts.svhn import bare_svhn, read_svhn
from trustcache.data.layouts.table import bare_table, read_table
from trustcache.data.layouts.torch_dataset import function_exists, read_torch_dataset
from trustcache.data.layouts.webdataset import bare_webdataset, read_webdataset
from trustcache.data.samples import Samples
from trustcache.errors import UsageError
from trustcache.registry import Registry
from trustcache.registry.permission import is_import_path

KEY_TYPES = {"str": str, "int": int, "tuple[str, ...]": tuple[str, ...]}
"""The types that a key of a layout may have, by their annotation."""


def _first_exists(data_root: Path, **keys: Any) -> bool:
    """Return True if the file, folder or tar file that the first key names exists; a layout without keys needs none."""
    return all(tree_exists(place) or place.is_file() for place in [data_root / str(v) for v in keys.values()][:1])


def _tree_exists(data_root: Path, path: str) -> bool:
    return tree_exists(data_root / path)


@dataclass(frozen=True)
class Layout:
    """One layout, declared by its reader.

    read: `read(data_root, classes, **keys)` lists the samples. `classes` are the manifest's class names in label order,
        None where it names none. The parameters after these two are the keys of a [[files]] table; their annotations
        are among `KEY_TYPES`, and one with a default may be left out. It raises UsageError where the files are not
        what the layout or the manifest says.
    exists: `exists(data_root, **keys)` takes a glance; by default at what the first key names.
    inside: what a message shows after the path of the first key, as in "/<class>/*.jpg"; `{key}` is that key's value.
    bare: `bare(path)` returns the keys for a path that a user names without a manifest, None if it looks like another
        layout's. What no layout wants is read as class folders.
    """

    read: Callable[..., Samples]
    exists: Callable[..., bool] = _first_exists
    inside: str = ""
    bare: Callable[[Path], Mapping[str, Any] | None] | None = None

    @cached_property
    def keys(self) -> Mapping[str, inspect.Parameter]:
        """The manifest keys of the layout, in order."""
        return dict([*inspect.signature(self.read).parameters.items()][2:])

    def describe(self, data_root: Path, **keys: Any) -> str:
        """Return the place where the files are expected, as a path a user can check."""
        value = next(map(str, keys.values()), "")
        first = value if not value or is_import_path(value) else str(data_root / value)
        shown = {key: f"{{{','.join(v)}}}" if isinstance(v, tuple) else v for key, v in keys.items()}
        return first + self.inside.format(**shown)


def _adapted(name: str, found: Any) -> Layout:
    layout = found if isinstance(found, Layout) else Layout(found)
    try:
        types = [key_type(parameter) for parameter in layout.keys.values()]
    except (TypeError, ValueError) as error:  # not a function, or one without a signature
        raise UsageError(f"layout {name}: must be a function ({error})") from None
    if unknown := [found for found in types if found not in KEY_TYPES]:
        raise UsageError(
            f"layout {name}: a parameter has the type '{unknown[0]}'; annotate each as one of {', '.join(KEY_TYPES)}"
        )
    return layout


def key_type(parameter: inspect.Parameter) -> str:
    """Return the annotated type of a layout's key, as text."""
    annotation = parameter.annotation
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


LAYOUTS: Registry[Layout] = Registry(
    "trustcache.layouts",
    "layout",
    {
        "folders": Layout(read_folders, _tree_exists, "/<class>/*.jpg"),
        "numbered-folders": Layout(read_numbered_folders, _tree_exists, "/<number>/*.jpg"),
        "imagenet-flat": Layout(read_flat, flat_exists, "/ILSVRC2012_val_*.JPEG"),
        "nested-folders": Layout(read_nested_folders, _tree_exists, "/<a/class>/*.jpg"),
        "named-files": Layout(read_named_files, named_files_exist, "/*_<class>.jpg", bare_named_files),
        "table": Layout(read_table, bare=bare_table),
        "webdataset": Layout(read_webdataset, _tree_exists, "/<key>.jpg and .cls", bare_webdataset),
        "parquet": Layout(read_parquet, parquet_exists, bare=bare_parquet),
        "torch-dataset": Layout(read_torch_dataset, function_exists),
        "cifar-python": Layout(read_python_batches, batches_exist, "/{members}"),
        "cifar-binary": Layout(read_binary_batches, batches_exist, "/{members}"),
        "cifar-c": Layout(read_cifar_c),
        "svhn": Layout(read_svhn, bare=bare_svhn),
        "idx": Layout(read_idx, idx_exists),
        "digits": Layout(read_digits, inside="inside scikit-learn"),
    },
    _adapted,
)
"""Every layout by the name that a manifest gives it. A new one is a reader and a line here."""


def bare_files(path: Path) -> tuple[str, Mapping[str, Any]]:
    """Return the layout of a path that a user names without a manifest, and its keys; class folders if none wants it.

    Raises UsageError for an archive that cannot be listed.
    """
    for name in LAYOUTS.built_in:
        bare = LAYOUTS[name].bare
        if bare and (keys := bare(path)):
            return name, keys
    return "folders", {"path": str(path)}
