"""Records on disk: dataclasses as JSON, each kind with a schema version, read whole or refused in one sentence.

A record that an older or newer trustcache wrote is refused, never misread: whoever changes the meaning of a kind's
fields raises its `SCHEMA`. A file's checksum (`cache/seal.py`) stands beside the schema; an edit by hand breaks it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import msgspec

from trustcache.cache.seal import UNSEALED, publish_sealed, read_sealed
from trustcache.cache.versions import trustcache_version
from trustcache.errors import DamagedError, TrustcacheError, escape_unseen

RESULT_SCHEMA = 1
"""Version of the documents that commands print for `--json`."""


class Record(Protocol):
    """A dataclass with the version of its fields."""

    SCHEMA: ClassVar[int]


R = TypeVar("R", bound=Record)
T = TypeVar("T")


def write_record(path: Path, record: Record) -> None:
    """Publish a record as readable JSON. Raises ValueError for a number that is not finite.

    >>> from trustcache.cache.meaning import ShardRecord
    >>> write_record(tmp / "00000.json", ShardRecord("00000.h5", 0, 2, 1, *"abcde", {"logits": 4}, {}))
    """
    table = _table(record)
    text = json.dumps(table, ensure_ascii=False, allow_nan=False)
    try:
        # As json.dumps indents it, in a tenth of the time: an index names a thousand classes.
        data = msgspec.json.format(text, indent=2).encode()
    except UnicodeEncodeError:
        # File names that are not UTF-8 hold lone surrogates; with a backslash they are JSON's own notation for them.
        data = json.dumps(table, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace")
    publish_sealed(path, data + b"\n")


def read_record(path: Path, kind: type[R], remedy: str) -> R:
    """Read the record of a file.

    Raises FileNotFoundError where there is none; DamagedError naming the file, the fault and the remedy where it is
    damaged or of an older schema; TrustcacheError where a newer trustcache made it.

    >>> from trustcache.cache.meaning import CacheRecord
    >>> folder = demo_workspace.cache_folder("net", "birds")
    >>> read_record(folder / "index.json", CacheRecord, "extract it again").meaning.data.samples
    30
    """
    return parse_record(read_sealed(path, remedy), kind, str(path), remedy)


def record_text(record: Record) -> str:
    """Return a record as one line of JSON, to be kept near the beginning of another file, which it seals.

    >>> from trustcache.cache.meaning import ShardRecord
    >>> text = record_text(ShardRecord("00000.h5", 0, 2, 2, *"abcde", {"logits": 4}, {}))
    >>> parse_record(text, ShardRecord, "weights.safetensors", "remove it").rows
    2
    """
    return json.dumps(_table(record), allow_nan=False)


def parse_record(text: str | bytes, kind: type[R], where: str, remedy: str) -> R:
    """Return the record that `record_text` wrote. where: the file that an error names. Raises as `read_record`.

    >>> from trustcache.cache.meaning import ShardRecord
    >>> parse_record('{"schema": 1}', ShardRecord, "00000.json", "extract it again")
    Traceback (most recent call last):
    trustcache.errors.DamagedError: 00000.json: written in schema 1, this program reads 4; extract it again
    """
    with _refused(where, remedy):
        table = json.loads(text)
        if not isinstance(table, dict) or not isinstance(table.get("schema"), int):
            raise ValueError("no field schema, as an older trustcache wrote it")
        if table["schema"] == kind.SCHEMA:
            return msgspec.convert(table, kind)
    versions = f"written in schema {table['schema']}, this program reads {kind.SCHEMA}"
    if table["schema"] > kind.SCHEMA:
        raise TrustcacheError(f"{where}: made by a newer trustcache ({versions}); install that")
    raise DamagedError(f"{where}: {versions}; {remedy}")


def read_lines(path: Path, kind: type[T], remedy: str) -> list[T]:
    """Read what `write_lines` wrote. Raises as `read_record`.

    >>> from trustcache.cache.meaning import Stages
    >>> write_lines(tmp / "lines", [{"places": ["layer1"], "poolings": ["mean"]}])
    >>> read_lines(tmp / "lines", Stages, "remove it")
    [Stages(places=('layer1',), poolings=('mean',))]
    """
    text = read_sealed(path, remedy)
    with _refused(str(path), remedy):
        return [msgspec.convert(json.loads(line), kind) for line in text.splitlines()]


def write_lines(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Publish at least one table, one a line, as JSON. The first line has the file's checksum.

    The schema is that of the record beside the file.

    >>> write_lines(tmp / "lines", [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    >>> (tmp / "lines").read_text().count("checksum")
    1
    """
    first, *others = entries
    lines = [json.dumps(entry) + "\n" for entry in ({"checksum": UNSEALED, **first}, *others)]
    publish_sealed(path, "".join(lines).encode())


