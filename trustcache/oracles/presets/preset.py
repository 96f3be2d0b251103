"""Reading a preset: which losses with which settings, which seeds, what head, and the optimisers."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_type_hints

from trustcache.data.known_data import packaged_manifests
from trustcache.data.splits import SEED
from trustcache.data.toml_tables import NUMBERS, TableReader, parse_table
from trustcache.errors import UsageError, did_you_mean
from trustcache.losses import loss_settings
from trustcache.oracles.head_inputs import parse_inputs
from trustcache.oracles.heads import HEADS, HeadSpec
from trustcache.protocols import OPTIMISERS, Optimiser

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Preset:
    """The values a training takes where no option is given; () and None leave them to the defaults.

    settings: lists of values by a loss's setting. fine_tuning: the optimiser, not for heads on cached outputs. head:
    what such heads are, which the preset then is for; heads: their optimiser.
    start: the loss whose finished runs a fine-tuning goes on from, "" for the model's own weights.
    architectures, suites: patterns of the oracles' architectures, and of the suites of data, that it is the paper's
    preset for; "*" is for those that no other preset names.
    """

    title: str = ""
    losses: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    settings: dict[str, list[float | str]] = field(default_factory=dict)
    val_fraction: float | None = None
    fine_tuning: Optimiser | None = None
    start: str = ""
    head: HeadSpec | None = None
    heads: Optimiser | None = None
    architectures: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()


def papers_preset(architecture: str) -> str:
    """Return the preset of the paper's Table 1 for an oracle of an architecture."""
    return _made_for("architectures", architecture)


def small_scale_preset(data: str) -> str:
    """Return the preset of the paper's Table 2 (ss tuned from tcp) for a data set or a suite."""
    return _made_for("suites", next((m.suite for m in packaged_manifests() if m.name == data), data))


@functools.cache
def _made_for(key: str, name: str) -> str:
    made_for = {pattern: preset for preset in preset_names() for pattern in getattr(read_preset(preset), key)}
    return next(made_for[p] for p in sorted(made_for, key="*".__eq__) if fnmatchcase(name, p))


def preset_names() -> list[str]:
    """Return the names of the presets that come with trustcache, sorted."""
    return sorted(file.name.removesuffix(".toml") for file in _FOLDER.iterdir() if file.name.endswith(".toml"))


def preset_text(request: str) -> str:
    """Return the TOML of a preset by name, or of a user's own file. Raises UsageError with the known names."""
    known = preset_names()
    try:
        if request in known:
            return (_FOLDER / f"{request}.toml").read_text(encoding="utf-8")
        return Path(request).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            f"--preset {request}: neither one of {', '.join(known)} nor a .toml file that can be read; print one with "
            f"trustcache presets NAME, change it, and pass your file{did_you_mean(request, known)}"
        ) from None


def read_preset(request: str) -> Preset:
    """Read a preset by name or file. Raises UsageError naming the key at fault."""
    where = f"--preset {request}"
    reader = TableReader(parse_table(preset_text(request), where), where)
    settings = TableReader(reader.take("settings", dict[str, Any]) or {}, f"{where}: settings")
    fine_tuning, head, heads = (reader.take(key, dict[str, Any]) for key in ("fine_tuning", "head", "heads"))
    fraction = reader.take("val_fraction", float)
    if fraction is not None and not 0 <= fraction <= 0.9:
        raise UsageError(f"{where}: 'val_fraction' must lie from 0 to 0.9, not be {fraction}")
    preset = Preset(
        title=reader.take("title", str) or "",
        losses=reader.take("losses", tuple[str, ...]) or (),
        seeds=tuple(int(seed) for seed in SEED.each(f"{where}: 'seeds'", reader.take("seeds", tuple[int, ...]) or ())),
        settings={
            key: setting.each(f"{where}: settings: '{key}'", values if isinstance(values, tuple) else [values])
            for key, setting in loss_settings().items()
            if not setting.names and (values := settings.take(key, NUMBERS)) is not None
        },
        val_fraction=fraction,
        fine_tuning=None if fine_tuning is None else _optimiser(fine_tuning, f"{where}: fine_tuning"),
        start=reader.take("start", str) or "",
        head=None if head is None else _head(head, f"{where}: head"),
        heads=None if heads is None else _optimiser(heads, f"{where}: heads"),
        architectures=reader.take("architectures", tuple[str, ...]) or (),
        suites=reader.take("suites", tuple[str, ...]) or (),
    )
    settings.finish()
    reader.finish()
    return preset


def _head(table: dict[str, Any], where: str) -> HeadSpec:
    reader = TableReader(table, where)
    usual = HEADS[reader.choice("kind", tuple(HEADS))]
    inputs = parse_inputs(reader.take("inputs", tuple[str, ...]) or ()) or usual.inputs
    return replace(usual, inputs=inputs, **_numbers(HeadSpec, reader))


def _optimiser(table: dict[str, Any], where: str) -> Optimiser:
    reader = TableReader(table, where)
    name = reader.choice("optimiser", OPTIMISERS)
    given = _numbers(Optimiser, reader)
    if lacking := [key for key in ("epochs", "batch_size", "lr") if not given.get(key)]:
        raise UsageError(f"{where}: '{lacking[0]}' must be given, and above 0")
    return Optimiser(name, **given)


def _numbers(cls: type, reader: TableReader) -> dict[str, Any]:
    """Return the numbers and flags of a dataclass that a table gives, and finish the table.

    Raises UsageError for one outside the limits of its option.
    """
    kinds = {key: kind for key, kind in get_type_hints(cls).items() if kind in (int, int | None, float, bool)}
    given = {key: value for key, kind in kinds.items() if (value := reader.take(key, kind)) is not None}
    reader.finish()
    for each in fields(cls):
        low, high = each.metadata.get("min", -math.inf), each.metadata.get("max", math.inf)
        if not low <= (value := given.get(each.name, low)) <= high:
            raise UsageError(f"{reader.where}: '{each.name}' must lie from {low} to {high}, not be {value}")
    return given
