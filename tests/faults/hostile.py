"""Workspaces, checkpoints, manifests, tar files, HDF5 files, images and names that someone made to do harm.

Each kind is a function that plants it in a bench, with the commands that meet it. `SECRET` lies outside of the bench:
no command may say it, and none may write there. `RAN` is made by whatever runs.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import socket
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from tests.faults.laboratory import COMMANDS, RUN, UNFINISHED, WORKSPACE
from trustcache.cache.seal import UNSEALED, publish_sealed

SECRET = "the-secret-of-another-folder"
RAN = "it-ran"
MODULE = "hostile_code"
CODE = f"{MODULE}:run"
SOURCE = f"open({RAN!r}, 'w').close()\ndef run(*a, **b):\n    return a[0]\n"
OUTSIDE = "../outside/secret"
_ELSEWHERE = "../../../../../outside/secret"  # from a shard

Plant = Callable[[Path], None]
KINDS: dict[str, tuple[Plant, tuple[tuple[str, ...], ...]]] = {}
"""By name: what plants it in a bench, and the commands that meet it."""
WORDS = COMMANDS | {
    "winner": ("predict", "winner", "photos/test"),
    "unfinished": UNFINISHED,
    "own": ("data", "check", "own.toml", "--data-root", "."),
    "own extract": (*COMMANDS["extract"][:-1], "own.toml", "--data-root", "."),
    "check hostile": ("data", "check", "hostile"),
    "predict hostile": ("predict", RUN, "hostile", "--device", "cpu"),
    "extract hostile": (*COMMANDS["extract"][:-1], "hostile"),
    "check tar": ("data", "check", "hostile.tar"),
    "predict tar": ("predict", RUN, "hostile.tar", "--device", "cpu"),
    "theirs": (
        *("extract", "--classifier", "cifar-resnet8", "--preprocess", "input_size=8", "--weights", "theirs.pt"),
        *("--data", "photos/test", "--as", "theirs", "--workers", "0"),
    ),
    "preset": ("train", "--frozen", "--preset", "own.toml"),
}


def hostile(name: str, *commands: str | tuple[str, ...]) -> Callable[[Plant], Plant]:
    """Register a kind."""
    words = tuple(WORDS[command] if isinstance(command, str) else command for command in commands)

    def register(plant: Plant) -> Plant:
        KINDS[name] = plant, words
        return plant

    return register


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a record, and give it the checksum that it should have."""
    table = json.loads(path.read_text(encoding="utf-8"))
    change(table)
    text = json.dumps({**table, "checksum": UNSEALED} if "checksum" in table else table, indent=1)
    publish_sealed(path, text.encode())


def _at(bench: Path, pattern: str) -> Path:
    return min((bench / WORKSPACE).glob(pattern))


def _index(bench: Path) -> Path:
    return _at(bench, "cache/net/test/index.json")


