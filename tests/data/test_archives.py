"""Promises of file trees: a tar file reads as the folder it was packed from, and damage is named."""

from __future__ import annotations

import io
import os
import pickle
import socket
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import refusal_of
from trustcache.data.archives import LARGEST_FILE, FileTree, open_tree, tree_exists
from trustcache.data.system_calls import in_threads_if_slow

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
            ("a.jpg", tarfile.SYMTYPE, "b/soft.jpg"),  # to what comes later, by another link
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
    tree = open_tree(tmp_path / "x.tar")
    assert contents(tree.below("a")) == {"1.jpg": b"one"}
    assert [tree.read(f"b/{name}.jpg") for name in ("hard", "soft")] == [b"one"] * 2
    assert tree.read("a.jpg") == b"one"
    assert "b/dangling.jpg" in set(tree.walk()), "reported when it is read, as in a folder"
    with pytest.raises(OSError, match="link"):
        tree.read("b/dangling.jpg")


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


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A member's header that claims a size, without its bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def sparse(size: int) -> bytes:
    raw = bytearray(header("a/1.jpg", 0, tarfile.GNUTYPE_SPARSE))
    raw[483:495] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)  # its size once unpacked
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


HOSTILE_TARS = {
    "a member of 2^45 bytes": header("a/1.jpg", 2**45) + b"x" * 512,
    "a name of 2^45 bytes": header("x", 2**45, tarfile.GNUTYPE_LONGNAME) + b"x" * 512,
    "extended headers of 2^45 bytes": header("x", 2**45, tarfile.XHDTYPE) + b"x" * 512,
    "extended headers of -512 bytes": header("x", -512, tarfile.XHDTYPE) + b"x" * 512,
    "a member of -512 bytes": header("a/1.jpg", -512) + b"x" * 512,
    "a member of -1024 bytes": header("a/0.jpg", 0) + header("a/1.jpg", -1024) + b"x" * 512,
    "a sparse member of 2^45 bytes": sparse(2**45) + b"\0" * 1024,
    "extended headers without end": header("x", 0, tarfile.XHDTYPE) * 5000,
    "tar files in each other without end": header("x.tar", 2**30) * 5000,
}


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    tar = tmp_path / "x.tar"
    content = bytearray(packed(FILES))
    content[content.index(b"ustar", 600)] ^= 1  # a later member's, which a checksum covers
    tar.write_bytes(content)
    assert "damaged" in refusal(tar)


@pytest.mark.parametrize("content", HOSTILE_TARS.values(), ids=HOSTILE_TARS)
def test_a_tar_file_of_absurd_numbers_is_refused_at_once(tmp_path: Path, content: bytes) -> None:
    tar = tmp_path / "x.tar"
    tar.write_bytes(content)
    assert str(tar) in refusal(tar)


def test_tar_files_in_each_other_are_read_once_each(tmp_path: Path) -> None:
    tar = tmp_path / "x.tar"
    inner = header("x.tar", 1024) + b"\0" * 1024
    tar.write_bytes(inner * 40 + packed(FILES))  # 2^40 readings, if an inner one had no end
    assert set(contents(open_tree(tar))) == {name for name in FILES if "/." not in name and name[0] != "."}


def test_paths_of_thousands_of_folders_are_listed(tmp_path: Path) -> None:
    deep = "a/" * 3000 + "1.jpg"
    (tmp_path / "x.tar").write_bytes(packed({deep: b"one"}))
    tree = open_tree(tmp_path / "x.tar")
    assert contents(tree) == {deep: b"one"}
    assert contents(tree.below("a/" * 2999 + "a")) == {"1.jpg": b"one"}


def test_a_file_too_large_to_be_an_image_is_not_read(tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "x", {"a/1.jpg": b""})
    os.truncate(folder / "a" / "1.jpg", LARGEST_FILE + 1)  # a hole, which takes no space
    with pytest.raises(OSError, match="1,073,741,825 bytes"):
        open_tree(folder).read("a/1.jpg")
    raw = header("a/1.jpg", 2**40)
    with (tmp_path / "x.tar").open("wb") as file:
        file.write(raw)
        file.truncate(len(raw) + 2**40 + 1024)
    with pytest.raises(OSError, match="1,099,511,627,776 bytes"):
        open_tree(tmp_path / "x.tar").read("a/1.jpg")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(path))  # the name of a socket has at most 107 bytes


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("make", [a_pipe, a_socket, a_device, a_link_to_itself])
def test_what_is_no_regular_file_is_listed_but_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "1.jpg")
    tree = open_tree(tmp_path)
    assert list(tree.walk()) == ["1.jpg"]
    with pytest.raises(OSError, match=r"regular|No such device|symbolic"):
        tree.read("1.jpg")


@pytest.mark.parametrize("links", [{"a/loop": "."}, {"a/b": "../b", "b/a": "../a"}, {"a/up": "..", "b/up": ".."}])
def test_folders_that_are_linked_in_a_circle_are_named(tmp_path: Path, links: dict[str, str]) -> None:
    folder = as_folder(tmp_path / "x", FILES)
    for name, target in links.items():
        (folder / name).symlink_to(target)
    said = refusal(folder)
    assert all(fact in said for fact in (str(folder), "link"))


def test_a_link_to_itself_is_told_from_a_folder_without_permission(tmp_path: Path) -> None:
    a_link_to_itself(tmp_path / "loop")
    said = refusal(tmp_path / "loop")
    assert all(fact in said for fact in (f"{tmp_path}/loop", "link"))
    assert "permissions" not in said
    assert "permissions" not in refusal(tmp_path / "absent")


def test_shards_of_one_name_are_not_mixed_up(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        as_folder(tmp_path, {f"{folder}/s.tar": packed({"x.jpg": folder.encode()})})
    assert "s.tar" in refusal(tmp_path / "{a,b}" / "s.tar")


def test_brackets_in_a_path_with_a_star_stand_for_themselves(tmp_path: Path) -> None:
    as_folder(tmp_path, {"photos [1]/s-0.tar": packed({"x.jpg": b"one"})})
    assert contents(open_tree(tmp_path / "photos [1]" / "s-*.tar")) == {"s-0/x.jpg": b"one"}


def test_slow_looks_are_taken_in_threads_and_quick_ones_here() -> None:
    def look(seconds: float) -> int:
        time.sleep(seconds)
        return threading.get_ident()

    quick, slow = (set(in_threads_if_slow(look, [s] * 20, slow_s=0.005)) for s in (0.0, 0.006))
    assert quick == {threading.get_ident()}
    assert len(slow) > 1
