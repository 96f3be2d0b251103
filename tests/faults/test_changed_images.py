"""Images that change under a cache: what was cached is never mixed with, or taken for, what lies there now."""

from __future__ import annotations

import os
import shutil
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.faults.cases import HANG, HARMLESS, REFUSED, SILENT, TRACEBACK, Tally, is_sentence
from tests.faults.forks import KILLED, Fault
from tests.faults.laboratory import CLASSES, COMMANDS, WORKSPACE, Laboratory, contents, sound

pytestmark = pytest.mark.faults

EVERY = 3  # of a short run
TEST, TRAIN = Path("photos/test"), Path("photos/train")
AGAINST = ("data", "check", str(TEST), "--against", "net/photos-test")
TAR_EXTRACT = (*COMMANDS["extract"][:-1], "photos.tar")
TAR_AGAINST = ("data", "check", "photos.tar", "--against", "net/photos")


def _paint(path: Path) -> None:
    """Change one pixel, but not the size of the file."""
    data = bytearray(path.read_bytes())
    data[-9] ^= 0xFF
    path.write_bytes(data)


def _swap(one: Path, other: Path) -> None:
    spare = one.with_name("spare")
    one.rename(spare)
    other.rename(one)
    spare.rename(other)


def _bitmaps(folder: Path) -> list[Path]:
    """Return the images that have no compression: all of one size."""
    return sorted(folder.rglob("*.bmp"))


def _painted(bench: Path) -> None:
    _paint(_bitmaps(bench / TEST)[0])


