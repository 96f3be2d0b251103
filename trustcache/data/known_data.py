"""Known data sets: TOML files that describe one or a family, and the resolution of what a user names."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import itertools
import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from trustcache.data.archives import tree_exists
from trustcache.data.layouts import bare_files
from trustcache.data.manifest import ROLES, Files, Manifest, parse_manifest
from trustcache.data.path_patterns import PARTS, base_name, is_pattern
from trustcache.data.toml_tables import read_table
from trustcache.errors import UsageError, did_you_mean, did_you_mean_path
from trustcache.registry.permission import code_file, is_import_path

MOST_MEMBERS = 10_000
"""Data sets of one family."""


def folder_manifest(folder: Path, role: str = "test") -> Manifest:
    """Describe images that have no manifest: a folder, tar files, or a file of a layout that tells itself.

    Raises UsageError for an archive that cannot be listed.
    """
    full = folder.resolve()
    return Manifest(folder_name(full), role, (Files(*bare_files(full)),), title=images_in(full))


def folder_name(folder: Path) -> str:
    """Return the name of a data set without a manifest: that of its folder or file.

    Where that is a part of a data set (`PARTS`), the name of the folder above comes first.

    >>> folder_name(Path("photos/calibration")), folder_name(Path("photos/birds.tar"))
    ('photos-calibration', 'birds')
    """
    full = folder.resolve()
    above = full.parent
    name = first = base_name(full.name).removesuffix(full.suffix if full.suffix.lower() in _FILES else "") or above.name
    while PARTS.fullmatch(first) and above.name:
        first, above = above.name, above.parent
        name = f"{first}-{name}"
    return name


def name_among(names: Collection[str], request: str) -> str:
    """Return which of some data sets' names a user means: by the name, or by the images that `extract` was given.

    These may be gone since. A request that means none of them is returned as it is.

    >>> name_among(["photos-calibration", "birds"], "photos/calibration")
    'photos-calibration'
    """
    if request in names:
        return request
    asked, _, own_role = request.rpartition(":")
    images = asked if own_role in ROLES else request
    if images.endswith(".toml"):
        with contextlib.suppress(UsageError):
            (name, *others) = (manifest.name for manifest in load_manifests(Path(images)))
            return name if name in names and not others else request
        return request
    name = images.rpartition(":")[2] if is_import_path(images) else folder_name(Path(images))
    return name if name in names else request


def images_in(path: Path) -> str:
    """Return the title of images that have no manifest."""
    return f"images in {path}"


def code_manifest(function: str, role: str = "test") -> Manifest:
    """Describe the torch Dataset that `package.module:function` returns; it is named after the function."""
    name = function.rpartition(":")[2]
    return Manifest(name, role, (Files("torch-dataset", {"function": function}),), title=f"images of {function}")


def load_manifests(path: Path, variants: tuple[Path, ...] = ()) -> list[Manifest]:
    """Read one TOML file: a single data set, or every member of the family it describes.

    variants: the files that are variants of it, each of the next. Raises UsageError naming the file and the key at
    fault.
    """
    try:
        found = path.stat()
        table = {**_read_once(str(path), found.st_mtime_ns, found.st_size)}
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); see trustcache data list") from None
    family = table.pop("family", None)
    base = _base(table.pop("variant_of", None), path, variants)
    if family is None:
        return [parse_manifest(table, str(path), base)]
    if not family or not isinstance(family, dict) or not all(isinstance(v, list) and v for v in family.values()):
        raise UsageError(f"{path}: 'family' must be a table of lists, as in corruption = ['fog', 'snow']")
    if (size := math.prod(map(len, family.values()))) > MOST_MEMBERS:
        raise UsageError(f"{path}: 'family' has {size:,} members, of at most {MOST_MEMBERS:,}; list fewer values")
    members = (dict(zip(family, values, strict=True)) for values in itertools.product(*family.values()))
    manifests = [parse_manifest(_fill(table, member, path), str(path), base) for member in members]
    if len({m.name for m in manifests}) < len(manifests):
        keys = "/".join(f"{{{key}}}" for key in family)
        raise UsageError(f"{path}: 'name' is the same for several of the family; add its keys, as in name/{keys}")
    return manifests


@functools.lru_cache(maxsize=64)
def _read_once(path: str, mtime_ns: int, size: int) -> dict[str, Any]:
    """Return the table of a file, which several data sets are variants of; read again once the file has changed."""
    return read_table(path, path)


def packaged_manifests() -> tuple[Manifest, ...]:
    """Return every data set that trustcache knows, in the order of the file names."""
    return _all_in(_manifest_folder())


@functools.cache
def _all_in(folder: Path) -> tuple[Manifest, ...]:
    """Return the data sets of a folder that stays as it is, of which a command asks several times."""
    return tuple(manifest for file in sorted(folder.glob("*.toml")) for manifest in load_manifests(file))


def find_manifests(request: str, role: str = "test", data_root: Path | None = None) -> list[Manifest]:
    """Resolve what a user typed: a manifest's file, a known name, family or pattern, images, or a torch Dataset.

    `digits-test` is one data set, `cifar10-c` all of a family, `cifar10-c/*/5` some of it. `role` is that of images or
    a data set without a role of its own, as in `photos/train:train` and `package.module:function:train`. Paths are
    relative to the working folder; those in a manifest to `data_root`, below which a wrong path is looked for, to name
    the right one. Raises UsageError with the nearest path or name if nothing matches.
    """
    asked, _, own_role = request.rpartition(":")
    if own_role in ROLES and not Path(request).exists() and (_is_bare(asked) or _is_code(asked)):
        return find_manifests(asked, own_role, data_root)
    path = Path(request)
    if path.suffix == ".toml":
        return load_manifests(path)
    known = packaged_manifests()
    found = [m for m in known if m.name == request or fnmatch.fnmatchcase(m.name, request)]
    found = found or [m for m in known if m.name.startswith(request + "/")]
    if found:
        return found
    if _is_bare(request):
        return [folder_manifest(path, role)]
    if _is_code(request):
        return [code_manifest(request, role)]
    near = _near_path(Path(asked if own_role in ROLES else request), data_root)
    clean_first = sorted(known, key=lambda m: bool(m.variant_of))
    near = near or did_you_mean(request, [name for m in clean_first for name in (m.family, m.name)])
    if own_role in ROLES:
        raise UsageError(
            f"--data {request}: no images are there in {Path.cwd()}; other data say themselves what they are for{near}"
        )
    if is_import_path(request):
        raise UsageError(f"--data {request}: there is no module {request.partition(':')[0]} here; correct its name")
    if path.suffix.lower() in _FILES:
        raise UsageError(f"--data {request}: there is no such file in {Path.cwd()}; correct the path{near}")
    kinds = f"a folder, a file of {', '.join(_FILES)}, a manifest's .toml, or one of trustcache data list"
    if path.exists():
        raise UsageError(f"--data {request}: is no file that images are read from; name {kinds}")
    raise UsageError(
        f"--data {request}: there is no such file or folder in {Path.cwd()}, and no known data set; name {kinds}{near}"
    )


def _near_path(path: Path, data_root: Path | None) -> str:
    """Return the end of a message on a missing path: the one below the data root, else the nearest name, or ""."""
    if data_root and not path.is_absolute() and (there := data_root / path).exists():
        return f"; {there} is there, below the data root, which only paths in manifests are relative to"
    return did_you_mean_path(path)


def named_code(request: str) -> str:
    """Return the `package.module:function` that a request for data names, "" where it names other data."""
    asked, _, own_role = request.rpartition(":")
    name = asked if own_role in ROLES and _is_code(asked) else request
    return name if _is_code(name) and not _is_bare(asked) else ""


def _is_code(request: str) -> bool:
    """Return True for a `package.module:function` whose package is here; nothing is imported."""
    return is_import_path(request) and bool(code_file(request))


# Suffixes of files that hold the images of a data set, or list them.
_FILES = (".tar", ".parquet", ".csv", ".tsv", ".jsonl", ".txt", ".mat")


def _is_bare(request: str) -> bool:
    """Return True for a folder or file of images, or a list of files."""
    path = Path(request)
    return tree_exists(path) or (path.suffix.lower() in _FILES and (path.is_file() or is_pattern(request)))


def _manifest_folder() -> Path:
    packaged = Path(__file__).parents[1] / "data_manifests"
    # In an editable install or a checkout they stand beside the package.
    return packaged if packaged.is_dir() else packaged.parent.parent / "data_manifests"


def _base(name: Any, path: Path, variants: tuple[Path, ...]) -> Manifest | None:
    """Return the data set that a manifest names as the one it is a variant of."""
    if name is None:
        return None
    if not isinstance(name, str):
        raise UsageError(f"{path}: 'variant_of' must be text, not {name!r}")
    base = _named_base(name, path, variants)
    if base is None or base.variant:
        raise UsageError(f"{path}: 'variant_of' must name one data set that is not a variant itself, not '{name}'")
    return base


def _named_base(name: str, path: Path, variants: tuple[Path, ...]) -> Manifest | None:
    """Return the data set of a name: a known one, that of a manifest beside `path`, or a folder of images there."""
    beside = path.parent / name
    file = beside if name.endswith(".toml") else _manifest_folder() / f"{name.split('/')[0]}.toml"
    if not file.is_file():
        if _is_bare(str(beside)):
            return folder_manifest(beside)
        raise UsageError(
            f"{path}: 'variant_of' names '{name}', which is no known data set; name one, or a .toml file or a folder "
            f'of images beside {path.name}, as in variant_of = "photos/test"'
        )
    if file.resolve() in (path.resolve(), *variants):
        raise UsageError(f"{path}: 'variant_of' names '{name}', which is a variant of this one; name one that is none")
    members = load_manifests(file, (*variants, path.resolve()))
    return next((m for m in members if name in (m.name, file.name, str(file))), None)


def _fill(value: Any, member: dict[str, Any], path: Path) -> Any:
    """Replace each {key} in the table by a member's value; a text that is only {key} becomes the value itself."""
    if isinstance(value, dict):
        return {key: _fill(v, member, path) for key, v in value.items()}
    if isinstance(value, list):
        return [_fill(v, member, path) for v in value]
    if not isinstance(value, str) or "{" not in value:
        return value

    def filled(key: str) -> Any:
        if key not in member:
            raise UsageError(f"{path}: '{value}' uses {{{key}}}, but 'family' has only {', '.join(member)}")
        return member[key]

    if whole := re.fullmatch(r"\{(\w+)\}", value):
        return filled(whole[1])
    return re.sub(r"\{(\w+)\}", lambda match: str(filled(match[1])), value)