def _shard(bench: Path) -> Path:
    return _at(bench, "cache/net/test/00000.h5")


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
_named_code("record: another file", "cache/net/test/*0.json", lambda t: t.update(file="../" * 4 + OUTSIDE), "report")
_named_code("record: rows without end", "cache/net/test/*0.json", lambda t: t.update(rows=2**60), "report", "show")
_named_code(
    "record: escapes in what is skipped",
    "cache/net/test/00000.json",
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
    _at(bench, "runs/net-ce-frozen*/weights.safetensors").write_bytes(_pickle())


@hostile("threshold is a pipe", "predict")
def _(bench: Path) -> None:
    _replace(_at(bench, "runs/net-ce-frozen*/threshold.json"), os.mkfifo)


@hostile("scores are a pipe", "report", "evaluate")
def _(bench: Path) -> None:
    for path in [*(bench / WORKSPACE / "scores").glob("*/test/m*")]:
        _replace(path, os.mkfifo)


@hostile("a sweep is a pipe", "report", "winner")
def _(bench: Path) -> None:
    _replace(_at(bench, "sweeps/*.json"), os.mkfifo)


@hostile("checkpoint is a pickle", "unfinished")
def _(bench: Path) -> None:
    _at(bench, "runs/*/checkpoint.pt").write_bytes(_pickle())


@hostile("checkpoint is a sealed pickle", "unfinished")
def _(bench: Path) -> None:
    publish_sealed(_at(bench, "runs/*/checkpoint.pt"), UNSEALED.encode() + _pickle())


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


class _Runs:
    def __reduce__(self) -> Any:
        return os.system, (f"touch {RAN}",)


def _pickle() -> bytes:
    return pickle.dumps({"state_dict": _Runs()})


# Weights from strangers.
def _weights(name: str, data: Callable[[], bytes]) -> None:
    hostile(name, "theirs")(lambda bench: (bench / "theirs.pt").write_bytes(data()) and None)


def _safetensors(header: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _zip_pickle() -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save({"state_dict": _Runs()}, buffer)
    return buffer.getvalue()


_weights("checkpoint: a pickle that runs", _pickle)
_weights("checkpoint: a torch file that runs", _zip_pickle)
_weights("checkpoint: an old pickle that runs", lambda: b"cos\nsystem\n(S'touch it-ran'\ntR.")
_weights("checkpoint: a header of 2^60 bytes", lambda: struct.pack("<Q", 2**60) + b"{")
_weights(
    "checkpoint: tensors beyond the file",
    lambda: _safetensors({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
)
_weights(
    "checkpoint: tensors that overlap",
    lambda: _safetensors({k: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for k in "ab"}, b"\0" * 4),
)
_weights("checkpoint: an empty file", bytes)
_weights("checkpoint: a text", lambda: b"hello" * 100)


@hostile("checkpoint: a pipe", "theirs")
def _(bench: Path) -> None:
    os.mkfifo(bench / "theirs.pt")


@hostile("checkpoint: a device", "theirs")
def _(bench: Path) -> None:
    (bench / "theirs.pt").symlink_to("/dev/zero")


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
    layout[:] = h5py.VirtualSource(f"{_ELSEWHERE}.h5", "logits", (16, 3))
    file.create_virtual_dataset("logits", layout)


_column(
    "external link", lambda f: f.__setitem__("logits", h5py.ExternalLink("../../../../../outside/secret.h5", "logits"))
)
_column("soft link", lambda f: f.__setitem__("logits", h5py.SoftLink("/features")))
_column("virtual dataset", _virtual)
_column(
    "external raw storage",
    lambda f: f.create_dataset("logits", (16, 3), "float16", external=[(_ELSEWHERE, 0, 96)]),
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


# Manifests and presets.
def _manifest(name: str, text: str, *commands: str) -> None:
    hostile(f"manifest: {name}", *(commands or ("own", "own extract")))(
        lambda bench: (bench / "own.toml").write_text(text, encoding="utf-8") and None
    )


_FILES = '[[files]]\nlayout = "folders"\npath = "photos/test"\n'
_OWN = 'name = "own"\nrole = "test"\n'
_manifest("layout is code", f'{_OWN}[[files]]\nlayout = "{CODE}"\n')
_manifest("a variant of itself", 'name = "own"\nvariant_of = "own.toml"\n[variant]\nkind = "fourier"\n')
_manifest("a variant of a secret", 'name = "own"\nvariant_of = "../outside/secret.toml"\n[variant]\nkind = "fourier"\n')
_manifest("a name elsewhere", f'name = "../../outside/x"\nrole = "test"\n{_FILES}')
_manifest("a name with escapes", f'name = "\\u001b[2J\\u0007"\nrole = "test"\n{_FILES}')
_manifest("a name with a zero byte", f'name = "a\\u0000b"\nrole = "test"\n{_FILES}')
_manifest("a name of 5,000 letters", f'name = "{"x" * 5000}"\nrole = "test"\n{_FILES}')
_manifest("a name of a device", f'name = "NUL"\nrole = "test"\n{_FILES}')
_manifest("a crop of 10^9", f'{_OWN}[variant]\nkind = "fourier"\ncrop = 1000000000\n{_FILES}')
_manifest(
    "a family of 10^12",
    'name = "own/{a}/{b}/{c}/{d}"\nvariant_of = "digits-test"\n[family]\n'
    + "".join(f"{letter} = {[*range(1000)]}\n" for letter in "abcd")
    + '[variant]\nkind = "corruption"\nname = "fog"\nseverity = 1\n',
)
_manifest("10^5 deep", f"{_OWN}classes = {'[' * 10**5}\n")
_manifest("10^5 dots in a key", f"{'a.' * 10**5}b = 1\n")
_manifest("rows without end", f"{_OWN}rows = [0, {2**62}]\n{_FILES}")
_manifest("a path through everything", f'{_OWN}[[files]]\nlayout = "folders"\npath = "**/**/**/**/*.tar"\n')
_manifest("preset: loss is code", f'losses = ["{CODE}"]\n', "preset")
_manifest("preset: start is code", f'losses = ["ce"]\nstart = "{CODE}"\n', "preset")
_manifest("preset: 10^12 epochs of 10^12", 'losses = ["ce"]\nseeds = [0]\n[frozen]\nepochs = -1\n', "preset")


# Tar files.
def _tar(name: str, add: Callable[[tarfile.TarFile], object]) -> None:
    def plant(bench: Path) -> None:
        with tarfile.open(bench / "hostile.tar", "w") as tar:
            _member(tar, "bars/a.png", _png())
            _member(tar, "dots/a.png", _png())
            add(tar)
            _member(tar, "rings/a.png", _png())

    hostile(f"tar: {name}", "check tar", "predict tar")(plant)


def _member(tar: tarfile.TarFile, name: str, data: bytes = b"", **fields: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))


def _png(size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 10, 10)).save(buffer, "PNG")
    return buffer.getvalue()


def _claims(tar: tarfile.TarFile, size: int) -> None:
    info = tarfile.TarInfo("rings/b.png")
    info.size = size
    assert tar.fileobj is not None
    tar.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
    tar.offset += 512


_tar("a path elsewhere", lambda tar: _member(tar, "../../outside/x.png", _png()))
_tar("an absolute path", lambda tar: _member(tar, "/etc/x.png", _png()))
_tar("a link to a secret", lambda tar: _member(tar, "bars/b.png", type=tarfile.SYMTYPE, linkname="../" + OUTSIDE))
_tar("a hard link to a secret", lambda tar: _member(tar, "bars/b.png", type=tarfile.LNKTYPE, linkname=OUTSIDE))
_tar("a device", lambda tar: _member(tar, "bars/b.png", type=tarfile.CHRTYPE, devmajor=1, devminor=5))
_tar("a pipe", lambda tar: _member(tar, "bars/b.png", type=tarfile.FIFOTYPE))
_tar("a member of 2^45 bytes", lambda tar: _claims(tar, 2**45))
_tar("a member of negative size", lambda tar: _claims(tar, -512))
_tar("a path 3,000 deep", lambda tar: _member(tar, "a/" * 3000 + "b.png", _png()))
_tar("escapes in names", lambda tar: _member(tar, "bars/\x1b[2J.png", b"no image"))
_tar("names twice", lambda tar: [_member(tar, "bars/a.png", _png()) for _ in range(9)])
_tar("a zero byte in a name", lambda tar: _member(tar, "bars/a\0b.png", _png()))
_tar("a header without end", lambda tar: _member(tar, "bars/b.png", _png(), pax_headers={"x": "y" * 10**6}))
_tar("a header that lies", lambda tar: _member(tar, "bars/b.png", _png(), pax_headers={"size": "99999999999999"}))


@hostile("tar: a pipe", "check tar", "predict tar")
def _(bench: Path) -> None:
    os.mkfifo(bench / "hostile.tar")


@hostile("tar: a text", "check tar", "predict tar")
def _(bench: Path) -> None:
    (bench / "hostile.tar").write_bytes(b"no tar" * 1000)


# Images and their names.
def _image(name: str, make: Callable[[Path], object]) -> None:
    def plant(bench: Path) -> None:
        for label in ("bars", "dots", "rings"):
            folder = bench / "hostile" / label
            folder.mkdir(parents=True)
            (folder / "a.png").write_bytes(_png())
        make(bench / "hostile" / "bars")

    hostile(f"image: {name}", "check hostile", "predict hostile", "extract hostile")(plant)


def _bytes(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


def _socket(folder: Path) -> None:
    here = os.getcwd()
    os.chdir(folder)  # addresses are short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("b.png")
    os.chdir(here)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_of(width: int, height: int, *chunks: bytes) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + _chunk(b"IDAT", zlib.compress(b"\0" * 999))


_EPS = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n({RAN}) (w) file closefile\nshowpage\n".encode()
_image("a pipe", lambda folder: os.mkfifo(folder / "b.png"))
_image("a socket", _socket)
_image("a device", lambda folder: (folder / "b.png").symlink_to("/dev/zero"))
_image("an endless link", lambda folder: (folder / "b.png").symlink_to("b.png"))
_image("a circle of folders", lambda folder: (folder / "again").symlink_to(".."))
_image("a dangling link", lambda folder: (folder / "b.png").symlink_to("nowhere"))
_image("a folder", lambda folder: (folder / "b.png").mkdir())
_image("PostScript", _bytes("b.jpg", _EPS))
_image("SPIDER", _bytes("b.tif", struct.pack(">27f", 1, 8, 0, 0, 1, *[0.0] * 7, 8, 14, 448, *[0.0] * 12)))
_image("SVG", _bytes("b.png", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'))
_image("PDF", _bytes("b.png", b"%PDF-1.4\n1 0 obj<<>>endobj"))
_image("Python", _bytes("b.png", SOURCE.encode()))
_image("empty", _bytes("b.png", b""))
_image("a bomb of pixels", _bytes("b.png", _png_of(60_000, 60_000)))
_image("a bomb of 2^31 pixels a side", _bytes("b.png", _png_of(2**31 - 1, 2**31 - 1)))
_image("a bomb of text", _bytes("b.png", _png_of(8, 8, _chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 10**8)))))
_image("a bomb of colours", _bytes("b.png", _png_of(8, 8, _chunk(b"iCCP", b"a\0\0" + zlib.compress(b"\0" * 10**8)))))
_image("no width", _bytes("b.png", _png_of(0, 8)))
_image(
    "a circle of TIFF directories", _bytes("b.tif", b"II*\0\x08\0\0\0\x01\0\x00\x01\x03\0\1\0\0\0\1\0\0\0\x08\0\0\0")
)
_image("a newline in a name", _bytes("a\nb.png", b"no image"))
_image("escapes in a name", _bytes("\x1b[2J\x1b]0;x\x07.png", b"no image"))
_image("a name that is not UTF-8", lambda f: open(os.fsencode(f) + b"/\xff\xfe.png", "wb").close())
_image("a name of 250 letters", _bytes("x" * 250 + ".png", _png()))
_image("a name like an option", _bytes("--help.png", _png()))
_image("a name in two directions", _bytes("\u202egnp.png", b"no image"))
_image("a class of escapes", lambda folder: folder.rename(folder.with_name("\x1b[2J")))
_image("a class that is markup", lambda folder: folder.rename(folder.with_name("<script>alert(1)")))

# Names that are typed.
for _name in ("../../outside/x", "..", ".", " ", "NUL", "c/x", "\x1b[2J", "-rf", "x" * 300, "é/è", "a\nb", "\u202ex"):
    hostile(f"name: {ascii(_name)[:20]}", (*COMMANDS["extract"], "--as", _name), "report", "list")(lambda bench: None)


def plant(name: str, bench: Path) -> None:
    """Plant a kind in a bench, and what it must not reach beside it."""
    outside = bench.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret").write_text(SECRET * 50, encoding="utf-8")
    with h5py.File(outside / "secret.h5", "w") as file:
        file["logits"] = np.ones((16, 3), np.float16)
    (outside / "secret.toml").write_text(f'{_OWN}title = "{SECRET}"\n{_FILES}', encoding="utf-8")
    (bench / f"{MODULE}.py").write_text(SOURCE, encoding="utf-8")
    KINDS[name][0](bench)


def control_characters(text: str) -> list[str]:
    """Return the characters in an output that could steer a terminal."""
    return re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
