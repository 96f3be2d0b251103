"""Manifests: what a data set is, where its files lie and what its labels mean."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from trustcache.data.toml_tables import TableReader
from trustcache.errors import UsageError

ROLES = ("train", "test")
# What each layout needs beside `layout`, and what it may have; layouts/ reads them.
LAYOUTS: dict[str, tuple[str, ...]] = {
    "folders": ("path",),
    "numbered-folders": ("path",),
    "imagenet-flat": ("path", "devkit"),
    "webdataset": ("path",),
    "cifar-python": ("path", "members"),
    "cifar-binary": ("path", "members"),
    "cifar-c": ("images", "labels", "part"),
    "idx": ("images", "labels"),
    "digits": (),
}
# What each kind of variant needs, and what it may have beside `seed`; variants/ makes them.
VARIANTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "corruption": (("name", "severity"), ("textures", "crop")),
    "fourier": ((), ("styles", "crop")),
    "adain": (("vgg", "decoder", "styles"), ("settings", "crop")),
    "attack": (("name",), ("settings",)),
}
# Class lists that a manifest may name instead of writing them out; timm carries the files.
CLASS_LISTS = {
    "imagenet-1k": "imagenet_synsets.txt",
    "imagenet-a": "imagenet_a_synsets.txt",
    "imagenet-r": "imagenet_r_synsets.txt",
}


@dataclass(frozen=True)
class Files:
    """One place a data set's files may lie, relative to the data root.

    A `path` that goes through a tar file (`imagenet-c/blur.tar/fog/5`) is read from it, and one with `*` from all
    tar files that fit. `part` is which of CIFAR-10-C's five stacked severities.
    """

    layout: str
    path: str = ""
    members: tuple[str, ...] = ()
    images: str = ""
    labels: str = ""
    devkit: str = ""
    part: int | None = None

    def describe(self, root: Path) -> str:
        """Say where the files are looked for, as a path a user can check."""
        if self.layout == "digits":
            return "inside scikit-learn"
        inside = {
            "folders": "/<class>/*.jpg",
            "numbered-folders": "/<number>/*.jpg",
            "imagenet-flat": "/ILSVRC2012_val_*.JPEG",
            "webdataset": "/<key>.jpg and .cls",
        }
        members = f"/{{{','.join(self.members)}}}" if self.members else ""
        return f"{root / (self.path or self.images)}{inside.get(self.layout, members)}"


@dataclass(frozen=True)
class Variant:
    """A transformation of every image of a data set, made on the fly.

    Which entries count depends on the kind (`VARIANTS`). `crop`: images are first resized and cropped to so many
    pixels a side, as ImageNet-C's are; the classifier then sees the whole of each. `textures` (frost's), `styles`,
    `vgg` and `decoder` are paths relative to the data root. `settings` replace an attack's own, or AdaIN's `alpha`.
    """

    kind: str
    name: str = ""
    severity: int | None = None
    seed: int = 0
    crop: int | None = None
    textures: str = ""
    styles: str = ""
    vgg: str = ""
    decoder: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """One data set.

    `files` are tried in order, the first that exists is used. `classes` are the class names (for folders: the
    folder names) in label order; without them the sorted folder names count. `subset` are the classes that occur,
    where they are few by design. `cropped`: the images are centre crops already. `rows` keeps the samples from its
    first up to (not including) its second entry; of these, `thinned_to` takes so many, spread evenly over the classes.
    `count` is how many images the whole data set is known to have.
    `stands_in_for` names the data set whose place this one takes where that is not there. `variant_of` names the data
    set whose images these were before they were changed; `shows` says what files hold that were changed already.
    """

    name: str
    role: str
    files: tuple[Files, ...]
    title: str = ""
    classes: tuple[str, ...] | None = None
    subset: tuple[str, ...] | None = None
    cropped: bool = False
    count: int | None = None
    rows: tuple[int, int] | None = None
    thinned_to: int | None = None
    variant: Variant | None = None
    stands_in_for: str = ""
    variant_of: str = ""
    shows: str = ""
    source: str = ""
    path: str = field(default="", compare=False)

    @property
    def condition(self) -> str:
        """What its images went through: "stylized", "adversarial", "fog/3" (a corruption and severity), "" if clean."""
        if self.variant is None:
            return self.shows
        if self.variant.kind == "corruption":
            return f"{self.variant.name}/{self.variant.severity}"
        return "adversarial" if self.variant.kind == "attack" else "stylized"

    @property
    def family(self) -> str:
        """The first part of its name, which all members of a family share."""
        return self.name.split("/")[0]

    @property
    def shows_crops(self) -> bool:
        """Whether its images are centre crops, so that a classifier is to see the whole of each."""
        return self.cropped or bool(self.variant and self.variant.crop)

    def record(self) -> dict[str, Any]:
        """Return the manifest as plain data, as TOML gives it."""
        kept = asdict(self)
        kept.pop("path")
        return kept


def parse_manifest(table: dict[str, Any], where: str) -> Manifest:
    """The manifest of a table as TOML gives it; `where` is what errors name. Raises UsageError for the key at fault."""
    reader = TableReader(table, where)
    name = reader.text("name", required=True)
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise UsageError(f"{where}: 'name' must be a plain name such as birds-test or birds-c/fog/3, not '{name}'")
    role = reader.choice("role", ROLES)
    files = tuple(_files(TableReader(t, f"{where}: files[{i}]")) for i, t in enumerate(reader.tables("files")))
    rows = reader.numbers("rows")
    if rows is not None and (len(rows) != 2 or not 0 <= rows[0] < rows[1]):
        raise UsageError(f"{where}: 'rows' must be [first, past-the-last], not {list(rows)}")
    classes, subset = _classes(reader, table, "classes"), _classes(reader, table, "subset")
    if strangers := sorted(set(subset).difference(classes)):
        raise UsageError(f"{where}: 'subset' names '{strangers[0]}', which is none of 'classes'")
    count = reader.number("count")
    if count is not None and count < 1:
        raise UsageError(f"{where}: 'count' must be the number of images, or be left out, not {count}")
    thinned_to = reader.number("thinned_to")
    if thinned_to is not None and thinned_to < 1:
        raise UsageError(f"{where}: 'thinned_to' must be a number of images, not {thinned_to}")
    manifest = Manifest(
        name=name,
        role=role,
        files=files,
        title=reader.text("title") or name,
        classes=classes or None,
        subset=subset or None,
        cropped=reader.flag("cropped"),
        count=count,
        rows=(rows[0], rows[1]) if rows else None,
        thinned_to=thinned_to,
        variant=None if (v := reader.table("variant")) is None else _variant(TableReader(v, f"{where}: variant"), role),
        stands_in_for=reader.text("stands_in_for"),
        variant_of=reader.text("variant_of"),
        shows=reader.text("shows"),
        source=reader.text("source"),
        path=where,
    )
    reader.finish()
    return manifest


def _classes(reader: TableReader, table: dict[str, Any], key: str) -> tuple[str, ...]:
    """A list of classes, written out or by the name of a known one."""
    if isinstance(table.get(key), str):
        return _class_list(reader.choice(key, tuple(CLASS_LISTS)))
    classes = reader.texts(key)
    if len(set(classes)) != len(classes):
        twice = next(c for i, c in enumerate(classes) if c in classes[:i])
        raise UsageError(f"{reader.where}: '{key}' names '{twice}' twice; each class needs a name of its own")
    return classes


@functools.cache
def _class_list(name: str) -> tuple[str, ...]:
    timm = importlib.util.find_spec("timm")  # where it lies, without the seconds its import takes
    assert timm is not None
    assert timm.submodule_search_locations is not None
    file = Path(timm.submodule_search_locations[0]) / "data" / "_info" / CLASS_LISTS[name]
    return tuple(file.read_text(encoding="utf-8").split())


def _files(reader: TableReader) -> Files:
    layout = reader.choice("layout", tuple(LAYOUTS))
    needed = LAYOUTS[layout]
    files = Files(
        layout,
        path=reader.text("path", required="path" in needed),
        members=reader.texts("members", required="members" in needed),
        images=reader.text("images", required="images" in needed),
        labels=reader.text("labels", required="labels" in needed),
        devkit=reader.text("devkit", required="devkit" in needed),
        part=reader.number("part"),
    )
    if layout == "cifar-c":
        _refuse_severity(reader, "part", files.part)
    _refuse_strangers(reader, files, f"layout '{layout}'", ("layout", *needed))
    reader.finish()
    return files


def _variant(reader: TableReader, role: str) -> Variant:
    kind = reader.choice("kind", tuple(VARIANTS))
    needed, possible = VARIANTS[kind]
    variant = Variant(
        kind,
        name=reader.text("name", required="name" in needed),
        severity=reader.number("severity"),
        seed=reader.number("seed") or 0,
        crop=reader.number("crop"),
        textures=reader.text("textures"),
        styles=reader.text("styles", required="styles" in needed),
        vgg=reader.text("vgg", required="vgg" in needed),
        decoder=reader.text("decoder", required="decoder" in needed),
        settings=reader.table("settings") or {},
    )
    if "severity" in needed:
        _refuse_severity(reader, "severity", variant.severity)
    if variant.seed < 0:
        raise UsageError(f"{reader.where}: 'seed' must be 0 or more, not {variant.seed}")
    if variant.crop is not None and variant.crop < 1:
        raise UsageError(f"{reader.where}: 'crop' must be a number of pixels, not {variant.crop}")
    if kind == "attack" and role != "test":
        # Fine-tuning shuffles its images, and an attack's are made in the order of extraction.
        raise UsageError(f"{reader.where}: an attack is for data of the role 'test', not '{role}'")
    _refuse_strangers(reader, variant, f"kind '{kind}'", ("kind", "seed", *needed, *possible))
    reader.finish()
    return variant


def _refuse_severity(reader: TableReader, key: str, value: int | None) -> None:
    if value is None or not 1 <= value <= 5:
        raise UsageError(f"{reader.where}: '{key}' must be a whole number from 1 to 5, not {value!r}")


def _refuse_strangers(reader: TableReader, parsed: Files | Variant, what: str, known: tuple[str, ...]) -> None:
    """Refuse entries that are fine elsewhere, but mean nothing to this layout or kind."""
    for entry in fields(parsed):
        if entry.name not in known and getattr(parsed, entry.name) not in (None, "", (), {}):
            raise UsageError(f"{reader.where}: '{entry.name}' means nothing to {what}; take it out")
