"""Promises of what is seen once of large data sets: the next call spares the look, and never takes old for new."""

from __future__ import annotations

import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustcache.data import tar_listing
from trustcache.data.archives import open_tree
from trustcache.data.kept_looks import seen_once
from trustcache.data.layouts.webdataset import read_webdataset


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, where small tar files count as large."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tar_listing, "_LARGE", 1)
    return tmp_path / "cache"


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


class Looks:
    """Counts its calls; `see` says what there is to be seen."""

    def __init__(self) -> None:
        self.number, self.see = 0, b"seen"

    def __call__(self) -> bytes:
        self.number += 1
        return self.see


def test_what_was_seen_is_not_looked_at_again_until_its_version_is_another() -> None:
    look = Looks()
    assert [seen_once("a", "1", look), seen_once("a", "1", look), look.number] == [b"seen", b"seen", 1]
    look.see = b"anew"
    assert [seen_once("a", "2", look), seen_once("b", "2", look), look.number] == [b"anew", b"anew", 3]
    assert [seen_once("a", "1", look), look.number] == [b"anew", 4], "one version is kept"


@given(st.data())
def test_what_is_damaged_is_looked_at_again(data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", folder)
        look = Looks()
        seen_once("a", "1", look)
        (kept,) = files_of(Path(folder))
        whole = bytearray(kept.read_bytes())
        place = data.draw(st.integers(0, len(whole) - 1))
        if data.draw(st.booleans()):
            whole[place] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del whole[place:]
        kept.write_bytes(whole)
        assert [seen_once("a", "1", look), seen_once("a", "1", look), look.number] == [b"seen", b"seen", 2]


def test_where_nothing_can_be_kept_each_call_looks(cache: Path) -> None:
    cache.write_text("a file in the folder's place")
    look = Looks()
    assert [seen_once("a", "1", look), seen_once("a", "1", look), look.number] == [b"seen", b"seen", 2]


def test_of_those_who_ask_together_one_looks() -> None:
    look = Looks()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: seen_once("a", "1", look), range(8))) == {b"seen"}
    assert look.number == 1


def packed(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    """Write a tar file of files, then of links to them."""
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return path


def told(path: Path) -> dict[str, object]:
    """All that a fresh process finds in a tar file."""
    tar_listing.list_members.cache_clear()
    tree = open_tree(path)
    return {name: (tree.size(name), tree.stamp(name)) for name in tree.walk()} | {"twice": tree.replaced("")}


def no_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarfile, "TarFile", lambda **options: pytest.fail("a header is read again"))


def test_the_members_of_a_tar_file_are_listed_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"a/b.jpg": b"one", "a/c/ü.jpg": b"two", "a/c/\udcff.jpg": b"", "top.jpg": b"3", "./a/b.jpg": b"other"}
    path = packed(tmp_path / "x.tar", files, {"linked.jpg": "a/b.jpg"})
    first = told(path)
    assert first["twice"] == 1
    with monkeypatch.context() as patch:
        no_headers(patch)
        assert told(path) == first
        assert open_tree(path).read("linked.jpg") == b"other"
    packed(path, {"a/b.jpg": b"three"})
    assert set(told(path)) == {"a/b.jpg", "twice"}


def test_small_tar_files_leave_nothing_behind(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_listing, "_LARGE", 1 << 26)
    told(packed(tmp_path / "x.tar", {"a/b.jpg": b"one"}))
    assert not cache.exists()


def test_the_labels_of_webdataset_shards_are_read_once_until_these_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shard(label: bytes) -> None:
        packed(tmp_path / "s-0.tar", {"1.jpg": b"x", "1.cls": b"0", "2.jpg": b"y", "2.cls": label})

    def labels() -> list[int]:
        tar_listing.list_members.cache_clear()
        samples = read_webdataset(tmp_path, None, "s-*.tar")
        return samples.labels.tolist()

    shard(b"1")
    assert labels() == [0, 1]
    with monkeypatch.context() as patch:
        no_headers(patch)
        patch.setattr("trustcache.data.archives.TarTree.read", lambda *arguments: pytest.fail("a label is read again"))
        assert labels() == [0, 1]
    shard(b"0")
    assert labels() == [0, 0]
