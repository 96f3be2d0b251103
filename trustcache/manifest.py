"""Manifests: TOML files that say what a data set is, where its files lie and what its labels mean."""

from __future__ import annotations

import fnmatch
import functools
import importlib.util
import itertools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from trustcache.errors import UsageError

ROLES = ("train", "test")
# What each layout needs beside `layout`; images.py reads them.
LAYOUTS: dict[str, tuple[str, ...]] = {
    "folders": ("path",),
    "cifar-python": ("path", "members"),
    "cifar-binary": ("path", "members"),
    "idx": ("images", "labels"),
    "digits": (),
}
VARIANT_KINDS = ("corruption",)
# Class lists that a manifest may name instead of writing them out; timm carries the files.
CLASS_LISTS = {
    "imagenet-1k": "imagenet_synsets.txt",
    "imagenet-a": "imagenet_a_synsets.txt",
    "imagenet-r": "imagenet_r_synsets.txt",
}


@dataclass(frozen=True)
class Files:
    """One place a data set's files may lie, relative to the data root."""

    layout: str
    path: str = ""
    members: tuple[str, ...] = ()
    images: str = ""
    labels: str = ""

    def describe(self, root: Path) -> str:
        """Say where the files are looked for, as a path a user can check."""
        if self.layout == "digits":
            return "inside scikit-learn"
        shown = {"folders": "/<class>/*.jpg", "idx": ""}.get(self.layout, f"/{{{','.join(self.members)}}}")
        return f"{root / (self.path or self.images)}{shown}"


@dataclass(frozen=True)
class Variant:
    """A transformation of every image of a data set, made on the fly."""

    kind: str
    name: str
    severity: int
    seed: int = 0


@dataclass(frozen=True)
class Manifest:
    """One data set.

    `files` are tried in order, the first that exists is used. `classes` are the class names (for folders: the
    folder names) in label order; without them the sorted folder names count. `rows` keeps the samples from its
    first up to (not including) its second entry. `count` is how many images the whole data set is known to have.
    """

    name: str
    role: str
    files: tuple[Files, ...]
    title: str = ""
    classes: tuple[str, ...] | None = None
    count: int | None = None
    rows: tuple[int, int] | None = None
    variant: Variant | None = None
    source: str = ""
    path: str = field(default="", compare=False)

    def record(self) -> dict[str, Any]:
        """The manifest as plain data, for an index; `from_record` is the way back."""
        kept = asdict(self)
        kept.pop("path")
        return kept


def from_record(record: dict[str, Any]) -> Manifest:
    """Rebuild a manifest from what `Manifest.record` gave (after a trip through JSON)."""
    return _parse(record, "the cache's index")


def folder_manifest(folder: Path, role: str = "test") -> Manifest:
    """Describe a folder of class folders that has no manifest; it is named after the folder."""
    full = folder.resolve()
    return Manifest(full.name, role, (Files("folders", path=str(full)),), title=f"images in {full}")


