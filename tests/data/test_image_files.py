"""Whatever lies in a folder or shard: images that are read and files that are passed over are all files there."""

from __future__ import annotations

import csv
import io
import json
import os
import posixpath
import tarfile
import tempfile
import unicodedata
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pictures import as_parquet, encoded, packed
from trustcache.data.archives import open_tree
from trustcache.data.dataset import Dataset, open_dataset
from trustcache.data.image_files import image_files, told, why_no_image
from trustcache.data.known_data import folder_manifest
from trustcache.data.manifest import Files, Manifest
from trustcache.data.samples import IMAGE_SUFFIXES

IMAGE = encoded()
words = st.sampled_from(["a", "b", "ä", "a\u0308", "x y", "it's", "$x", "Thumbs", "n01.5"])
suffixes = st.sampled_from(["", ".jpg", ".PNG", ".TiFf", ".txt", ".bak", ".jpg.part", ".db", ".cls", ".seg.png"])
base_names = st.builds("{}{}{}".format, st.sampled_from(["", "", "."]), words, suffixes)
folder_names = st.sampled_from(["cat", "dog", "x.jpg", "deep", ".git", "__MACOSX", ".ipynb_checkpoints", "@eaDir"])
paths = st.builds(posixpath.join, st.lists(folder_names, max_size=3).map("/".join), base_names)
kinds = st.sampled_from(["image", "image", "empty", "text", "dangling", "link"])
trees = st.dictionaries(paths, kinds, max_size=8).filter(lambda members: not folders_clash(members))


def lay_out(root: Path, members: dict[str, str]) -> None:
    for name in ("cat/first.png", "dog/first.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(IMAGE)
    for name, kind in members.items():
        path = root / name
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
        if os.path.lexists(path):
            continue
        if kind in ("dangling", "link"):
            path.symlink_to(os.path.relpath(root / ("cat/first.png" if kind == "link" else "nowhere"), path.parent))
        else:
            path.write_bytes({"image": IMAGE, "empty": b"", "text": b"words"}[kind])


def all_files(root: Path) -> list[str]:
    return [os.path.relpath(os.path.join(at, name), root) for at, _, names in os.walk(root) for name in names]


def folders_clash(members: dict[str, str]) -> bool:
    """True if a name is a file's and a folder's."""
    return any(other.startswith(f"{name}/") for name in members for other in members)


@settings(max_examples=40)
@given(st.dictionaries(paths, kinds, max_size=10).filter(lambda members: not folders_clash(members)))
def test_images_and_files_that_are_passed_over_are_all_files(members: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, tar = Path(folder, "photos"), Path(folder, "photos.tar")
        lay_out(root, members)
        with tarfile.open(tar, "w") as file:
            file.add(root, ".")
        there = all_files(root)
        found, in_tar = image_files(open_tree(root)), image_files(open_tree(tar))
        for each in (found, in_tar):
            assert len(each.names) + each.passed_over.total() == len(there), each
        assert found.names == in_tar.names
        visible = [
            name for name in there if not any(p[0] == "." or p in ("__MACOSX", "@eaDir") for p in name.split("/"))
        ]
        with_suffix = {name for name in visible if posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES}
        assert with_suffix <= set(found.names) <= set(visible)
        assert all("." not in posixpath.basename(name) for name in set(found.names) - with_suffix)


@settings(max_examples=30)
@given(st.dictionaries(paths, kinds, max_size=8))
def test_class_folders_count_what_is_no_image_of_theirs(members: dict[str, str]) -> None:
    inside = {f"{('cat', 'dog')[i % 2]}/{name}": kind for i, (name, kind) in enumerate(members.items())}
    others = {name.partition("/")[2] or name: kind for name, kind in members.items()}
    beside = {name: kind for name, kind in others.items() if "/" not in name}
    if folders_clash(inside | beside):
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "photos")
        lay_out(root, inside | beside)
        data = open_dataset(folder_manifest(root), Path())
        assert len(data) + sum(data.passed_over.values()) == len(all_files(root))


@settings(max_examples=40)
@given(st.dictionaries(base_names, st.sampled_from([IMAGE, b"", b"words"]), max_size=8))
def test_shards_count_what_is_no_sample(members: dict[str, bytes]) -> None:
    contents: dict[str, bytes | str] = {"first.png": IMAGE, "first.cls": "0", **members}
    contents |= {
        f"{posixpath.splitext(name)[0]}.cls": "1" for name in members if name.endswith((".jpg", ".PNG", ".TiFf"))
    }
    contents |= {name: "0" for name in contents if name.endswith(".cls")}
    contents |= {f"{name}.cls": "1" for name in members if "." not in name}
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder, "s.tar")
        shard.write_bytes(packed(contents))
        data = open_dataset(folder_manifest(shard), Path())
        own = {image: f"{posixpath.splitext(image)[0]}.cls" for image in data.ids}
        labels = {file if file in contents else f"{image.partition('.')[0]}.cls" for image, file in own.items()}
        assert len(data) + len(labels) + sum(data.passed_over.values()) == len(contents)
        assert {name for name in contents if not why_no_image(open_tree(shard), name) and name[0] != "."} >= set(
            data.ids
        )


