"""Promises of file trees: a tar file reads as the folder it was packed from, and damage is named."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import refusal_of
from trustcache.data.archives import FileTree, open_tree, tree_exists

FILES = {
    "a/1.jpg": b"one",
    "a/deep/er/2.jpg": b"",
    "b/it's ü.png": b"three" * 500,
    "top.txt": b"top",
    "a/.hidden.jpg": b"x",
    ".git/4.jpg": b"x",
}


def as_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def packed(files: dict[str, bytes], format: int = tarfile.PAX_FORMAT, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=format) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def contents(tree: FileTree) -> dict[str, bytes]:
    names = list(tree.walk())
    assert len(set(names)) == len(names)
    assert all(tree.size(name) == len(tree.read(name)) for name in names)
    return {name: tree.read(name) for name in names}


def refusal(path: Path) -> str:
    return refusal_of(lambda: contents(open_tree(path)))


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("prefix", ["", "./", "/"])
def test_a_tar_file_reads_as_the_folder_it_was_packed_from(tmp_path: Path, format: int, prefix: str) -> None:
    folder = as_folder(tmp_path / "x", FILES)
    tar = tmp_path / "x.tar"
    tar.write_bytes(packed({prefix + name: data for name, data in FILES.items()}, format))
    shown = {name: data for name, data in FILES.items() if "." not in name[0] and "/." not in name}
    assert contents(open_tree(folder)) == contents(open_tree(tar)) == shown
    for tree in (open_tree(folder), open_tree(tar)):
        assert sorted(tree.entries()) == [("a", True), ("b", True), ("top.txt", False)]
        assert sorted(tree.entries("a")) == [("1.jpg", False), ("deep", True)]
        assert contents(tree.below("a")) == {"1.jpg": b"one", "deep/er/2.jpg": b""}


names = st.lists(st.text("abcß1_-", min_size=1, max_size=4), min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(names.map(lambda name: f"{name}.x"), st.binary(max_size=2000), max_size=8))
def test_any_files_come_back_out_of_a_tar_file(files: dict[str, bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.tar"
        path.write_bytes(packed(files))
        assert contents(open_tree(path)) == files


def test_a_folder_inside_a_tar_file_is_a_tree_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(packed(FILES))
    assert contents(open_tree(tmp_path / "x.tar" / "a" / "deep")) == {"er/2.jpg": b""}
    assert tree_exists(tmp_path / "x.tar" / "a")
    assert refusal(tmp_path / "x.tar" / "c").startswith(f"{tmp_path}/x.tar: holds no folder 'c'")


def test_a_tar_file_in_a_tar_file_is_a_folder_named_by_its_stem(tmp_path: Path) -> None:
    inner = {"n01.tar": packed({"n01_1.JPEG": b"1", "n01_2.JPEG": b"22"}), "sub/n02.tar": packed({"n02_1.JPEG": b"3"})}
    (tmp_path / "all.tar").write_bytes(packed(inner | {"note.txt": b"last"}))
    assert contents(open_tree(tmp_path / "all.tar")) == {
        "n01/n01_1.JPEG": b"1",
        "n01/n01_2.JPEG": b"22",
        "sub/n02/n02_1.JPEG": b"3",
        "note.txt": b"last",
    }


@pytest.mark.parametrize("shards", [1, 3])
def test_several_tar_files_are_folders_side_by_side_be_they_one(tmp_path: Path, shards: int) -> None:
    for number in range(shards):
        (tmp_path / f"train-{number}.tar").write_bytes(packed({"x.jpg": bytes([number])}))
    (tmp_path / "val-0.tar").write_bytes(packed({"y.jpg": b""}))
    tree = open_tree(tmp_path / "train-*.tar")
    assert contents(tree) == {f"train-{number}/x.jpg": bytes([number]) for number in range(shards)}
    assert tree_exists(tmp_path / "train-*.tar")
    assert not tree_exists(tmp_path / "test-*.tar")
    assert contents(pickle.loads(pickle.dumps(tree))) == contents(tree), "as decoding processes get it"


def test_links_in_a_tar_file_stand_for_what_they_point_to(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, target in (
            ("a/1.jpg", tarfile.REGTYPE, ""),
            ("b/hard.jpg", tarfile.LNKTYPE, "a/1.jpg"),
            ("b/soft.jpg", tarfile.SYMTYPE, "../a/1.jpg"),
            ("b/dangling.jpg", tarfile.SYMTYPE, "nowhere.jpg"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            member.size = 3 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"one"))
    (tmp_path / "x.tar").write_bytes(buffer.getvalue())
    assert contents(open_tree(tmp_path / "x.tar")) == dict.fromkeys(("a/1.jpg", "b/hard.jpg", "b/soft.jpg"), b"one")


@pytest.mark.parametrize("compression", ["gz", "xz", "bz2"])
def test_a_compressed_tar_file_is_refused_whatever_its_name(tmp_path: Path, compression: str) -> None:
    (tmp_path / "x.tar").write_bytes(packed(FILES, mode=f"w:{compression}"))
    assert all(fact in refusal(tmp_path / "x.tar") for fact in (f"{tmp_path}/x.tar: ", "compressed", "unpack it"))


@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_a_damaged_tar_file_is_named(tmp_path: Path, damage: str) -> None:
    whole = packed({"a/1.jpg": b"1" * 5000, "a/2.jpg": b"2" * 5000})
    (tmp_path / "x.tar").write_bytes({"truncated": whole[:8000], "text": b"no tar file\n" * 100, "empty": b""}[damage])
    assert refusal(tmp_path / "x.tar").startswith(f"{tmp_path}/x.tar: ")


def test_a_tar_file_that_was_cut_after_it_was_listed_is_an_error_not_a_short_read(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(packed({"a/1.jpg": b"1" * 5000}))
    tree = open_tree(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(OSError, match=r"x\.tar ends before it"):
        tree.read("a/1.jpg")


def test_a_tar_file_that_changed_is_listed_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(packed({"a/1.jpg": b"old"}))
    assert contents(open_tree(path)) == {"a/1.jpg": b"old"}
    path.write_bytes(packed({"a/1.jpg": b"new", "a/2.jpg": b"more" * 3000}))
    assert set(contents(open_tree(path))) == {"a/1.jpg", "a/2.jpg"}
