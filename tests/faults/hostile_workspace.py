"""Hostile files of a workspace: records, runs, shards, and weights from strangers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.faults.hostile import CODE, ELSEWHERE, OUTSIDE, hostile, pickle_that_runs
from tests.faults.laboratory import WORKSPACE
from trustcache.cache.seal import UNSEALED, publish_sealed


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a record, and give it the checksum that it should have."""
    table = json.loads(path.read_text(encoding="utf-8"))
    change(table)
    text = json.dumps({**table, "checksum": UNSEALED} if "checksum" in table else table, indent=1)
    publish_sealed(path, text.encode())


def _at(bench: Path, pattern: str) -> Path:
    return min((bench / WORKSPACE).glob(pattern))


def _index(bench: Path) -> Path:
    return _at(bench, "cache/net/photos-test/index.json")


def _shard(bench: Path) -> Path:
    return _at(bench, "cache/net/photos-test/00000.h5")


def _edit_shard(bench: Path, change: Callable[[h5py.File], object]) -> None:
    path = _shard(bench)
    with h5py.File(path, "r+") as file:
        change(file)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    _edit(path.with_suffix(".json"), lambda table: table.update(sha256=digest))


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


# Code that a file of the workspace names.
def _named_code(name: str, pattern: str, put: Callable[[dict[str, Any]], object], *commands: str) -> None:
    def plant(bench: Path) -> None:
        for path in (bench / WORKSPACE).glob(pattern):
            _edit(path, put)

    hostile(name, *commands)(plant)


def _first_winner(table: dict[str, Any], name: str) -> None:
    table["candidates"][0]["runs"] = [name]


_EVERY_INDEX, _EVERY_RUN = "cache/*/*/index.json", "runs/*/config.json"
_named_code(
    "index: classifier is code",
    _EVERY_INDEX,
    lambda t: t["meaning"]["classifier"].update(name=CODE),
    "predict a score",
    "extract",
)
_named_code(
    "index: layout is code",
    _EVERY_INDEX,
    lambda t: t["made_from"]["manifest"].update(files=[{"layout": CODE, "keys": {}}]),
    "unfinished",
    "report",
)
_named_code("run: loss is code", _EVERY_RUN, lambda t: t["loss"].update(name=CODE), "report", "evaluate", "predict")
_named_code("run: backbone is code", _EVERY_RUN, lambda t: t["backbone"].update(name=CODE), "predict tuned", "evaluate")
_named_code("sweep: winner is code", "sweeps/*.json", lambda t: _first_winner(t, CODE), "winner", "report")
_named_code("sweep: winner elsewhere", "sweeps/*.json", lambda t: _first_winner(t, OUTSIDE), "winner", "report")
_named_code(
    "index: label elsewhere",
    _EVERY_INDEX,
    lambda t: t["meaning"].update(label="../../../outside"),
    "report",
    "evaluate",
)
_named_code(
    "index: data elsewhere",
    _EVERY_INDEX,
    lambda t: t["made_from"]["manifest"].update(name="../../../../outside/x"),
    "report",
    "evaluate",
)
_named_code(
    "index: weights are a device", _EVERY_INDEX, lambda t: t["made_from"].update(weights="/dev/zero"), "predict"
)
_named_code(
    "index: weights are a secret", _EVERY_INDEX, lambda t: t["made_from"].update(weights=OUTSIDE), "predict", "list"
)
_named_code("index: 2^60 samples", _EVERY_INDEX, lambda t: t["meaning"]["data"].update(samples=2**60), "list", "report")
_named_code("index: shards of 2^60 rows", _EVERY_INDEX, lambda t: t["meaning"].update(shard_rows=2**60), "list", "show")
_named_code("index: newer schema", _EVERY_INDEX, lambda t: t.update(schema=99), "list", "report", "verify")
_named_code("index: an input of 10^9 pixels", _EVERY_INDEX, lambda t: _size(t, 10**9), "predict a score")
_named_code(
    "index: 10^6 classes",
    _EVERY_INDEX,
    lambda t: t["made_from"].update(classes=[str(i) for i in range(10**6)]),
    "predict a score",
    "report",
)
_named_code(
    "index: escapes in class names",
    _EVERY_INDEX,
    lambda t: t["made_from"].update(classes=["\x1b[2J\x1b]0;gone\x07", "a\nb\r", "\u202egnp"]),
    "predict a score",
)
_named_code(
    "index: escapes in a title",
    _EVERY_INDEX,
    lambda t: t["made_from"]["manifest"].update(title="\x1b[31m<script>alert(1)</script>"),
    "report",
    "list",
)
_named_code(
    "index: markup in a name",
    _EVERY_INDEX,
    lambda t: t["made_from"]["manifest"].update(name="<script>alert(1)</script>|\\input{/etc/passwd}`$(x)`"),
    "report",
    "list",
)
_named_code(
    "index: escapes in a name",
    _EVERY_INDEX,
    lambda t: t["made_from"]["manifest"].update(name="\x1b[2Jgone\x07\n\r"),
    "report",
    "list",
    "verify",
)
_named_code(
    "record: another file", "cache/net/photos-test/*0.json", lambda t: t.update(file="../" * 4 + OUTSIDE), "report"
)
_named_code(
    "record: rows without end", "cache/net/photos-test/*0.json", lambda t: t.update(rows=2**60), "report", "show"
)
_named_code(
    "record: escapes in what is skipped",
    "cache/net/photos-test/00000.json",
    lambda t: t.update(skipped={"\x1b[2J": "\x1b]0;x\x07"}, rows=15),
    "show",
    "verify",
)
_named_code(
    "run: head of 10^9 units", _EVERY_RUN, lambda t: t["head"].update(hidden=[10**9] * 9), "predict", "evaluate"
)
_named_code("run: another run's name", _EVERY_RUN, lambda t: t.update(seed=77), "report", "predict")
_named_code("run: escapes in names", _EVERY_RUN, lambda t: t.update(oracle="\x1b[2J", data="\x1b[31m"), "report")


