"""Changes of bytes, of JSON and of TOML, drawn from a seed: small damage, and values that nobody would write."""

from __future__ import annotations

import copy
import json
import random
import struct
import zlib
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 2**70, 10**400, 0.5, -0.0, 1e308, 5e-324),
    *(float("inf"), float("nan"), "", " ", "..", "../../x", "/etc/passwd", "\0", "\ud800", "é", "é", "x" * 5000),
    *("<b>&", "a\nb", "\x1b[2J", "NUL", "1e9", "os:system", "m:f", [], {}, [[]], [None], {"": ""}, [1, "a"], [-1, 0]),
)
"""Values to put where another stood."""
WORDS = (b"", b"\0", b"\xff\xfe", b"\x80", b'"', b"{", b"[" * 3000, b"\n", b"=", b"#", b"1e999", b"-", b"\xe2\x80\xae")


def mutated_bytes(data: bytes, draw: random.Random) -> bytes:
    """Return bytes with one to four of: flipped bits, a cut, a piece left out, twice, moved or overwritten."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        size = len(changed)
        at, length = draw.randrange(size + 1), draw.choice((1, 1, 2, 4, 8, 64))
        piece = changed[at : at + length]
        how = draw.randrange(7)
        if how == 0 and at < size:
            changed[at] ^= 1 << draw.randrange(8)
        elif how == 1:
            del changed[at:]
        elif how == 2:
            del changed[at : at + length]
        elif how == 3:
            changed[at:at] = piece * draw.choice((1, 1, 300))
        elif how == 4:
            changed[at : at + length] = draw.randbytes(len(piece))
        elif how == 5:
            changed[at:at] = draw.choice(WORDS)
        else:
            number = draw.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**16, 255))
            changed[at : at + 4] = struct.pack(draw.choice("<>") + "I", number)[: len(piece) or 4]
    return bytes(changed)


def mutated_table(table: Any, draw: random.Random) -> Any:
    """Return JSON data of which one or two nodes are other values, missing, twice, or under another name."""
    changed = copy.deepcopy(table)
    for _ in range(draw.choice((1, 1, 2))):
        places = list(_places(changed))
        if not places:
            return draw.choice(VALUES)
        parent, key = draw.choice(places)
        how = draw.randrange(8)
        if how == 0:
            del parent[key]
        elif how == 1 and isinstance(parent, dict):
            parent[draw.choice(("", "x", "schema", "checksum", "name"))] = parent.pop(key)
        elif how == 2 and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        elif how == 3 and isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
            parent[key] = draw.choice((parent[key] + 1, -parent[key], parent[key] * 10**6, parent[key] // 3))
        elif how == 4 and isinstance(parent[key], str):
            parent[key] = mutated_bytes(parent[key].encode(), draw).decode(errors="replace")
        else:
            parent[key] = copy.deepcopy(draw.choice(VALUES))
    return changed


def _places(value: Any) -> Any:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def mutated_json(data: bytes, draw: random.Random) -> bytes:
    """Return a JSON text with mutated nodes."""
    table = mutated_table(json.loads(data), draw)
    if draw.random() < 0.02:  # deeper than any reader should follow
        return b'{"schema":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    return json.dumps(table, ensure_ascii=False).encode("utf-8", "surrogatepass")


def mutated_toml(data: bytes, draw: random.Random) -> bytes:
    """Return a TOML text of which one or two lines have another value, key or place."""
    lines = data.decode().splitlines()
    for _ in range(draw.choice((1, 1, 2))):
        at = draw.randrange(len(lines))
        key, equals, _ = lines[at].partition("=")
        how = draw.randrange(5)
        if how == 0 and equals:
            lines[at] = f"{key}= {_toml(draw.choice(VALUES))}"
        elif how == 1:
            del lines[at]
        elif how == 2:
            lines.insert(draw.randrange(len(lines) + 1), lines[at])
        elif how == 3:
            word = draw.choice(("family", "variant", "variant_of", "rows", "count", "classes", "thinned_to", "subset"))
            lines.insert(0, f"{word} = {_toml(draw.choice(VALUES))}")
        else:
            lines[at] = mutated_bytes(lines[at].encode(), draw).decode(errors="replace")
        lines = lines or [""]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return {None: '""', float("inf"): "inf"}.get(value) or json.dumps(value).replace("NaN", "nan")


def mutated_safetensors(data: bytes, draw: random.Random) -> bytes:
    """Return a safetensors file with a mutated header or other numbers."""
    size = int.from_bytes(data[:8], "little")
    head, numbers = json.loads(data[8 : 8 + size]), bytearray(data[8 + size :])
    how = draw.randrange(4)
    if how == 0 and numbers:
        at = draw.randrange(len(numbers))
        numbers[at : at + 8] = struct.pack("<d", draw.choice((float("nan"), float("inf"), -1e308, 0.0)))
    elif how == 1 and "record" in head.get("__metadata__", {}):
        record = mutated_json(head["__metadata__"]["record"].encode(), draw)
        head["__metadata__"]["record"] = record.decode(errors="replace")
    else:
        head = mutated_table(head, draw)
    text = json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + bytes(numbers)


def mutated_image(data: bytes, draw: random.Random) -> bytes:
    """Return an image file with mutated bytes; of a PNG often with the checksums of its chunks put right."""
    changed = mutated_bytes(data, draw)
    if not changed.startswith(b"\x89PNG\r\n\x1a\n") or draw.random() < 0.3:
        return changed
    out, at = [changed[:8]], 8
    while at + 12 <= len(changed):
        size = int.from_bytes(changed[at : at + 4], "big")
        chunk = changed[at + 4 : at + 8 + size]
        out.append(len(chunk[4:]).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big"))
        at += 12 + size
    return b"".join(out) + changed[at:]
