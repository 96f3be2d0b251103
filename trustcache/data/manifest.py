"""Manifests: descriptions of data sets, of the places of their files and of the meaning of their labels."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trustcache.data.layouts import KEY_TYPES, LAYOUTS, Layout, key_type
from trustcache.data.layouts.numbers import normal_form
from trustcache.data.samples import Samples
from trustcache.data.toml_tables import TableReader, field_types
from trustcache.data.variants.corruptions import SEVERITIES
from trustcache.data.variants.variation import VARIATIONS, Variant
from trustcache.errors import UsageError
from trustcache.models.label_spaces import names_in
from trustcache.models.preprocessing import LARGEST_SIDE

ROLES = ("train", "test")
PLAYS = ("train", "test", "stylized", "adversarial", "corrupted", "natural")
"""The parts that a data set may play in the experiments of its suite, in the paper's order."""
# What files may show of another data set's images, beside CORRUPTION/SEVERITY.
_SHOWN = ("stylized", "adversarial")
# Class lists that a manifest may name instead of writing them out; timm carries the files.
CLASS_LISTS = {
    "imagenet-1k": "imagenet_synsets.txt",
    "imagenet-a": "imagenet_a_synsets.txt",
    "imagenet-r": "imagenet_r_synsets.txt",
}


@dataclass(frozen=True)
class Files:
    """One place where the files of a data set may lie: a layout, and the values of its keys.

    Paths are relative to the data root. One that goes through a tar file (`imagenet-c/blur.tar/fog/5`) is read from it,
    and one with `*` from all tar files that match.
    """

    layout: str
    keys: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # JSON has no tuples.
        keys = {key: tuple(value) if isinstance(value, list) else value for key, value in self.keys.items()}
        object.__setattr__(self, "keys", keys)

    def exists(self, data_root: Path) -> bool:
        """Return True if the files are there, at a glance."""
        return self._declared().exists(data_root, **self.keys)

    def read(self, data_root: Path, classes: tuple[str, ...] | None) -> Samples:
        """List the samples. Raises UsageError where the files are not what the layout says."""
        return self._declared().read(data_root, classes, **self.keys)

    def describe(self, data_root: Path) -> str:
        """Return the place where the files are expected, as a path a user can check."""
        return self._declared().describe(data_root, **self.keys)

    def _declared(self) -> Layout:
        """Return the layout. Raises UsageError where the keys, as an index may hold them, are not those it declares."""
        layout = LAYOUTS[self.layout]
        _layout_keys(TableReader({**self.keys}, "files"), self.layout, layout)
        return layout