def _size(table: dict[str, Any], size: int) -> None:
    table["meaning"]["classifier"]["preprocessing"]["input_size"] = [size, size]
    table["made_from"]["preprocessing"] = {"input_size": [size, size]}


# Files of the workspace that are something else.
@hostile("index is a pipe", "list", "report")
def _(bench: Path) -> None:
    _replace(_index(bench), os.mkfifo)


@hostile("index is a folder", "list", "report", "extract")
def _(bench: Path) -> None:
    _replace(_index(bench), Path.mkdir)


@hostile("index is a device", "list", "report")
def _(bench: Path) -> None:
    _replace(_index(bench), lambda path: path.symlink_to("/dev/zero"))


@hostile("index is nested 10^5 deep", "list", "report")
def _(bench: Path) -> None:
    publish_sealed(_index(bench), f'{{"schema": 2, "checksum": "{UNSEALED}", "meaning": {"[" * 10**5}'.encode())


@hostile("index has a number of 10^5 digits", "list", "report")
def _(bench: Path) -> None:
    publish_sealed(_index(bench), f'{{"checksum": "{UNSEALED}", "schema": {"9" * 10**5}}}'.encode())


@hostile("cache folder is a circle of links", "list", "report", "verify")
def _(bench: Path) -> None:
    (bench / WORKSPACE / "cache" / "net" / "again").symlink_to("..")


@hostile("run config is a pipe", "report", "evaluate")
def _(bench: Path) -> None:
    _replace(_at(bench, _EVERY_RUN), os.mkfifo)


@hostile("weights are a pipe", "predict", "report")
def _(bench: Path) -> None:
    _replace(_at(bench, "runs/net-ce-frozen*/weights.safetensors"), os.mkfifo)


@hostile("weights are a pickle", "predict")
def _(bench: Path) -> None:
    _at(bench, "runs/net-ce-frozen*/weights.safetensors").write_bytes(pickle_that_runs())


@hostile("threshold is a pipe", "predict")
def _(bench: Path) -> None:
    _replace(_at(bench, "runs/net-ce-frozen*/threshold.json"), os.mkfifo)


@hostile("scores are a pipe", "report", "evaluate")
def _(bench: Path) -> None:
    for path in [*(bench / WORKSPACE / "scores").glob("*/photos-test/m*")]:
        _replace(path, os.mkfifo)