def opened(layout: str, root: Path, **keys: str) -> Dataset:
    return open_dataset(Manifest("own", "test", (Files(layout, keys),)), root)


@pytest.mark.parametrize(
    ("layout", "path"), [("nested-folders", "photos"), ("nested-folders", "photos.tar"), ("named-files", "photos.tar")]
)
@settings(max_examples=15)
@given(members=trees)
def test_layouts_of_any_depth_count_every_file(layout: str, path: str, members: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "photos")
        lay_out(root, {**members, "cat/deep/1_wren.png": "image", "1_ant.png": "image"})
        there = len(all_files(root))
        with tarfile.open(Path(folder, "photos.tar"), "w") as file:
            file.add(root, ".")
        data = opened(layout, Path(folder), path=path)
        assert len(data) + sum(data.passed_over.values()) == there
        assert "cat/deep/1_wren.png" in data.ids


@settings(max_examples=30)
@given(trees, st.sampled_from([".csv", ".tsv", ".jsonl", ".txt"]), st.booleans(), st.randoms(use_true_random=False))
def test_tables_count_the_images_that_they_do_not_name(
    members: dict[str, str], suffix: str, beside: bool, random: Random
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        images, table = Path(folder, "set", *(() if beside else ("images",))), Path(folder, "set", f"own{suffix}")
        lay_out(images, members)
        there = len(all_files(images))
        # Of two names that differ in Unicode's form alone, one is meant.
        candidates = {unicodedata.normalize("NFC", name): name for name in image_files(open_tree(images)).names}
        named = random.sample(sorted(candidates.values()), random.randint(1, len(candidates)))
        rows = [(name, f"bird{number % 3}") for number, name in enumerate(named)]
        with table.open("w", encoding="utf-8", newline="") as file:
            if suffix == ".jsonl":
                file.writelines(json.dumps({"path": path, "label": label}) + "\n" for path, label in rows)
            elif suffix == ".txt":
                file.writelines(f"{path} {label}\n" for path, label in rows)
            else:
                delimiter = "\t" if suffix == ".tsv" else ","
                csv.writer(file, delimiter=delimiter).writerows([("path", "label"), *rows])
        data = open_dataset(folder_manifest(table), Path(folder))
        assert [data.classes[label] for label in data.labels] == [label for _, label in rows]
        assert len(data) == len(rows)
        assert len(rows) + sum(data.passed_over.values()) == there


@settings(max_examples=15)
@given(trees, st.dictionaries(st.sampled_from(["a", "data/b", "data/c"]), st.integers(1, 4), min_size=1))
def test_rows_of_parquet_files_and_files_beside_them_are_all(members: dict[str, str], rows: dict[str, int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder, "hub"), members | {".a.parquet": "text", "cat/b.parquet": "text"})
        there = len(all_files(Path(folder)))
        for name, count in rows.items():
            as_parquet(Path(folder, "hub", f"{name}.parquet"), [(IMAGE, number % 2) for number in range(count)])
        data = opened("parquet", Path(folder), path="hub")
        assert (len(data), sum(data.passed_over.values())) == (sum(rows.values()), there)


odd = st.sampled_from(
    ["x.png", "x.seg.png", "y.5.jpg", "y.txt", ".z.png", "deep/w.png", "__MACOSX/x.png", "n", "x.png.cls"]
)


@settings(max_examples=30)
@given(st.lists(st.lists(st.tuples(odd, st.sampled_from([".cls", ".json"])), max_size=6), min_size=1, max_size=3))
def test_shards_with_odd_and_repeated_members_count_every_one(shards: list[list[tuple[str, str]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        members = 0
        for number, shard in enumerate(shards):
            with tarfile.open(Path(folder, f"s-{number}.tar"), "w") as tar:
                written = [("first.png", IMAGE), ("first.mask.png", IMAGE), ("first.cls", b"0")]
                for name, suffix in shard:
                    label = b"1" if suffix == ".cls" else b'{"label": 1}'
                    written += [(name, IMAGE), (posixpath.splitext(name)[0] + suffix, label)]
                for name, data in written:
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
                members += len(written)
        data = open_dataset(folder_manifest(Path(folder, "s-*.tar")), Path())
        assert len(data) + len(data) + sum(data.passed_over.values()) == members  # each image has a label of its own


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({}, ""),
        ({"hidden": 1}, "passed over 1 file: 1 hidden"),
        ({"hidden": 1, "x": 2000}, "passed over 2,001 files: 2,000 x, 1 hidden"),
        ({str(i): 1 for i in range(9)}, "passed over 9 files: 1 0, 1 1, 1 2, 1 3, 1 4, 1 5, 3 for other reasons"),
    ],
)
def test_what_is_passed_over_is_told_in_a_line(counts: dict[str, int], text: str) -> None:
    assert told(counts) == text
