"""Predictions for files, folders and tar files: lists the images, and writes the answers as lines."""

from __future__ import annotations

import csv
import functools
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import SimpleNamespace

from trustcache.data.archives import FolderTree, open_tree, read_file, tree_exists
from trustcache.data.image_files import image_files, told, why_no_image
from trustcache.data.pictures import Picture, file_picture
from trustcache.data.pipeline import unheard
from trustcache.deploy.trusted import Answer
from trustcache.errors import UsageError, spreadsheet_cell

# Of two slashes after a colon a path keeps one.
_ADDRESS = re.compile(r"^(\w+:)/(?=[^/])")


def pictures(paths: Sequence[Path], note: Callable[[str], None] = unheard) -> Iterator[Picture]:
    """Return the images at some paths, in order; those of a folder or tar file sorted by name.

    Folders and tar files are listed at once. note: told how many of their files are passed over, and why; such a file
    named by itself is an image that cannot be read. Raises UsageError for a path where nothing is, a tar file that
    cannot be read, and a folder without images.

    >>> (tmp / "a.png").write_bytes(b"not read yet")
    12
    >>> [picture.path == str(tmp / "a.png") for picture in pictures([tmp / "a.png"])]
    [True]
    """
    if missing := [path for path in paths if not path.exists() and not tree_exists(path)]:
        name = _ADDRESS.sub(r"\1//", str(missing[0]))
        raise UsageError(f"{name}: there is no such file, folder or .tar file; correct the path")
    return itertools.chain.from_iterable([_below(path, note) for path in paths])


def _below(path: Path, note: Callable[[str], None]) -> Iterable[Picture]:
    if not tree_exists(path):
        return [file_picture(str(path), functools.partial(_read_image, path))]
    tree = open_tree(path)
    found = image_files(tree)
    others = told(found.passed_over)
    if not found.names:
        raise UsageError(
            f"{path}: holds no image files; name a folder, a .tar file or files that do ({others or 'empty'})"
        )
    if others:
        note(f"{path}: {others}")
    return (file_picture(f"{tree.root}/{name}", functools.partial(tree.read, name)) for name in found.names)


def _read_image(path: Path) -> bytes:
    """Return the bytes of an image. Raises OSError, for a file that is passed over in a folder too."""
    if reason := why_no_image(FolderTree(path.parent), path.name):
        raise OSError(f"a file {reason} is none; rename it if it is one")
    return read_file(str(path))


@dataclass
class Tally:
    """Count of answers, and of errors among them."""

    images: int = 0
    errors: int = 0

    def of(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        """Yield the same answers, counted."""
        for answer in answers:
            self.images += 1
            self.errors += answer.error is not None
            yield answer


def json_lines(answers: Iterable[Answer]) -> Iterator[str]:
    """Yield a JSON object an answer, without the fields that are None.

    >>> list(json_lines([Answer("a.png", "cat", 1, 0.9, 2.5, True)]))
    ['{"path": "a.png", "class_name": "cat", "class_number": 1, "probability": 0.9, "score": 2.5, "trusted": true}']
    """
    for answer in answers:
        yield json.dumps({key: value for key, value in asdict(answer).items() if value is not None})


def csv_lines(answers: Iterable[Answer]) -> Iterator[str]:
    """Yield a header and a line an answer; fields that are None are empty.

    >>> list(csv_lines([Answer("a.png", "cat", 1, 0.9, 2.5, True)]))[1]
    'a.png,cat,1,0.9,2.5,true,'
    """
    # A writer's methods return what the `write` of its file returns.
    names, returned = [field.name for field in fields(Answer)], SimpleNamespace(write=_without_end)
    writer = csv.DictWriter(returned, names, lineterminator="\n")  # its characters are quoted in a cell
    yield writer.writeheader()
    for answer in answers:
        cells = asdict(answer) | {"trusted": str(answer.trusted).lower()}
        yield writer.writerow({name: spreadsheet_cell(cell) for name, cell in cells.items()})


def _without_end(line: str) -> str:
    return line.removesuffix("\n")


FORMATS: dict[str, Callable[[Iterable[Answer]], Iterator[str]]] = {"json": json_lines, "csv": csv_lines}
"""Writers of answers; their lines have no ends."""