def as_read(value: T) -> T:
    """Return a dataclass as it comes back from its file: lists among free values, floats where a field says so.

    >>> as_read({"size": (8, 8)})
    {'size': [8, 8]}
    """
    return msgspec.convert(json.loads(json.dumps(msgspec.to_builtins(value))), type(value))


def result_json(command: str, fields: Mapping[str, Any]) -> str:
    """Return the JSON document that a command prints for `--json`: dataclasses as tables, null where not finite.

    Characters that a terminal would act on are escaped, and so is what is not Unicode in a file's name.

    >>> print(result_json("data list", {"name": "a\u202eb", "risk": float("nan")}))
    {
      "schema": 1,
      "command": "data list",
      "name": "a\\u202eb",
      "risk": null
    }
    """
    plain = msgspec.to_builtins({"schema": RESULT_SCHEMA, "command": command, **fields}, enc_hook=_as_plain)
    text = json.dumps(_finite(plain), indent=2, ensure_ascii=False, allow_nan=False)
    return escape_unseen(text, lambda character: json.dumps(character)[1:-1], kept="\n")


def flat_facts(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield what a table says as names and texts, those of a table within it as `above.name`; empty ones are left out.

    Of a list of tables the number is told.

    >>> list(flat_facts({"rows": 3, "meaning": {"store": "float16", "stages": None}, "files": [{"size": 1}]}))
    [('rows', '3'), ('meaning.store', 'float16'), ('files', '1, shown by --json')]
    """
    for name, one in msgspec.to_builtins(value, enc_hook=_as_plain).items():
        if isinstance(one, dict):
            yield from flat_facts(one, f"{above}{name}.")
        elif one not in (None, "", [], ()):
            listed = isinstance(one, list | tuple)
            tables = listed and isinstance(one[0], dict)
            text = f"{len(one):,}, shown by --json" if tables else ", ".join(map(str, one)) if listed else str(one)
            yield f"{above}{name}", text


def _as_plain(value: Any) -> Any:
    """Return what msgspec does not know as plain data: paths, and numbers and arrays of numpy."""
    return str(value) if isinstance(value, Path) else value.tolist()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def fingerprint(value: Any) -> str:
    """Return SHA-256 over plain data and dataclasses, whatever the order of a table's keys.

    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(msgspec.to_builtins(value), sort_keys=True).encode()).hexdigest()


def _table(record: Record) -> dict[str, Any]:
    head = {"schema": record.SCHEMA, "trustcache": trustcache_version(), "checksum": UNSEALED}
    return {**head, **msgspec.to_builtins(record)}


@contextmanager
def _refused(where: str, remedy: str) -> Iterator[None]:
    """Turn what json and msgspec raise into one sentence."""
    try:
        yield
    except RecursionError:
        raise DamagedError(f"{where}: damaged (it is nested too deep); {remedy}") from None
    except (ValueError, OverflowError, msgspec.ValidationError) as error:
        what, _, field = str(error).partition(" - at `$.")
        named = f"field {field.rstrip('`')}: {what}" if field else what
        raise DamagedError(f"{where}: damaged ({named}); {remedy}") from None
