"""The index of a cache: what its numbers mean, and which shards exist.

`index.json` pins the meaning; beside each shard `00007.h5` lies its record `00007.json`, written after it. A shard
without a record does not exist, so processes that write different shards never share a file. Each record pins the
meaning of its own shard, so that no shard passes for one of another cache, and an extraction continues after the image
that stopped it was replaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from trustcache.cache.columns import COLUMNS, open_shard, options_of, widths_of
from trustcache.cache.differences import differences_of, in_words
from trustcache.cache.kept_images import REBUILT, kept_image_fault
from trustcache.cache.meaning import CacheRecord, MadeFrom, Meaning, ShardRecord
from trustcache.cache.publish import file_sha256, pack, publish, sweep
from trustcache.cache.records import as_read, fingerprint, read_record, write_record
from trustcache.data.manifest import Manifest
from trustcache.data.progress import Progress, silent
from trustcache.errors import TrustcacheError, UsageError
from trustcache.models.identity import Identity

INDEX = "index.json"
NOT_EXTRACTED = "not extracted yet"
"""The fault of a shard without a record."""


class OtherImages(UsageError):
    """A cache was extracted from other images than lie there now."""


# Returns the fingerprint of the samples [start, stop).
Images = Callable[[int, int], str]
# Entries of the meaning that depend on the images of all shards.
_WHOLE_DATA = ("fingerprint", "samples")
ANEW = "remove that folder to extract anew"
KEEP_BOTH = "or keep both by giving this classifier another name with --as NAME"
OTHER_IMAGES = f"put those back, {ANEW}, {KEEP_BOTH}"
"""Remedy where a cache was extracted from other images."""
_MADE_AGAIN = "remove this file and run the same trustcache extract again, sound shards are kept"


@dataclass(frozen=True)
class Index:
    """A cache's folder and record: what its numbers mean.

    `meaning` is compared when a cache is opened for writing; `made_from` and `made_with` (versions of the software)
    only inform.
    """

    folder: Path
    meaning: Meaning
    made_from: MadeFrom
    made_with: dict[str, str]

    @property
    def classifier(self) -> str:
        """The classifier's name in the workspace."""
        return self.meaning.label

    @property
    def name(self) -> str:
        """The cache's name, as `trustcache cache list` has it."""
        return f"{self.classifier}/{self.data}"

    @property
    def identity(self) -> Identity:
        """The classifier, whatever its name."""
        return self.meaning.classifier

    @property
    def manifest(self) -> Manifest:
        """The data set as its manifest described it."""
        return self.made_from.manifest

    @property
    def data(self) -> str:
        """The data set's name."""
        return self.manifest.name

    @property
    def role(self) -> str:
        """`train` or `test`."""
        return self.manifest.role

    @property
    def samples(self) -> int:
        """Number of images, unreadable ones among them."""
        return self.meaning.data.samples

    @property
    def size(self) -> str:
        """Its number of images; where these are a part, of how many that are here, and of how many published."""
        taken, published = self.meaning.data.subset or f"{self.samples:,}", self.manifest.count
        if published is None or taken.rpartition(" of ")[2] == f"{published:,}":
            return taken
        there = taken.replace(" of ", " of the ") if self.meaning.data.subset else f"all {taken}"
        return f"{there} here ({published:,} published)"

    @property
    def stages(self) -> tuple[str, ...]:
        """Modules whose outputs are its stage features, () without these."""
        return self.meaning.stages.places if self.meaning.stages else ()

    @property
    def imported(self) -> bool:
        """True if its outputs were computed elsewhere, so that it leads to no images and to no classifier."""
        return self.made_from.imported is not None

    def holds(self, column: str) -> bool:
        """Return True if its shards have a column."""
        return COLUMNS[column].kept(self.meaning)

    def lacks(self, *columns: str) -> str:
        """Return the sentence that columns are missing, and what makes a cache that has them."""
        option, named = options_of(columns), ", ".join(columns)
        if not self.imported:
            return (
                f"{self.folder}: was extracted without {named}; remove that folder and extract again with {option}, "
                "or keep both by giving the new one another name with --as NAME"
            )
        features = columns[0] == "features"
        remedy = "import them too: --features FILE" if features else f"they take images: trustcache extract {option}"
        return f"{self.folder}: was imported without {named}; {remedy}"

    def fingerprint(self) -> str:
        """Return SHA-256 over the meaning and the images: scores made from one cache are refused beside another."""
        return self._fingerprint

    def ranges(self) -> list[tuple[int, int]]:
        """Return the sample ranges of all shards, which do not depend on the number of processes that write them."""
        rows = self.meaning.shard_rows
        return [(start, min(start + rows, self.samples)) for start in range(0, self.samples, rows)]

    @cached_property
    def rows(self) -> int:
        """Number of rows: of the images that could be read, in the shards that exist."""
        return sum(record.rows for record in self.records())

    def record(self, number: int) -> ShardRecord | None:
        """Return the record of shard `number`, None if it does not exist. Raises TrustcacheError for a damaged one."""
        path, start = self._path(number), number * self.meaning.shard_rows
        stop = min(start + self.meaning.shard_rows, self.samples)
        try:
            record = read_record(path, ShardRecord, REBUILT)
            if record.meaning != self._shard_meaning:
                raise ValueError("it was made with other settings than this cache's")
            if (record.file, record.start, record.stop) != (self._path(number, ".h5").name, start, stop):
                raise ValueError("it is another shard's")
            if record.rows + len(record.skipped) != stop - start:
                raise ValueError(f"it does not account for its {stop - start} samples")
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise TrustcacheError(f"{path}: not this shard's record ({error}); {REBUILT}") from None
        return record

    def records(self) -> list[ShardRecord]:
        """Return the records of all shards that exist, in order. Raises TrustcacheError for a damaged one."""
        return [r for number in range(len(self.ranges())) if (r := self.record(number))]

    def faults(self, progress: Progress = silent) -> dict[int, str]:
        """Re-read every shard and return, by shard number, what is missing or differs from its record."""
        begun = self._begun()
        found = dict.fromkeys(set(range(len(self.ranges()))).difference(begun), NOT_EXTRACTED)
        if begun:
            with progress(f"checking shards of {self.name}", len(begun)) as advance:
                for number in begun:
                    if fault := self._fault(number):
                        found[number] = fault
                    advance(1)
        return dict(sorted(found.items()))

    def sound(self, number: int) -> bool:
        """Return True if a shard is there, with the bytes that its record tells."""
        return self._path(number).is_file() and self._fault(number) is None

    @property
    def kept_images(self) -> dict[Path, str]:
        """SHA-256 of each file of kept adversarial images, by path; of the shards whose records can be read."""
        known = [record for number in range(len(self.ranges())) if (record := self._old(number))]
        return {self.folder / name: sha256 for record in known for name, sha256 in record.kept_images.items()}

    @property
    def kept_bytes(self) -> int:
        """Size of those files."""
        return sum(path.stat().st_size for path in self.kept_images)

    def add(
        self,
        number: int,
        columns: dict[str, Any],
        skipped: dict[str, str],
        images: str,
        stamp: str = "",
        kept_images: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Publish one shard, then its record. images, stamp: fingerprint and stamp of its samples, "" for no stamp.

        kept_images: SHA-256 of the files of its adversarial images, which are published already, by name. Raises
        UsageError where it replaces a damaged shard of other images.
        """
        data, path = pack(columns), self._path(number, ".h5")
        content = hashlib.sha256(columns["content"].tobytes()).hexdigest()
        if (there := self._old(number)) and there.content != content:
            raise UsageError(f"{path}: is damaged, and its images have changed since it was extracted; {OTHER_IMAGES}")
        publish(path, data)
        digest, rows, bounds = hashlib.sha256(data).hexdigest(), len(columns["labels"]), self.ranges()[number]
        pins = digest, self._shard_meaning, images, content, stamp
        record = ShardRecord(path.name, *bounds, rows, *pins, widths_of(columns), skipped, dict(kept_images))
        write_record(self._path(number), record)

    def restamp(self, record: ShardRecord, stamp: str) -> None:
        """Note that the images of a shard, whose files have another stamp now, still have the content they had."""
        write_record((self.folder / record.file).with_suffix(".json"), replace(record, stamp=stamp))

    def made_of_others(self, images: Images) -> bool:
        """Return True if a shard that exists was made from other images than lie there now."""
        known = [(bounds, record) for n, bounds in enumerate(self.ranges()) if (record := self._old(n))]
        return any(images(*bounds) != record.images for bounds, record in known)

    def finished(self) -> bool:
        """Return True if every shard has a record."""
        return len(self._begun()) == len(self.ranges())

    def _old(self, number: int) -> ShardRecord | None:
        """Return the record of a shard, None where there is none that can be read."""
        try:
            return self.record(number)
        except TrustcacheError:
            return None

    @cached_property
    def _fingerprint(self) -> str:
        # A damaged record has no content: what was made of the whole cache does not count until that is mended.
        known = [self._old(number) for number in range(len(self.ranges()))]
        contents = [record.content if record else None for record in known]
        images = [sha256 for record in known if record for sha256 in record.kept_images.values()]
        return fingerprint([self.meaning, contents, *images])

    @cached_property
    def _shard_meaning(self) -> str:
        table = msgspec.to_builtins(self.meaning)
        return fingerprint({**table, "data": {k: v for k, v in table["data"].items() if k not in _WHOLE_DATA}})

    def _begun(self) -> list[int]:
        return [number for number in range(len(self.ranges())) if self._path(number).is_file()]

    def _path(self, number: int, suffix: str = ".json") -> Path:
        return self.folder / f"{number:05d}{suffix}"

    def _fault(self, number: int) -> str | None:
        try:
            record = self.record(number)
        except TrustcacheError as error:
            return str(error)
        path = self._path(number, ".h5")
        if not path.is_file():
            return f"{path}: missing; {REBUILT}"
        try:
            if record and file_sha256(path) != record.sha256:
                return f"{path}: its bytes are not the ones that were written; {REBUILT}"
            if record:
                with open_shard(path, self.meaning, record.rows, record.widths):
                    pass
                return kept_image_fault(self.folder, record.kept_images)
        except OSError as error:
            return f"{path}: cannot be read ({error}); {REBUILT}"
        return None


def read_index(folder: Path) -> Index:
    """Read a cache's index. Raises UsageError where there is none, TrustcacheError where it cannot be read.

    >>> index = read_index(demo_workspace.cache_folder("net", "birds"))
    >>> index.data, index.ranges(), index.finished()
    ('birds', [(0, 10), (10, 20), (20, 30)], True)
    """
    try:
        record = read_record(folder / INDEX, CacheRecord, _MADE_AGAIN)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder}: holds no cache; make one with trustcache extract") from None
    return Index(folder, record.meaning, record.made_from, record.made_with)


def create_or_continue(index: Index, images: Images, anew: str = ANEW) -> Index:
    """Write a new index, or bring the one that lies there up to date if it means the same.

    While an extraction is unfinished, images that it has not reached may change; for any other difference, raises
    UsageError naming it, and OtherImages where only the images differ. anew: how to extract anew, for a message.
    """
    sweep(index.folder)
    here = replace(index, meaning=as_read(index.meaning), made_from=as_read(index.made_from))
    if not (index.folder / INDEX).is_file():
        if here.made_of_others(images):
            raise UsageError(f"{index.folder}: holds shards of other images, and no {INDEX}; {ANEW}")
        _write(here)
        return here
    there = read_index(index.folder)
    differences = differences_of(msgspec.to_builtins(there.meaning), msgspec.to_builtins(here.meaning))
    ahead = differences.keys() <= {f"data.{key}" for key in _WHOLE_DATA} and not there.finished()
    if differences and (not ahead or there.made_of_others(images)):
        if "data.subset" in differences:  # other images follow from another part
            differences = {where: both for where, both in differences.items() if where[5:] not in _WHOLE_DATA}
        if differences.keys() <= {f"data.{key}" for key in _WHOLE_DATA}:
            raise OtherImages(f"{index.folder}: was extracted from other images")
        what = f"made with other settings: {in_words(differences)}"
        raise UsageError(f"{index.folder}: {what}; {anew}, {KEEP_BOTH}")
    made_from = here.made_from
    if there.finished():  # what it was made in is no longer asked
        made_from = replace(made_from, batch_size=there.made_from.batch_size)
    now = replace(here, made_from=made_from, made_with=there.made_with)
    if now != there:
        _write(now)
    return now


def _write(index: Index) -> None:
    write_record(index.folder / INDEX, CacheRecord(index.meaning, index.made_from, index.made_with))


def judged_fingerprint(index: Index) -> str:
    """Return SHA-256 over a cache's classifier: an oracle only scores caches of the classifier it judges.

    >>> len(judged_fingerprint(demo_workspace.find_cache("test")))
    64
    """
    return fingerprint([index.classifier, index.identity])