@dataclass(frozen=True)
class Manifest:
    """One data set.

    files: tried in order; the first that exists is used.
    classes: class names (for folders: the folder names) in label order; without them, the sorted folder names.
    subset: the classes that occur, where the data set holds only some by design.
    cropped: True if the images are centre crops already.
    count: number of images of the whole data set.
    rows: keeps the samples from the first entry up to (not including) the second.
    thinned_to: keeps this many of them, spread evenly over the classes.
    stands_in_for: name of the data set that this one replaces where its files are missing.
    variant_of: name of the data set whose images these are a transformation of.
    shows: the transformation of images that files hold: "stylized", "adversarial" or CORRUPTION/SEVERITY.
    suite, plays: the suite of data sets whose experiments it takes part in, and its part, one of `PLAYS`.
    path: the manifest's file.
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
    suite: str = ""
    plays: str = ""
    source: str = ""
    path: str = field(default="", compare=False)

    @property
    def condition(self) -> str:
        """Transformation of its images: "stylized", "adversarial", CORRUPTION/SEVERITY as in "fog/3", or "" if none."""
        return VARIATIONS[self.variant.kind].condition(self.variant) if self.variant else self.shows

    @property
    def corruption(self) -> str:
        """Name of the corruption of its images, "" if they are not corrupted."""
        name, slash, _ = self.condition.partition("/")
        return name if slash else ""

    @property
    def family(self) -> str:
        """First part of its name, which all data sets of one manifest share."""
        return self.name.split("/")[0]

    @property
    def shows_crops(self) -> bool:
        """True if its images are centre crops, which a classifier sees whole."""
        return self.cropped or bool(self.variant and self.variant.crop)


def parse_manifest(table: dict[str, Any], where: str, base: Manifest | None = None) -> Manifest:
    """Return the manifest of a TOML table; errors begin with `where`. Raises UsageError for the key at fault.

    base: the data set that it is a variant of, from which it inherits what the table leaves out.
    """
    plain = {key: getattr(base, key) for key in _INHERITED} | {"variant_of": base.name} if base else {}
    reader = TableReader(plain | table, where)

    def inherited(key: str) -> Any:
        if base is None or key in table:
            return None
        reader.known.append(key)
        return getattr(base, key) or ()

    name = reader.take("name", str, required=True)
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise UsageError(f"{where}: 'name' must be a plain name such as birds-test or birds-c/fog/3, not '{name}'")
    role = reader.choice("role", ROLES)
    files = inherited("files")
    if files is None:
        tables = reader.take("files", list[dict[str, Any]], required=True)
        files = tuple(_files(TableReader(t, f"{where}: files[{i}]")) for i, t in enumerate(tables))
    classes, subset = (
        _classes(reader, table, key) if (kept := inherited(key)) is None else kept for key in ("classes", "subset")
    )
    if strangers := sorted(set(subset).difference(classes)):
        raise UsageError(f"{where}: 'subset' names '{strangers[0]}', which is not among 'classes'")
    kinds = field_types(Manifest)
    given = {key: value for key in _PLAIN if (value := reader.take(key, kinds[key])) is not None}
    for key in ("count", "thinned_to"):
        if given.get(key, 1) < 1:
            raise UsageError(f"{where}: '{key}' must be a number of images, or be left out, not {given[key]}")
    first, end = given.get("rows", (0, 1))
    if not 0 <= first < end:
        raise UsageError(f"{where}: 'rows' must be [first, past-the-last], not {[first, end]}")
    variant = reader.take("variant", dict[str, Any])
    manifest = Manifest(
        name,
        role,
        files,
        classes=classes or None,
        subset=subset or None,
        variant=None if variant is None else _variant(TableReader(variant, f"{where}: variant"), role),
        shows=_shown(reader),
        plays=reader.choice("plays", PLAYS, required=False),
        path=where,
        **{"title": name, **given},
    )
    if manifest.plays and not manifest.suite:
        raise UsageError(f"{where}: 'plays' needs the name of a 'suite', its own or of the data set it is a variant of")
    reader.finish()
    return manifest


# Keys taken as they are.
_INHERITED = ("role", "count", "rows", "thinned_to", "suite", "source")
_PLAIN = ("title", "cropped", "count", "rows", "thinned_to", "stands_in_for", "variant_of", "suite", "source")


def _shown(reader: TableReader) -> str:
    shows = reader.take("shows", str) or ""
    corruption, _, severity = shows.partition("/")
    if shows and shows not in _SHOWN and not (corruption and severity.isdecimal()):
        raise UsageError(f"{reader.where}: 'shows' must be {', '.join(_SHOWN)} or CORRUPTION/SEVERITY, not '{shows}'")
    return shows


def _classes(reader: TableReader, table: dict[str, Any], key: str) -> tuple[str, ...]:
    """Read a list of classes, written out or given as the name of a known list or of a file beside the manifest."""
    file = Path(reader.where).parent / name if isinstance(name := table.get(key), str) else None
    if file and name not in CLASS_LISTS and file.is_file():
        classes = names_in(file, f"{reader.where}: '{key}' = '{reader.take(key, str)}'")
    elif file:
        return _class_list(reader.choice(key, (*CLASS_LISTS, "a file beside the manifest")))
    else:
        classes = _normal_forms(reader.take(key, tuple[str, ...]) or ())
    if len(set(classes)) != len(classes):
        twice = next(c for i, c in enumerate(classes) if c in classes[:i])
        raise UsageError(f"{reader.where}: '{key}' names '{twice}' twice; each class needs a name of its own")
    return classes


@functools.lru_cache(maxsize=64)
def _normal_forms(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names in Unicode's composed form; the members of a family share theirs."""
    return tuple(map(normal_form, names))


@functools.cache
def _class_list(name: str) -> tuple[str, ...]:
    timm = importlib.util.find_spec("timm")  # finds its folder without the seconds its import takes
    assert timm is not None
    assert timm.submodule_search_locations is not None
    file = Path(timm.submodule_search_locations[0]) / "data" / "_info" / CLASS_LISTS[name]
    return tuple(file.read_text(encoding="utf-8").split())


def _files(reader: TableReader) -> Files:
    name = reader.take("layout", str, required=True)
    try:
        layout = LAYOUTS.find(name)
    except UsageError as error:
        raise UsageError(f"{reader.where}: {error}") from error
    values = _layout_keys(reader, name, layout)
    return Files(name, {key: value for key, value in values.items() if value not in ("", (), None)})


def _layout_keys(reader: TableReader, name: str, layout: Layout) -> dict[str, Any]:
    """Return the values of a layout's keys, and require that nothing else is left in the table."""
    values = {key: reader.take(key, KEY_TYPES[key_type(p)], p.default is p.empty) for key, p in layout.keys.items()}
    reader.finish(f" of layout '{name}'")
    return values


def _variant(reader: TableReader, role: str) -> Variant:
    kind = reader.choice("kind", tuple(VARIATIONS))
    needed = VARIATIONS[kind].needed
    known = {"seed", *needed, *VARIATIONS[kind].possible}
    types = {key: key_type for key, key_type in field_types(Variant).items() if key in known}
    values = {key: reader.take(key, types[key], key in needed) for key in types}
    reader.finish(f" of kind '{kind}'")
    if not 1 <= (crop := values.get("crop") or 1) <= LARGEST_SIDE:
        raise UsageError(f"{reader.where}: 'crop' must be a number of pixels from 1 to {LARGEST_SIDE}, not {crop}")
    variant = Variant(kind, **{key: value for key, value in values.items() if value is not None})
    if "severity" in needed and variant.severity not in SEVERITIES:
        last = SEVERITIES[-1]
        raise UsageError(f"{reader.where}: 'severity' must be a whole number from 1 to {last}, not {variant.severity}")
    if variant.seed < 0:
        raise UsageError(f"{reader.where}: 'seed' must be 0 or more, not {variant.seed}")
    if VARIATIONS[kind].needs_classifier and role != "test":
        # Fine-tuning shuffles its images, and an attack's are made in the order of extraction.
        raise UsageError(f"{reader.where}: an attack is for data of the role 'test', not '{role}'")
    return variant
