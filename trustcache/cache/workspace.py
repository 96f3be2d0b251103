"""The workspace: one folder with everything trustcache writes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from trustcache.cache.index import INDEX, Index, read_index
from trustcache.errors import UsageError


@dataclass(frozen=True)
class Workspace:
    """A folder with `cache/` and `scores/`, each of `<classifier>/<data set>/`, `runs/<run>/`, `sweeps/`, `report/`.

    `bootstrap/` holds what the report can make again. The folder is made when first written to.

    >>> [f"{index.classifier}/{index.data}" for index in demo_workspace.caches()]
    ['net/birds']
    >>> demo_workspace.find_cache("test").samples
    30
    """

    root: Path

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def sweeps(self) -> Path:
        return self.root / "sweeps"

    @property
    def report(self) -> Path:
        return self.root / "report"

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

    @property
    def step_log(self) -> Path:
        """The file of the steps of `trustcache reproduce` that are done."""
        return self.root / "reproduced.json"

    def cache_folders(self) -> list[Path]:
        """Return the folders with an index or a shard."""
        # Links are followed: large caches are often kept on another disk.
        walk = os.walk(self.root / "cache", followlinks=True)
        return sorted(
            Path(folder) for folder, _, files in walk if INDEX in files or any(name.endswith(".h5") for name in files)
        )

    def caches(self) -> list[Index]:
        """Return all caches, sorted by classifier and data set. Raises TrustcacheError for a damaged index."""
        found = [read_index(folder) for folder in self.cache_folders() if (folder / INDEX).is_file()]
        return sorted(found, key=lambda index: (index.classifier, index.data))

    def find_cache(self, role: str | None, classifier: str | None = None, data: str | None = None) -> Index:
        """Return the one cache of a role, None for any, that fits. Raises UsageError where none or several fit."""
        caches = self.caches()
        fitting = [
            c
            for c in caches
            if role in (None, c.role) and classifier in (None, c.classifier) and data in (None, c.data)
        ]
        if len(fitting) == 1:
            return fitting[0]
        wanted = " ".join(filter(None, [role, data and f"'{data}'", classifier and f"of '{classifier}'"]))
        if not fitting:
            there = ", ".join(f"{c.classifier}/{c.data} ({c.role})" for c in caches) or "nothing"
            raise UsageError(
                f"no {wanted} cache in {self.root / 'cache'} (there is: {there}); "
                f"make one with trustcache extract --classifier {classifier or 'vit'}"
            )
        options = ", ".join(f"--classifier {c.classifier} --data {c.data}" for c in fitting)
        raise UsageError(f"several {wanted} caches in {self.root / 'cache'}; choose one of: {options}")


def _of_cache(classifier: str, data: str) -> Path:
    return Path(plain_name(classifier), *map(plain_name, data.split("/")))


def plain_name(name: str) -> str:
    """Return a name for a folder: everything but letters, digits, dot, dash and underscore becomes a dash.

    >>> plain_name("hf_hub:me/model")
    'hf_hub-me-model'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "unnamed"