@hostile("a sweep is a pipe", "report", "winner")
def _(bench: Path) -> None:
    _replace(_at(bench, "sweeps/*.json"), os.mkfifo)


@hostile("checkpoint is a pickle", "unfinished")
def _(bench: Path) -> None:
    _at(bench, "runs/*/checkpoint.pt").write_bytes(pickle_that_runs())


@hostile("checkpoint is a sealed pickle", "unfinished")
def _(bench: Path) -> None:
    publish_sealed(_at(bench, "runs/*/checkpoint.pt"), UNSEALED.encode() + pickle_that_runs())


@hostile("checkpoint is a pipe", "unfinished")
def _(bench: Path) -> None:
    _replace(_at(bench, "runs/*/checkpoint.pt"), os.mkfifo)


@hostile("the report is a link elsewhere", "report")
def _(bench: Path) -> None:
    path = _at(bench, "report/report.md")
    _replace(path, lambda link: link.symlink_to(bench.parent / "outside" / "secret"))


@hostile("a temporary file is a link elsewhere", "report", "evaluate", "extract")
def _(bench: Path) -> None:
    for path in [*(bench / WORKSPACE).rglob("*.json")]:
        path.with_name(f"{path.name}.partial-1-x-y").symlink_to(bench.parent / "outside" / "secret")


# Shards.
def _column(name: str, make: Callable[[h5py.File], object], column: str = "logits") -> None:
    def plant(bench: Path) -> None:
        def change(file: h5py.File) -> None:
            del file[column]
            make(file)

        _edit_shard(bench, change)

    hostile(f"HDF5: {name}", "report", "show", "evaluate")(plant)


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((16, 3), "float16")
    layout[:] = h5py.VirtualSource(f"{ELSEWHERE}.h5", "logits", (16, 3))
    file.create_virtual_dataset("logits", layout)


_column(
    "external link", lambda f: f.__setitem__("logits", h5py.ExternalLink("../../../../../outside/secret.h5", "logits"))
)
_column("soft link", lambda f: f.__setitem__("logits", h5py.SoftLink("/features")))
_column("virtual dataset", _virtual)
_column(
    "external raw storage",
    lambda f: f.create_dataset("logits", (16, 3), "float16", external=[(ELSEWHERE, 0, 96)]),
)
_column("column missing", lambda f: None)
_column("a group for a column", lambda f: f.create_group("logits"))
_column("a column of texts", lambda f: f.create_dataset("logits", data=[b"a"] * 16))
_column("a column of objects", lambda f: f.create_dataset("logits", (16, 3), h5py.vlen_dtype(np.float16)))
_column("a column of 2^40 rows", lambda f: f.create_dataset("logits", (2**40, 3), "float16", chunks=(256, 3)))
_column("a column of 2^40 columns", lambda f: f.create_dataset("logits", (16, 2**40), "float16", chunks=(16, 256)))
_column("a compressed column", lambda f: f.create_dataset("logits", (16, 3), "float16", compression="gzip"))
_column("a column of another rank", lambda f: f.create_dataset("logits", (16, 3, 2), "float16"))
_column("a column of another dtype", lambda f: f.create_dataset("logits", (16, 3), ">f8"))
_column("a scalar for a column", lambda f: f.create_dataset("logits", data=1.0))
_column("nan for numbers", lambda f: f.create_dataset("logits", data=np.full((16, 3), np.nan, np.float16)))
_column("labels out of range", lambda f: f.create_dataset("labels", data=np.full(16, 2**40)), "labels")
_column("predictions out of range", lambda f: f.create_dataset("predictions", data=np.full(16, -7)), "predictions")
_column(
    "an unknown column", lambda f: (f.create_dataset("labels", data=np.zeros(16, int)), f.create_group("x")), "labels"
)
_column("escapes in ids", lambda f: f.create_dataset("sample_ids", data=[b"\x1b[2J"] * 16), "sample_ids")


@hostile("HDF5: a pipe", "report", "show", "verify")
def _(bench: Path) -> None:
    _replace(_shard(bench), os.mkfifo)


@hostile("HDF5: a link to a secret", "report", "show", "verify")
def _(bench: Path) -> None:
    _replace(_shard(bench), lambda path: path.symlink_to(bench.parent / "outside" / "secret.h5"))
