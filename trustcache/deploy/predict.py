"""Predictions for files, folders and tar files: lists the images, and writes the answers as lines."""

from __future__ import annotations

import bisect
import csv
import functools
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, overload

from trustcache.data.archives import FileTree, FolderTree, open_tree, read_file, tree_exists, why_hidden
from trustcache.data.image_files import image_files, told, why_no_image
from trustcache.data.pictures import Picture, file_picture
from trustcache.data.pipeline import unheard
from trustcache.deploy.groups import group_of, read_groups
from trustcache.deploy.threshold import Threshold
from trustcache.deploy.trusted import Answer, TrustedClassifier
from trustcache.errors import UsageError, did_you_mean_path, percent, spreadsheet_cell
from trustcache.metrics.estimated_accuracy import RunningEstimate

# Of two slashes after a colon a path keeps one.
_ADDRESS = re.compile(r"^(\w+:)/(?=[^/])")


class Pictures(Sequence[Picture]):
    """The images at some paths, in order; those of a folder or tar file sorted by name. None is read yet.

    Folders and tar files are listed at once. note: told how many of their files are passed over, and why; such a file
    named by itself is an image that cannot be read. Raises UsageError for a path where nothing is, a tar file that
    cannot be read, and a folder without images.

    >>> (tmp / "a.png").write_bytes(b"not read yet")
    12
    >>> [picture.path == str(tmp / "a.png") for picture in Pictures([tmp / "a.png"])]
    [True]
    """

    def __init__(self, paths: Sequence[Path], note: Callable[[str], None] = unheard) -> None:
        if missing := [path for path in paths if not path.exists() and not tree_exists(path)]:
            name = _ADDRESS.sub(r"\1//", str(missing[0]))
            near = did_you_mean_path(missing[0])
            raise UsageError(f"{name}: there is no such file, folder or .tar file; correct the path{near}")
        self._places = [_below(path, note) for path in paths]
        self._ends = list(itertools.accumulate(len(names) for _, names in self._places))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, number: int) -> Picture: ...
    @overload
    def __getitem__(self, number: slice) -> list[Picture]: ...
    def __getitem__(self, number: int | slice) -> Picture | list[Picture]:
        if isinstance(number, slice):
            return [self[one] for one in range(len(self))[number]]
        wanted = range(len(self))[number]
        place = bisect.bisect_right(self._ends, wanted)
        tree, names = self._places[place]
        name = names[wanted - self._ends[place]]  # counted from its end
        if tree is None:
            return file_picture(name, functools.partial(_read_image, Path(name)))
        return file_picture(f"{tree.root}/{name}", functools.partial(tree.read, name))


def _below(path: Path, note: Callable[[str], None]) -> tuple[FileTree | None, Sequence[str]]:
    """Return the tree at a path with the names of its images, or no tree and the path of a single file."""
    if not tree_exists(path):
        return None, [str(path)]
    tree = open_tree(path)
    found = image_files(tree)
    others = told(found.passed_over)
    if not found.names:
        raise UsageError(
            f"{path}: holds no image files; name a folder, a .tar file or files that do ({others or 'empty'})"
        )
    if others:
        note(f"{path}: {others}")
    return tree, found.names


def _read_image(path: Path) -> bytes:
    """Return the bytes of an image. Raises OSError, for a file that is passed over in a folder too."""
    if reason := why_hidden(path.name):
        raise OSError(f"it is {reason}, so passed over as in a folder; rename it")
    if reason := why_no_image(FolderTree(path.parent), path.name):
        raise OSError(f"a file {reason} is none; rename it if it is one")
    return read_file(str(path))


