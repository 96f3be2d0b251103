"""Groups of images for thresholds of their own: by the predicted class, or by a file that names each image's group."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from trustcache.deploy.goals import CLASS
from trustcache.deploy.labelled import Labelled
from trustcache.errors import UsageError


def read_groups(path: Path) -> dict[str, str]:
    """Return the group of each image from a CSV file with the columns id and group.

    Raises UsageError where there is no such file, or it lacks a column or a value.

    >>> (tmp / "groups.csv").write_text("id,group\\na.png,night\\n")
    21
    >>> read_groups(tmp / "groups.csv")
    {'a.png': 'night'}
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            if not {"id", "group"} <= {*(table.fieldnames or ())}:
                raise UsageError(f"{path}: has no columns id and group; begin it with the line id,group")
            found = {}
            for row in table:
                if not row["id"] or not row["group"]:
                    raise UsageError(f"{path}, line {table.line_num}: lacks an id or a group; add it, or cut the line")
                found[row["id"]] = row["group"]
            return found
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"{path}: there is no such file of groups; give {CLASS}, or a CSV file id,group") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as CSV in UTF-8 ({error}); save it so") from None


def group_of(groups: Mapping[str, str], path: str | None) -> str | None:
    """Return the group of an image by its path, else by the path's longest ending that is an id; None for none.

    >>> group_of({"day/a.png": "day", "a.png": "night"}, "photos/day/a.png")
    'day'
    """
    parts = (path or "").split("/")
    endings = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((groups[ending] for ending in endings if ending in groups), None)


def grouped(samples: Labelled, by: str | None) -> Labelled:
    """Return samples with their groups. by: "class", a CSV file id,group, or None for no groups.

    Raises UsageError where the file cannot be read, or lacks a sample.

    >>> from trustcache.cache import CacheView
    >>> from trustcache.deploy.labelled import whole_cache
    >>> cache = CacheView.from_arrays([[2.0, 0.5], [0.1, 0.3]], [0, 0])
    >>> grouped(whole_cache(cache, np.zeros(2)), "class").groups.tolist()
    ['0', '1']
    """
    if by is None:
        return samples
    if by == CLASS:
        return replace(samples, groups=samples.cache.predictions[samples.rows].astype(str))
    known, ids = read_groups(Path(by)), samples.cache.sample_ids
    found = [group_of(known, ids[row]) for row in samples.rows]
    if lost := [ids[row] for row, group in zip(samples.rows, found, strict=True) if group is None]:
        raise UsageError(f"{by}: names no group of {len(lost):,} samples of {samples.data}, as {lost[0]}; add them")
    return replace(samples, groups=np.array(found))
