"""Predictions for files, folders and tar files: which images there are, and the lines that their answers become."""

from __future__ import annotations

import csv
import functools
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from trustcache.data.archives import FileTree, open_tree, tree_exists
from trustcache.data.layouts.folders import image_names
from trustcache.deploy.trusted import Answer, Picture, file_picture
from trustcache.errors import UsageError


def pictures(paths: Sequence[Path]) -> Iterator[Picture]:
    """The images at some paths, in order; those of a folder or tar file sorted by name, others than images passed over.

    Folders and tar files are listed before the first image is given. Raises UsageError then for a path where nothing
    is, for a tar file that cannot be read, and for a folder without images.
    """
    if missing := [path for path in paths if not path.is_file() and not tree_exists(path)]:
        raise UsageError(f"{missing[0]}: there is no such file, folder or .tar file; correct the path")
    return itertools.chain.from_iterable([_below(path) for path in paths])


def _below(path: Path) -> Iterable[Picture]:
    if not tree_exists(path):
        return [file_picture(str(path), path.read_bytes)]
    tree = open_tree(path)
    names = image_names(tree)
    if not names:
        raise UsageError(f"{path}: holds no image files; name a folder, a .tar file or files that do")
    return (_member(tree, name) for name in names)


def _member(tree: FileTree, name: str) -> Picture:
    return file_picture(f"{tree.root}/{name}", functools.partial(tree.read, name))


@dataclass
class Tally:
    """How many answers passed by, and how many of them were errors."""

    images: int = 0
    errors: int = 0

    def of(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        """The same answers, counted."""
        for answer in answers:
            self.images += 1
            self.errors += answer.error is not None
            yield answer


def json_lines(answers: Iterable[Answer]) -> Iterator[str]:
    """A JSON object an answer, without what it lacks."""
    for answer in answers:
        yield json.dumps({key: value for key, value in asdict(answer).items() if value is not None})


def csv_lines(answers: Iterable[Answer]) -> Iterator[str]:
    """A header and a line an answer, empty where it lacks something."""
    names = [field.name for field in fields(Answer)]
    yield _csv(names)
    for answer in answers:
        row = asdict(answer) | {"trusted": str(answer.trusted).lower()}
        yield _csv([row[name] for name in names])


FORMATS: dict[str, Callable[[Iterable[Answer]], Iterator[str]]] = {"json": json_lines, "csv": csv_lines}
"""How answers are written, without the ends of lines."""


def _csv(row: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(row)
    return text.getvalue()