class Tally:
    """Counts of answers, and of errors among them, and the alarm. tell: told at once when it is raised.

    paths: those asked for; images in folders below them come folder by folder.
    """

    def __init__(self, trusted: TrustedClassifier, tell: Callable[[str], None], paths: Sequence[Path]) -> None:
        self._paths, self._by_folder = {*paths}, False
        self.images = self.errors = self.trusted = 0
        self.alarm = self.by_order = False
        self._trusted, self._tell = trusted, tell
        calibrated = trusted.threshold if isinstance(trusted.threshold, Threshold) else None
        self._accuracy = RunningEstimate(calibrated.accuracy) if calibrated else None

    def of(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        """Yield the same answers, counted."""
        for answer in answers:
            self.images += 1
            self.errors += answer.error is not None
            self.trusted += answer.trusted
            if self._accuracy and answer.score is not None and answer.probability is not None:
                self._accuracy.add([answer.score], [answer.probability])
            if answer.alarm and not self.alarm:
                self.alarm = True
                path = Path(answer.path or "")
                self._by_folder = not {path, path.parent} & self._paths
                self._tell(self._trusted.announcement(answer.path, self._by_folder))
            yield answer

    def summary(self) -> Iterator[str]:
        """Yield sentences on all answers."""
        answered = self.images - self.errors
        threshold = self._trusted.threshold
        promise = threshold.promise if isinstance(threshold, Threshold) else "no promise: the threshold is uncalibrated"
        yield f"{self.trusted:,} of {answered:,} images trusted, {self.errors:,} without an answer; {promise}"
        if self._accuracy and answered:
            told = ", ".join(f"{percent(share, 1)} ({name})" for name, share in self._accuracy.estimates.items())
            yield f"accuracy of all of them, trusted or not, estimated without labels: {told}"
        if self.alarm and self._trusted.alarm:
            void = f"nothing is promised for {percent(self._trusted.alarm.void, 1)} of them"
            self.by_order = self._trusted.alarm.by_order
            if not self.by_order:
                yield f"{void}, as the alarm says: in shuffled order they raise it too"
            else:
                sorted_by = "by class folder" if self._by_folder else "by class, say"
                since = f"from about image {self._trusted.alarm.since:,} on; look at those: if so, {void}"
                shuffled = f"in shuffled order they raise no alarm: either they are sorted ({sorted_by}), or what comes"
                yield f"{shuffled} changed on the way, {since}"


def groups_of(images: Iterable[Picture], path: Path) -> Iterator[str | None]:
    """Return the group of each image in a CSV file id,group: by its path, or the longest ending that is an id.

    Raises as `read_groups`.

    >>> (tmp / "groups.csv").write_text("id,group\\na.png,night\\n")
    21
    >>> list(groups_of([file_picture("photos/a.png", bytes)], tmp / "groups.csv"))
    ['night']
    """
    known = read_groups(path)
    return (group_of(known, image.path) for image in images)


def json_lines(answers: Iterable[Answer]) -> Iterator[str]:
    """Yield a JSON object an answer, without the fields that are None. Numbers have six digits; verdicts know them all.

    >>> list(json_lines([Answer("a.png", "cat", 1, 0.9, 2.5, True)]))
    ['{"path": "a.png", "class_name": "cat", "class_number": 1, "probability": 0.9, "score": 2.5, "trusted": true}']
    """
    for answer in answers:
        yield json.dumps(_cells(answer))


def csv_lines(answers: Iterable[Answer]) -> Iterator[str]:
    """Yield a header and a line an answer; fields that are None are empty, numbers as in JSON, and a set is JSON.

    >>> list(csv_lines([Answer("a.png", "cat", 1, 0.9, 2.5, True)]))[1]
    'a.png,cat,1,0.9,2.5,true,,,'
    """
    # A writer's methods return what the `write` of its file returns.
    names, returned = [field.name for field in fields(Answer)], SimpleNamespace(write=_without_end)
    writer = csv.DictWriter(returned, names, lineterminator="\n")  # its characters are quoted in a cell
    yield writer.writeheader()
    for answer in answers:
        cells = {name: _csv_cell(cell) for name, cell in _cells(answer).items()}
        yield writer.writerow({name: spreadsheet_cell(cell) for name, cell in cells.items()})


def _cells(answer: Answer) -> dict[str, Any]:
    """Return what an answer tells, by field, to print it: more digits of a float32 network's outputs are noise."""
    told = {name: value for name, value in asdict(answer).items() if value is not None}
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in told.items()}


def _csv_cell(value: Any) -> Any:
    if isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=False)  # names may hold any sign that would part them
    return str(value).lower() if isinstance(value, bool) else value


def _without_end(line: str) -> str:
    return line.removesuffix("\n")


WRITERS: dict[str, Callable[[Iterable[Answer]], Iterator[str]]] = {"json": json_lines, "csv": csv_lines}
"""Writers of answers by the formats of `Answering`; their lines have no ends."""
