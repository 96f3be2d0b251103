"""Files that nobody would write, and what the commands that read them say: a sentence, or an answer."""

from __future__ import annotations

import contextlib
import functools
import io
import random
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults import mutations
from tests.faults.cases import HARMLESS, REFUSED, SILENT, TRACEBACK, is_sentence, restore, said
from tests.faults.damage import READ_BY, WORDS
from tests.faults.laboratory import WORKSPACE, contents, kinds
from trustcache.errors import TrustcacheError

MANIFEST = "own.toml"
TEXTS = {
    MANIFEST: [
        b'name = "own"\nrole = "test"\ntitle = "own photos"\ncount = 54\nclasses = ["bars", "dots", "rings"]\n'
        b'suite = "own"\nplays = "test"\n[[files]]\nlayout = "folders"\npath = "photos/test"\n',
        b'name = "own/{corruption}/{severity}"\nvariant_of = "digits-test"\nplays = "corrupted"\n[family]\n'
        b'corruption = ["contrast", "fog"]\nseverity = [1, 5]\n[variant]\nkind = "corruption"\n'
        b'name = "{corruption}"\nseverity = "{severity}"\ncrop = 8\nseed = 3\n',
        b'name = "own"\nrole = "test"\nrows = [3, 50]\nthinned_to = 20\nsubset = ["0", "1"]\n'
        b'classes = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]\n[[files]]\nlayout = "digits"\n',
    ],
}
# What a kind of file is mutated by, beside its bytes.
MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".json": mutations.mutated_json,
    ".jsonl": mutations.mutated_json,
    ".safetensors": mutations.mutated_safetensors,
    ".toml": mutations.mutated_toml,
}
KINDS = {
    MANIFEST: 2,
    "index": 2,
    "shard record": 1,
    "run config": 2,
    "threshold": 1,
    "log": 1,
    "sweep": 1,
    "scores of a run": 1,
    "post-hoc score": 1,
    "fitted score": 1,
}
"""Kinds of files to fuzz, with their shares."""
# The command by which a kind is read most of the time; now and then it is one of those of READ_BY, which are slow.
QUICK = {
    MANIFEST: ("data", "check", MANIFEST, "--data-root", "."),
    "index": WORDS["show"],
    "shard record": WORDS["show"],
    "run config": WORDS["evaluate"],
    "threshold": WORDS["predict a score"],
    "log": WORDS["train"],
    "sweep": WORDS["predict the winner"],
    "scores of a run": WORDS["evaluate"],
    "post-hoc score": WORDS["evaluate"],
    "fitted score": WORDS["calibrate a score"],
}


def judge(case: list[str | int]) -> tuple[str, str]:
    """Mutate a file of a kind, for a case [kind, seed], and run a command that reads it."""
    kind, draw = str(case[0]), random.Random(f"{case[0]} {case[1]}")
    before = _before()
    if kind in TEXTS:
        path, data = Path(kind), draw.choice(TEXTS[kind])
    else:
        path = draw.choice(_kinds()[kind])
        data = before[str(path)]
    resealed = draw.random() < 0.75
    if resealed:
        changed = MUTATIONS[path.suffix](data.splitlines()[0] if path.suffix == ".jsonl" else data, draw)
        if kind not in TEXTS:
            changed = _sealed(changed)
    else:
        changed = mutations.mutated_bytes(data, draw)
    path.write_bytes(changed)
    if kind == "run config" and resealed:
        _rename(path)
    slow = draw.random() < 0.1 and READ_BY.get(kind)
    words = WORDS[draw.choice(slow)] if slow and "evaluate again" not in slow else QUICK[kind]
    try:
        heard = said(*words)
    finally:
        restore(Path(), before, contents(Path()))
    if heard.code and not is_sentence(heard):
        return TRACEBACK, heard.text
    if "Traceback" in heard.text:
        return TRACEBACK, heard.text
    return (REFUSED if heard.code else HARMLESS), ""


def _rename(config: Path) -> None:
    """Give a run the name that its config asks for, where that can be read, so that no reader stops there."""
    from trustcache.cache.records import read_record
    from trustcache.oracles.runs import RunConfig

    with contextlib.suppress(TrustcacheError, OSError, ValueError):
        name = read_record(config, RunConfig, "").name
        if name == Path(name).name:
            config.parent.rename(config.parent.with_name(name))


def _sealed(data: bytes) -> bytes:
    """Return a file's bytes with the checksum that they should have, as who means harm would write it."""
    from trustcache.cache.seal import UNSEALED, publish_sealed

    bare, found = re.subn(rb"sha256:[0-9a-f]{64}", UNSEALED.encode(), data, count=1)
    if not found or UNSEALED.encode() not in bare[:1024]:
        return data
    publish_sealed(Path("sealed"), bare)
    sealed = Path("sealed").read_bytes()
    Path("sealed").unlink()
    return sealed


@functools.cache
def _before() -> dict[str, bytes]:
    return contents(Path())


@functools.cache
def _kinds() -> dict[str, list[Path]]:
    return kinds(Path(WORKSPACE))


def judge_image(case: list[int]) -> tuple[str, str]:
    """Mutate an image, for a case [seed], and decode it as extraction does."""
    from trustcache.data.samples import BadImage, decode_rgb

    draw = random.Random(case[0])
    data = mutations.mutated_image(draw.choice(_images()), draw)
    out = io.StringIO()
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stderr(out):
        warnings.simplefilter("default")
        try:
            image = decode_rgb(data, "photo")
            np.asarray(image)
        except BadImage as bad:
            return (REFUSED if "\n" not in str(bad) else TRACEBACK), str(bad)
    if out.getvalue() or caught:
        return SILENT, f"prints {out.getvalue()} {[str(one.message) for one in caught]}"
    return (HARMLESS if image.mode == "RGB" else SILENT), ""


@functools.cache
def _images() -> list[bytes]:
    draw = np.random.default_rng(0)
    plain = Image.fromarray(draw.integers(0, 255, (12, 9, 3), dtype=np.uint8))
    made = []
    for format, modes in (
        ("PNG", ("RGB", "L", "RGBA", "P", "1", "I;16", "LA")),
        ("JPEG", ("RGB", "L", "CMYK")),
        ("BMP", ("RGB", "L", "1")),
        ("PPM", ("RGB", "L", "1")),
        ("WEBP", ("RGB", "RGBA")),
        ("TIFF", ("RGB", "L", "F", "I;16", "CMYK")),
        ("GIF", ("P", "L")),
    ):
        for mode in modes:
            image = Image.fromarray(draw.integers(0, 65535, (12, 9), dtype=np.uint16)) if mode == "I;16" else None
            buffer = io.BytesIO()
            (image or plain.convert(mode)).save(buffer, format)
            made.append(buffer.getvalue())
    return made
