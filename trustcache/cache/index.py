"""The index of a cache: what its numbers mean, and which shards exist.

`index.json` pins the meaning and never changes; beside each shard `00007.h5` lies its record `00007.json`, written
after it. A shard without a record does not exist, so processes that write different shards never share a file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trustcache.cache.publish import file_sha256, pack, publish, publish_json, sweep
from trustcache.errors import TrustcacheError, UsageError

SCHEMA = 1
INDEX = "index.json"


@dataclass(frozen=True)
class ShardRecord:
    """One shard: the sample indices [start, stop) it answers for, and what it holds of them.

    `skipped` maps the ids of images that could not be read to the reasons; they have no row.
    """

    file: str
    start: int
    stop: int
    rows: int
    sha256: str
    skipped: dict[str, str]


@dataclass(frozen=True)
class Index:
    """What a cache's numbers mean.

    `meaning` is compared when a cache is opened for writing: classifier, preprocessing, data set, precision, dtype.
    `made_from` (the manifest, where images and weights lay) and `made_with` (software versions) only inform.
    """

    folder: Path
    samples: int
    shard_rows: int
    meaning: dict[str, Any]
    made_from: dict[str, Any]
    made_with: dict[str, str]

    @property
    def classifier(self) -> str:
        """The name that the cache's classifier goes by in the workspace."""
        return self.meaning["classifier"]["label"]

    @property
    def data(self) -> str:
        """The data set's name."""
        return self.made_from["manifest"]["name"]

    @property
    def role(self) -> str:
        """`train` or `test`."""
        return self.made_from["manifest"]["role"]

    def fingerprint(self) -> str:
        """SHA-256 over the meaning: scores made from one cache are refused beside another."""
        return hashlib.sha256(json.dumps(self.meaning, sort_keys=True).encode()).hexdigest()

    def ranges(self) -> list[tuple[int, int]]:
        """The sample ranges of all shards, whatever the number of processes that write them."""
        return [(a, min(a + self.shard_rows, self.samples)) for a in range(0, self.samples, self.shard_rows)]

    def record(self, number: int) -> ShardRecord | None:
        """The record of shard `number`, or None where it does not exist."""
        path = self.folder / f"{number:05d}.json"
        if not path.is_file():
            return None
        try:
            return ShardRecord(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise TrustcacheError(f"{path}: not a shard's record ({error}); remove it and run extract again") from None

    def records(self) -> list[ShardRecord]:
        """The records of all shards that exist, in order."""
        return [r for number in range(len(self.ranges())) if (r := self.record(number))]

    def faults(self) -> dict[int, str]:
        """Re-read every shard; what is missing or differs from its record, by shard number."""
        found = {}
        for number in range(len(self.ranges())):
            record = self.record(number)
            if record is None:
                found[number] = "not extracted yet"
            elif not (path := self.folder / record.file).is_file():
                found[number] = f"{path}: missing"
            elif file_sha256(path) != record.sha256:
                found[number] = f"{path}: its bytes are not the ones that were written"
        return found

    def add(self, number: int, columns: dict[str, Any], skipped: dict[str, str]) -> None:
        """Publish one shard, then its record."""
        data = pack(columns)
        name = f"{number:05d}.h5"
        start, stop = self.ranges()[number]
        publish(self.folder / name, data)
        digest = hashlib.sha256(data).hexdigest()
        record = ShardRecord(name, start, stop, len(columns["label"]), digest, skipped)
        publish_json(self.folder / f"{number:05d}.json", asdict(record))


def read_index(folder: Path) -> Index:
    """Read a cache's index. Raises UsageError where there is none, TrustcacheError where it cannot be read."""
    path = folder / INDEX
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if table["schema"] != SCHEMA:
            raise TrustcacheError(
                f"{path}: written in schema {table['schema']}, this program reads {SCHEMA}; extract it again"
            )
        return Index(folder, **{key: value for key, value in table.items() if key != "schema"})
    except FileNotFoundError:
        raise UsageError(f"{folder}: holds no cache; make one with trustcache extract") from None
    except (ValueError, KeyError, TypeError) as error:
        raise TrustcacheError(f"{path}: damaged ({error}); remove the folder and run extract again") from None


def create_or_continue(index: Index) -> Index:
    """Write a new index, or return the one that lies there if it means the same.

    Raises UsageError naming the first difference where the cache was made from something else.
    """
    if not (index.folder / INDEX).is_file():
        table = {key: value for key, value in asdict(index).items() if key != "folder"}
        publish_json(index.folder / INDEX, {"schema": SCHEMA, **table})
        return index
    sweep(index.folder)
    there = read_index(index.folder)
    here = json.loads(json.dumps(index.meaning))
    if difference := _first_difference(there.meaning, here):
        raise UsageError(
            f"{index.folder}: made with other settings: {difference}; remove that folder to extract anew, "
            "or keep both by giving this classifier another name with --as NAME"
        )
    return there


def _first_difference(there: Any, here: Any, where: str = "") -> str | None:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            found = _first_difference(there.get(key), here.get(key), f"{where}.{key}" if where else key)
            if found:
                return found
        return None
    return None if there == here else f"{where} was {there!r}, now it is {here!r}"