def _painted_with_its_time(bench: Path) -> None:
    path = _bitmaps(bench / TEST)[0]
    before = path.stat()
    _paint(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _all_painted(bench: Path) -> None:
    for path in _bitmaps(bench / TEST):
        _paint(path)


def _classes_swapped(bench: Path) -> None:
    _swap(bench / TEST / CLASSES[0], bench / TEST / CLASSES[1])


def _two_of_a_class_swapped(bench: Path) -> None:
    one, other = _bitmaps(bench / TEST / CLASSES[0])[:2]
    _swap(one, other)


def _two_of_other_classes_swapped(bench: Path) -> None:
    _swap(_bitmaps(bench / TEST / CLASSES[0])[0], _bitmaps(bench / TEST / CLASSES[1])[0])


def _one_gone(bench: Path) -> None:
    _bitmaps(bench / TEST)[0].unlink()


def _one_more(bench: Path) -> None:
    first = _bitmaps(bench / TEST)[0]
    shutil.copy(first, first.with_name("zz.bmp"))


def _one_renamed(bench: Path) -> None:
    first = _bitmaps(bench / TEST)[0]
    first.rename(first.with_name("zz.bmp"))


def _class_renamed(bench: Path) -> None:
    (bench / TEST / CLASSES[0]).rename(bench / TEST / "aars")


def _re_encoded(bench: Path) -> None:
    path = min((bench / TEST).rglob("*.png"))
    Image.open(path).save(path, compress_level=0)


def _link_elsewhere(bench: Path) -> None:
    one, other = _bitmaps(bench / TEST)[:2]
    one.unlink()
    one.symlink_to(other)


def _touched(bench: Path) -> None:
    for path in _bitmaps(bench / TEST):
        path.touch()


def _training_painted(bench: Path) -> None:
    for path in _bitmaps(bench / TRAIN):
        _paint(path)


def _training_classes_swapped(bench: Path) -> None:
    _swap(bench / TRAIN / CLASSES[0], bench / TRAIN / CLASSES[1])


_EXTRACT, _UNFINISHED_TUNING = COMMANDS["extract"], (*COMMANDS["fine-tune"][:4], "7", *COMMANDS["fine-tune"][5:])
CHANGES: dict[str, tuple[Callable[[Path], None], tuple[tuple[str, ...], ...]]] = {
    "one image, of the same size": (_painted, (_EXTRACT, AGAINST)),
    "one image, of the same size and time": (_painted_with_its_time, (AGAINST,)),
    "all images, of the same sizes": (_all_painted, (_EXTRACT, AGAINST)),
    "two class folders swapped": (_classes_swapped, (_EXTRACT, AGAINST)),
    "two images of a class swapped": (_two_of_a_class_swapped, (_EXTRACT, AGAINST)),
    "two images of two classes swapped": (_two_of_other_classes_swapped, (_EXTRACT, AGAINST)),
    "an image gone": (_one_gone, (_EXTRACT, AGAINST)),
    "an image more": (_one_more, (_EXTRACT, AGAINST)),
    "an image renamed": (_one_renamed, (_EXTRACT, AGAINST)),
    "a class renamed": (_class_renamed, (_EXTRACT, AGAINST)),
    "an image encoded again": (_re_encoded, (_EXTRACT, AGAINST)),
    "an image replaced by a link": (_link_elsewhere, (_EXTRACT, AGAINST)),
    "training images changed, then fine-tuning": (_training_painted, (_UNFINISHED_TUNING,)),
    "training classes swapped, then fine-tuning": (_training_classes_swapped, (_UNFINISHED_TUNING,)),
}
"""By what changes: how, and the commands each of which must say so."""
HALF_WAY = {
    "half way, what was read: one image": _painted,
    "half way, what was read: one image, of the same time": _painted_with_its_time,
    "half way: all images": _all_painted,
    "half way: two class folders swapped": _classes_swapped,
}


@pytest.fixture
def bench(laboratory: Laboratory, tmp_path: Path) -> Callable[[], Path]:
    """`bench()`: a folder with images of its own, and their caches."""

    def make() -> Path:
        made = laboratory.bench(tmp_path / "bench")
        (made / "photos").unlink()
        shutil.copytree(laboratory.whole / "photos", made / "photos")
        for name in ("extract train", "extract"):
            sound(laboratory.forks.command(made, *COMMANDS[name]))
        return made

    return make


def test_images_that_changed_are_told_by_every_command_that_reads_them(
    laboratory: Laboratory, bench: Callable[[], Path], full: bool, tally: Callable[..., Tally]
) -> None:
    counts = tally("images changed under the cache", "after the extraction")
    for name, (change, commands) in [*CHANGES.items()][:: 1 if full else EVERY]:
        for words in commands:
            made = bench()
            before = _caches(made)
            change(made)
            _must_refuse(counts, name, laboratory, made, words)
            if _caches(made) != before:
                counts.add(SILENT, name, "the cache is another now")


def test_images_that_are_the_same_are_taken(
    laboratory: Laboratory, bench: Callable[[], Path], tally: Callable[..., Tally]
) -> None:
    counts = tally("images changed under the cache", "in their time only")
    made = bench()
    _touched(made)
    for words in (_EXTRACT, AGAINST):
        outcome = laboratory.forks.command(made, *words)
        counts.add(SILENT if outcome.code else HARMLESS, "touched", outcome.text)


@pytest.mark.parametrize("name", HALF_WAY)
def test_an_extraction_does_not_go_on_with_other_images(
    laboratory: Laboratory, bench: Callable[[], Path], tally: Callable[..., Tally], name: str
) -> None:
    counts = tally("images changed under the cache", "half way through the extraction")
    made = bench()
    shutil.rmtree(made / WORKSPACE / "cache" / "net" / "photos-test")
    fault = Fault(str(made), "rename", 6, KILLED)  # after the index and two shards
    killed = laboratory.forks.command(made, *_EXTRACT, fault=fault)
    assert killed.code == -signal.SIGKILL, killed.text
    HALF_WAY[name](made)
    _must_refuse(counts, name, laboratory, made, _EXTRACT)


def test_a_tar_file_of_other_images_is_told(
    laboratory: Laboratory, bench: Callable[[], Path], tally: Callable[..., Tally]
) -> None:
    counts = tally("images changed under the cache", "in a tar file")
    made = bench()
    _pack(made)
    sound(laboratory.forks.command(made, *TAR_EXTRACT))
    _painted(made)
    _pack(made)
    for words in (TAR_EXTRACT, TAR_AGAINST):
        _must_refuse(counts, "one image of a tar file", laboratory, made, words)


def _pack(bench: Path) -> None:
    with tarfile.open(bench / "photos.tar", "w") as tar:
        tar.add(bench / TEST, ".")


def _caches(bench: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(bench).items() if name.startswith(f"{WORKSPACE}/cache/")}


def _must_refuse(counts: Tally, name: str, laboratory: Laboratory, bench: Path, words: tuple[str, ...]) -> None:
    outcome = laboratory.forks.command(bench, *words)
    case = f"{name}: {' '.join(words[:2])}"
    if outcome.hung:
        counts.add(HANG, case)
    elif not outcome.code:
        counts.add(SILENT, case, outcome.text)
    elif not is_sentence(outcome):
        counts.add(TRACEBACK, case, outcome.text)
    else:
        counts.add(REFUSED, case)