def load_manifests(path: Path) -> list[Manifest]:
    """Read one TOML file: a single data set, or every member of the family it describes.

    Raises UsageError naming the file and the key at fault.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such manifest; trustcache data list shows the known data sets") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give a .toml file that can") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from None
    family = table.pop("family", None)
    if family is None:
        return [_parse(table, str(path))]
    if not family or not isinstance(family, dict) or not all(isinstance(v, list) and v for v in family.values()):
        raise UsageError(f"{path}: 'family' must be a table of lists, as in corruption = ['fog', 'snow']")
    members = (dict(zip(family, values, strict=True)) for values in itertools.product(*family.values()))
    manifests = [_parse(_fill(table, member, path), str(path)) for member in members]
    if len({m.name for m in manifests}) < len(manifests):
        keys = "/".join(f"{{{key}}}" for key in family)
        raise UsageError(f"{path}: 'name' is the same for several of the family; tell them apart, as in name/{keys}")
    return manifests


def packaged_manifests() -> list[Manifest]:
    """Every data set that trustcache knows, in the order of the file names."""
    files = sorted(_manifest_folder().glob("*.toml"))
    return [manifest for file in files for manifest in load_manifests(file)]


def find_manifests(request: str, role: str = "test") -> list[Manifest]:
    """Resolve what a user typed: a manifest's file, a folder of class folders, a known name, family or pattern.

    `digits-test` is one data set, `cifar10-c` all of a family, `cifar10-c/*/5` a part of it. `role` is what a
    bare folder is used for. Raises UsageError with the known names where nothing fits.
    """
    path = Path(request)
    if path.suffix == ".toml":
        return load_manifests(path)
    known = packaged_manifests()
    found = [m for m in known if m.name == request or fnmatch.fnmatchcase(m.name, request)]
    found = found or [m for m in known if m.name.startswith(request + "/")]
    if found:
        return found
    if path.is_dir():
        return [folder_manifest(path, role)]
    names = sorted({m.name.split("/")[0] for m in known})
    raise UsageError(
        f"--data {request}: no data set of that name, no such folder, and no .toml file; known: {', '.join(names)}"
    )


def _manifest_folder() -> Path:
    packaged = Path(str(resources.files("trustcache"))) / "data_manifests"
    # An editable install or a checkout keeps them beside the package.
    return packaged if packaged.is_dir() else packaged.parent.parent / "data_manifests"


def _fill(value: Any, member: dict[str, Any], path: Path) -> Any:
    """Put a family member's values where the table says {key}; a text that is only {key} takes the value itself."""
    if isinstance(value, dict):
        return {key: _fill(v, member, path) for key, v in value.items()}
    if isinstance(value, list):
        return [_fill(v, member, path) for v in value]
    if not isinstance(value, str):
        return value

    def filled(key: str) -> Any:
        if key not in member:
            raise UsageError(f"{path}: '{value}' uses {{{key}}}, but 'family' has only {', '.join(member)}")
        return member[key]

    if whole := re.fullmatch(r"\{(\w+)\}", value):
        return filled(whole[1])
    return re.sub(r"\{(\w+)\}", lambda match: str(filled(match[1])), value)


def _parse(table: dict[str, Any], where: str) -> Manifest:
    reader = _Reader(table, where)
    name = reader.text("name", required=True)
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise UsageError(f"{where}: 'name' must be a plain name such as birds-test or birds-c/fog/3, not '{name}'")
    role = reader.choice("role", ROLES)
    files = tuple(_files(_Reader(t, f"{where}: files[{i}]")) for i, t in enumerate(reader.tables("files")))
    rows = reader.numbers("rows")
    if rows is not None and (len(rows) != 2 or not 0 <= rows[0] < rows[1]):
        raise UsageError(f"{where}: 'rows' must be [first, past-the-last], not {list(rows)}")
    if isinstance(table.get("classes"), str):
        classes = _class_list(reader.choice("classes", tuple(CLASS_LISTS)))
    else:
        classes = reader.texts("classes")
    if len(set(classes)) != len(classes):
        twice = next(c for i, c in enumerate(classes) if c in classes[:i])
        raise UsageError(f"{where}: 'classes' names '{twice}' twice; each class needs a name of its own")
    count = reader.number("count")
    if count is not None and count < 1:
        raise UsageError(f"{where}: 'count' must be the number of images, or be left out, not {count}")
    manifest = Manifest(
        name=name,
        role=role,
        files=files,
        title=reader.text("title") or name,
        classes=classes or None,
        count=count,
        rows=(rows[0], rows[1]) if rows else None,
        variant=None if (v := reader.table("variant")) is None else _variant(_Reader(v, f"{where}: variant")),
        source=reader.text("source"),
        path=where,
    )
    reader.finish()
    return manifest


