"""The workspace: one folder with everything trustcache writes."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trustcache.cache.index import INDEX, Index, read_index
from trustcache.data.known_data import name_among
from trustcache.errors import TrustcacheError, UsageError, did_you_mean, first_few, visible
from trustcache.registry.options import WORKSPACE

REMOVED = ".removed-"
"""Beginning of the names of folders that hold what is being removed."""


@dataclass(frozen=True)
class Workspace:
    """A folder with `cache/` and `scores/`, each of `<classifier>/<data set>/`, `runs/<run>/`, `sweeps/`, `report/`.

    `bootstrap/` and `figures/` hold what the report can make again. The folder is made when first written to.

    >>> [index.name for index in demo_workspace.caches()]
    ['net/birds']
    >>> demo_workspace.find_cache("test").samples
    30
    """

    root: Path
    passed_over: Callable[[TrustcacheError], object] | None = field(default=None, compare=False)
    """Told of each damaged index, whose cache is then left out; None raises."""

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def sweeps(self) -> Path:
        return self.root / "sweeps"

    @property
    def report(self) -> Path:
        return self.root / "report"

    @property
    def tracking(self) -> Path:
        """The folder of what TensorBoard and others draw."""
        return self.root / "tracking"

    def cache_folder(self, classifier: str, data: str) -> Path:
        """Return the folder of the cache of a classifier and data set; `data` may be a family's member, a/b/5."""
        return self.root / "cache" / _of_cache(classifier, data)

    def scores_folder(self, classifier: str, data: str) -> Path:
        """Return the folder of a classifier's post-hoc scores on a data set, and of those fitted on it."""
        return self.root / "scores" / _of_cache(classifier, data)

    def bootstrap_file(self, classifier: str, data: str) -> Path:
        """Return the file of a cache's metrics on the bootstrap's resamples."""
        path = self.root / "bootstrap" / _of_cache(classifier, data)
        return path.with_name(f"{path.name}.safetensors")  # a data set's name may have a dot

    def figures_file(self, classifier: str, data: str) -> Path:
        """Return the file of the figures that a report makes of a cache's scores."""
        path = self.root / "figures" / _of_cache(classifier, data)
        return path.with_name(f"{path.name}.safetensors")

    @property
    def drawings_file(self) -> Path:
        """The file of the charts that the report's page was drawn with."""
        return self.root / "figures" / "drawings.json"

    @property
    def step_log(self) -> Path:
        """The file of the steps of `trustcache reproduce` that are done."""
        return self.root / "reproduced.json"

    def cache_folders(self) -> list[Path]:
        """Return the folders with an index or a shard."""
        found, seen = [], set()
        # Links are followed: large caches are often kept on another disk.
        for folder, inside, files in os.walk(self.root / "cache", followlinks=True):
            inside[:] = [name for name in inside if not name.startswith(REMOVED)]
            if (place := os.path.realpath(folder)) in seen:  # a link to a folder that it lies in leads round for ever
                inside.clear()
            elif INDEX in files or any(name.endswith(".h5") for name in files):
                found.append(Path(folder))
            seen.add(place)
        return sorted(found)

    def run_folder(self, run: str) -> Path:
        """Return the folder of a run."""
        return self.runs / file_name(run)

    def threshold_folder(self, classifier: str, score: str) -> Path:
        """Return the folder of a post-hoc score's threshold, whose name no run has."""
        return self.runs / _shortened(f"{file_name(classifier)}@{file_name(score)}")

    def sweep_file(self, sweep: str) -> Path:
        """Return the file of a sweep."""
        return self.sweeps / f"{file_name(sweep)}.json"

    def caches(self) -> list[Index]:
        """Return all caches, sorted by classifier and data set. Raises TrustcacheError for a damaged index."""
        found = []
        for folder in self.cache_folders():
            if (folder / INDEX).is_file():
                try:
                    found.append(read_index(folder))
                except TrustcacheError as error:
                    if self.passed_over is None:
                        raise
                    self.passed_over(error)
        return sorted(found, key=lambda index: (index.classifier, index.data))

    def reportable(self, caches: Sequence[Index]) -> list[Index]:
        """Return those of the workspace's caches that hold evaluation data. Raises UsageError where none does.

        >>> [index.data for index in demo_workspace.reportable(demo_workspace.caches())]
        ['birds']
        """
        if found := [index for index in caches if index.role == "test"]:
            return found
        raise UsageError(
            f"nothing to report: {self.root / 'cache'} holds no evaluation data; "
            "begin with trustcache extract --classifier NAME --data NAME, or trustcache demo"
        )

    def cache_named(self, name: str) -> Index:
        """Return the cache of a name CLASSIFIER/DATA. Raises UsageError where there is none, or there are several.

        >>> demo_workspace.cache_named("net/birds").samples
        30
        """
        caches = self.caches()
        found = [index for index in caches if index.name == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{name}: {len(found)} caches have that name: {', '.join(str(i.folder) for i in found)}")
        near = did_you_mean(name, [index.name for index in caches])
        raise UsageError(f"no cache '{name}' in {self.root / 'cache'}; make one with trustcache extract{near}")

    def caches_named(self, name: str) -> list[Index]:
        """Return the cache of a name CLASSIFIER/DATA, or all caches of a classifier. Raises as `cache_named`.

        >>> [index.data for index in demo_workspace.caches_named("net")]
        ['birds']
        """
        caches = self.caches()
        named = any(index.name == name for index in caches)
        of_classifier = [index for index in caches if index.classifier == name and not named]
        return of_classifier or [self.cache_named(name)]

    def removal_line(self, caches: Iterable[Index]) -> str:
        """Return the command that removes caches of this workspace.

        >>> Workspace(Path("mine")).removal_line(demo_workspace.caches()).split()[3:]
        ['net/birds', '--workspace', 'mine']
        """
        names = [index.name for index in caches]
        return visible(shlex.join(["trustcache", "cache", "rm", *names, *self.words]))

    @property
    def words(self) -> list[str]:
        """The option that makes a command work in this workspace, [] for the default."""
        return [] if self.root == WORKSPACE else ["--workspace", str(self.root)]

    def find_cache(
        self, role: str | None, classifier: str | None = None, data: str | None = None, option: str = "--data"
    ) -> Index:
        """Return the one cache of a role, None for any, that fits. Raises UsageError where none or several fit.

        data: its name, or images as `extract` takes them (`name_among`). option: of the command, which gives it.
        """
        caches = self.caches()
        judged = [index for index in caches if classifier in (None, index.classifier)]
        meant = None if data is None else name_among([index.data for index in judged], data)
        named = [index for index in judged if meant in (None, index.data)]
        fitting = [index for index in named if role in (None, index.role)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            options = ", ".join(f"--classifier {c.classifier} --data {c.data}" for c in fitting)
            wanted = " ".join(filter(None, [role, "caches", data and f"of {data}"]))
            raise UsageError(f"several {wanted} in {self.root / 'cache'}; choose one of: {options}")
        if classifier and not judged:
            asked = f"--classifier {classifier}: has no cache"
            near = did_you_mean(classifier, sorted({index.classifier for index in caches}))
        elif data:
            asked = f"{option} {data}: is no {role} cache" if named and role else f"{option} {data}: is no cache"
            near = "" if named else did_you_mean(data, [index.data for index in judged])
        else:
            asked, near = f"there is no {role} cache" if role else "there is no cache", ""
        there = _listed(sorted(judged or caches, key=lambda index: index.role != role))
        raise UsageError(f"{asked} in {self.root / 'cache'}, which holds {there}; {_MAKE[role]}{near}")


_LISTED = 6
_MAKE = {
    "train": "name a train cache, or make one with trustcache extract --classifier NAME --data FOLDER:train",
    "test": "name a test cache, or make one with trustcache extract --classifier NAME --data NAME",
    None: "name one of these, or make one with trustcache extract --classifier NAME --data NAME",
}
"""How to mend that there is no cache, by its role."""


def _listed(caches: Sequence[Index]) -> str:
    names = [f"{index.name} ({index.role})" for index in caches]
    return first_few(names, _LISTED) or "nothing"


def _of_cache(classifier: str, data: str) -> Path:
    return Path(file_name(classifier)) / data_path(data)


def data_path(data: str) -> Path:
    """Return the relative path of what belongs to a data set: a folder for each part of its name.

    No folder is called as a file of ours can be: those of birds/mcp.h5 and of the score mcp on birds stay apart.

    >>> str(data_path("birds-c/fog/3")), str(data_path("birds/mcp.h5"))
    ('birds-c/fog/3', 'birds/mcp%2Eh5')
    """
    parts = [file_name(part) for part in data.split("/")]
    if len(parts) > 1:
        parts = [_SUFFIX.sub(_escaped, part) for part in parts]
    return Path(*parts)


_SUFFIX = re.compile(r"\.(?=(h5|json|safetensors)$)", re.IGNORECASE)
# What a plain name keeps; a leading or trailing dot would hide a file, or be lost on some systems.
_TO_ESCAPE = re.compile(r"[^A-Za-z0-9._+-]|^\.|\.\Z")
# Names that Windows keeps to itself, whatever follows their first dot.
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(?=\.|$)", re.IGNORECASE)
# File systems allow 255 bytes, and eCryptfs 143; our suffixes and the marks of temporary files come on top.
LONGEST_NAME = 140
_END = 8  # a run's name ends with the hash of its config, and so does its folder's
_KEPT = LONGEST_NAME - len("%-") - 32 - len("-") - _END


def file_name(name: str) -> str:
    """Return the name of the file or folder that belongs to a name: its own, or an escaped one.

    Letters, digits and `-_.+` stay. Everything else, and what some system takes for special, becomes `%XX`, a byte of
    its UTF-8. No two names share one; `urllib.parse.unquote` gives the name back unless it is too long, when a hash
    stands for its middle. Names that differ in case alone share a folder where the file system ignores case.

    >>> file_name("vit_base"), file_name("hf_hub:me/model"), file_name(".."), file_name("nul")
    ('vit_base', 'hf_hub%3Ame%2Fmodel', '%2E%2E', '%6Eul')
    """
    if not name:
        return "%"
    escaped = _TO_ESCAPE.sub(_escaped, name)
    if _RESERVED.match(escaped):
        escaped = f"%{ord(escaped[0]):02X}{escaped[1:]}"
    return _shortened(escaped)


def _shortened(escaped: str) -> str:
    if len(escaped) <= LONGEST_NAME:
        return escaped
    digest = hashlib.sha256(escaped.encode()).hexdigest()[:32]
    return f"{escaped[:_KEPT]}%-{digest}-{escaped[-_END:]}"


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))
