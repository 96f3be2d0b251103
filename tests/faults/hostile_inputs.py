"""Hostile inputs: manifests, presets, tar files, images and names."""

from __future__ import annotations

import io
import json
import os
import socket
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from tests.faults.hostile import CODE, FILES, OUTSIDE, OWN, RAN, SOURCE, Runs, hostile, pickle_that_runs
from tests.faults.laboratory import COMMANDS


# Weights from strangers.
def _weights(name: str, data: Callable[[], bytes]) -> None:
    hostile(name, "theirs")(lambda bench: (bench / "theirs.pt").write_bytes(data()) and None)


def _safetensors(header: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _zip_pickle() -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save({"state_dict": Runs()}, buffer)
    return buffer.getvalue()


_weights("checkpoint: a pickle that runs", pickle_that_runs)
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


# Manifests and presets.
def _manifest(name: str, text: str, *commands: str) -> None:
    hostile(f"manifest: {name}", *(commands or ("own", "own extract")))(
        lambda bench: (bench / "own.toml").write_text(text, encoding="utf-8") and None
    )


_manifest("layout is code", f'{OWN}[[files]]\nlayout = "{CODE}"\n')
_manifest("a variant of itself", 'name = "own"\nvariant_of = "own.toml"\n[variant]\nkind = "fourier"\n')
_manifest("a variant of a secret", 'name = "own"\nvariant_of = "../outside/secret.toml"\n[variant]\nkind = "fourier"\n')
_manifest("a name elsewhere", f'name = "../../outside/x"\nrole = "test"\n{FILES}')
_manifest("a name with escapes", f'name = "\\u001b[2J\\u0007"\nrole = "test"\n{FILES}')
_manifest("a name with a zero byte", f'name = "a\\u0000b"\nrole = "test"\n{FILES}')
_manifest("a name of 5,000 letters", f'name = "{"x" * 5000}"\nrole = "test"\n{FILES}')
_manifest("a name of a device", f'name = "NUL"\nrole = "test"\n{FILES}')
_manifest("a crop of 10^9", f'{OWN}[variant]\nkind = "fourier"\ncrop = 1000000000\n{FILES}')
_manifest(
    "a family of 10^12",
    'name = "own/{a}/{b}/{c}/{d}"\nvariant_of = "digits-test"\n[family]\n'
    + "".join(f"{letter} = {[*range(1000)]}\n" for letter in "abcd")
    + '[variant]\nkind = "corruption"\nname = "fog"\nseverity = 1\n',
)
_manifest("10^5 deep", f"{OWN}classes = {'[' * 10**5}\n")
_manifest("10^5 dots in a key", f"{'a.' * 10**5}b = 1\n")
_manifest("rows without end", f"{OWN}rows = [0, {2**62}]\n{FILES}")
_manifest("a path through everything", f'{OWN}[[files]]\nlayout = "folders"\npath = "**/**/**/**/*.tar"\n')
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