@functools.cache
def _class_list(name: str) -> tuple[str, ...]:
    timm = importlib.util.find_spec("timm")  # where it lies, without the seconds its import takes
    assert timm is not None
    assert timm.submodule_search_locations is not None
    file = Path(timm.submodule_search_locations[0]) / "data" / "_info" / CLASS_LISTS[name]
    return tuple(file.read_text(encoding="utf-8").split())


def _files(reader: _Reader) -> Files:
    layout = reader.choice("layout", tuple(LAYOUTS))
    needed = LAYOUTS[layout]
    files = Files(
        layout,
        path=reader.text("path", required="path" in needed),
        members=reader.texts("members", required="members" in needed),
        images=reader.text("images", required="images" in needed),
        labels=reader.text("labels", required="labels" in needed),
    )
    for key in ("path", "members", "images", "labels"):
        if key not in needed and getattr(files, key):
            raise UsageError(f"{reader.where}: '{key}' means nothing to layout '{layout}'; take it out")
    reader.finish()
    return files


def _variant(reader: _Reader) -> Variant:
    kind = reader.choice("kind", VARIANT_KINDS)
    name, severity = reader.text("name", required=True), reader.number("severity")
    if severity is None or not 1 <= severity <= 5:
        raise UsageError(f"{reader.where}: 'severity' must be a whole number from 1 to 5, not {severity!r}")
    seed = reader.number("seed") or 0
    if seed < 0:
        raise UsageError(f"{reader.where}: 'seed' must be 0 or more, not {seed}")
    reader.finish()
    return Variant(kind, name, severity, seed)


class _Reader:
    """Takes typed keys out of a table, so that each mistake names its place, and leftovers can be refused."""

    def __init__(self, table: dict[str, Any], where: str) -> None:
        self.left = dict(table)
        self.where = where
        self.known: list[str] = []

    def _take(self, key: str, kind: type | tuple[type, ...], wanted: str) -> Any:
        self.known.append(key)
        value = self.left.pop(key, None)
        # bool is an int to isinstance, and never what a manifest means by a number.
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise UsageError(f"{self.where}: '{key}' must be {wanted}, not {value!r}")
        return value

    def text(self, key: str, required: bool = False) -> str:
        value = self._take(key, str, "text")
        if required and not value:
            raise UsageError(f"{self.where}: '{key}' is missing")
        return value or ""

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in choices:
            given = f"not '{value}'" if value else "and is missing"
            raise UsageError(f"{self.where}: '{key}' must be one of {', '.join(choices)}, {given}")
        return value

    def number(self, key: str) -> int | None:
        return self._take(key, int, "a whole number")

    def _list(self, key: str, kind: type, wanted: str) -> tuple[Any, ...]:
        values = self._take(key, (list, tuple), wanted) or ()
        if not all(isinstance(v, kind) and not isinstance(v, bool) for v in values):
            raise UsageError(f"{self.where}: '{key}' must be {wanted}, not {values!r}")
        return tuple(values)

    def texts(self, key: str, required: bool = False) -> tuple[str, ...]:
        values = self._list(key, str, "a list of texts")
        if required and not values:
            raise UsageError(f"{self.where}: '{key}' is missing")
        return values

    def numbers(self, key: str) -> tuple[int, ...] | None:
        return self._list(key, int, "a list of whole numbers") or None

    def table(self, key: str) -> dict[str, Any] | None:
        return self._take(key, dict, "a table")

    def tables(self, key: str) -> Iterator[dict[str, Any]]:
        values = self._list(key, dict, f"one or more [[{key}]] tables")
        if not values:
            raise UsageError(f"{self.where}: '{key}' is missing: say where the images lie in a [[{key}]] table")
        return iter(values)

    def finish(self) -> None:
        if unknown := [key for key, value in self.left.items() if value is not None]:
            raise UsageError(f"{self.where}: unknown key '{unknown[0]}'; known are {', '.join(self.known)}")
