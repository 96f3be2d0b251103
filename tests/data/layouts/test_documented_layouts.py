"""The table of layouts in docs/data.md: two images in each, made here, with the labels that the files say."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from tests.data.layouts.test_idx import idx
from tests.documented_tables import DOCS, DocumentedTable
from tests.pictures import as_parquet, encoded, packed, picture, put
from trustcache.data.dataset import open_dataset
from trustcache.data.layouts import LAYOUTS
from trustcache.data.manifest import Files, Manifest
from trustcache.registry.permission import allow_code

TABLE = DocumentedTable("data.md", "Where may the files lie?")
Made = tuple[dict[str, Any], dict[str, str]]
"""The keys of a [[files]] table, and the class of each image by its id."""
PIXELS = np.stack([picture(seed, 32, 32) for seed in range(2)])
FLAT = PIXELS.transpose(0, 3, 1, 2).reshape(2, 3072)


@TABLE.row("`folders`")
def folders(root: Path) -> Made:
    put(root, "birds/wren/1.png", "birds/ant/2.png")
    return {"path": "birds"}, {"ant/2.png": "ant", "wren/1.png": "wren"}


@TABLE.row("`numbered-folders`")
def numbered_folders(root: Path) -> Made:
    put(root, *(f"birds/{number}/a.png" for number in range(11)))
    return {"path": "birds"}, {f"{number}/a.png": str(number) for number in range(11)}


@TABLE.row("`nested-folders`")
def nested_folders(root: Path) -> Made:
    put(root, "places/b/balcony/exterior/1.png", "places/a/abbey/1.png")
    expected = {"a/abbey/1.png": "a/abbey", "b/balcony/exterior/1.png": "b/balcony/exterior"}
    return {"path": "places"}, expected


@TABLE.row("`named-files`")
def named_files(root: Path) -> Made:
    put(root, "birds/1_wren.png", "birds/2_ant.png")
    return {"path": "birds"}, {"1_wren.png": "wren", "2_ant.png": "ant"}


@TABLE.row("`table`")
def table(root: Path) -> Made:
    put(root, "images/a.png", "images/b.png")
    (root / "birds.csv").write_text("n,bird,photo\n1,wren,b.png\n2,ant,a.png\n", encoding="utf-8")
    keys = {"table": "birds.csv", "images": "images", "path_column": "photo", "label_column": "bird"}
    return keys, {"b.png": "wren", "a.png": "ant"}


@TABLE.row("`imagenet-flat`")
def imagenet_flat(root: Path) -> Made:
    names = [f"ILSVRC2012_val_0000000{number}.JPEG" for number in (1, 2)]
    put(root / "val", *names)
    synsets = np.zeros((2, 1), [(name, "O") for name in ("ILSVRC2012_ID", "WNID", "num_children")])
    synsets[:, 0] = [(1, "n02", 0), (2, "n01", 0)]
    (root / "devkit" / "data").mkdir(parents=True)
    savemat(root / "devkit" / "data" / "meta.mat", {"synsets": synsets})
    (root / "devkit" / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text("2\n1\n")
    return {"path": "val", "devkit": "devkit"}, dict(zip(names, ("n01", "n02"), strict=True))


@TABLE.row("`webdataset`")
def webdataset(root: Path) -> Made:
    shard = {"7.png": encoded(0), "7.cls": "1", "8.png": encoded(1), "8.json": '{"label": 0}'}
    (root / "birds.tar").write_bytes(packed(shard))
    return {"path": "birds.tar"}, {"7.png": "1", "8.png": "0"}


@TABLE.row("`parquet`")
def parquet(root: Path) -> Made:
    as_parquet(root / "birds.parquet", [(encoded(0), 1), (encoded(1), 0)], ["ant", "wren"])
    keys = {"path": "birds.parquet", "image": "image", "label": "label"}
    return keys, {"birds/000000": "wren", "birds/000001": "ant"}


@TABLE.row("`torch-dataset`")
def torch_dataset(root: Path) -> Made:
    name = re.sub(r"\W", "_", f"birds_of_{root.name}")
    code = (
        "from PIL import Image\n\n\ndef birds():\n    return [(Image.new('RGB', (8, 8)), n) for n in ('wren', 'ant')]\n"
    )
    (root / f"{name}.py").write_text(code, encoding="utf-8")
    sys.path.append(str(root))
    allow_code(f"{name}:birds")
    return {"function": f"{name}:birds"}, {"000000": "wren", "000001": "ant"}


@TABLE.row("`cifar-python`")
def cifar_python(root: Path) -> Made:
    (root / "test").write_bytes(pickle.dumps({b"data": FLAT, b"fine_labels": [99, 1], b"coarse_labels": [19, 0]}))
    keys = {"path": ".", "members": ("test",), "labels": "fine"}
    return keys, {"test/00000": "99", "test/00001": "1"}


@TABLE.row("`cifar-binary`")
def cifar_binary(root: Path) -> Made:
    (root / "test.bin").write_bytes(np.concatenate([np.array([[19, 99], [0, 1]], np.uint8), FLAT], axis=1).tobytes())
    keys = {"path": ".", "members": ("test.bin",), "labels": "coarse"}
    return keys, {"test.bin/00000": "19", "test.bin/00001": "0"}


@TABLE.row("`cifar-c`")
def cifar_c(root: Path) -> Made:
    np.save(root / "fog.npy", np.tile(PIXELS, (5, 1, 1, 1)))
    np.save(root / "labels.npy", np.tile([7, 3], 5))
    keys = {"images": "fog.npy", "labels": "labels.npy", "part": 2}
    return keys, {"fog.npy/00002": "7", "fog.npy/00003": "3"}


@TABLE.row("`svhn`")
def svhn(root: Path) -> Made:
    savemat(root / "digits.mat", {"X": PIXELS.transpose(1, 2, 3, 0), "y": np.array([[10], [1]], np.uint8)})
    return {"path": "digits.mat"}, {"digits/00000": "0", "digits/00001": "1"}


@TABLE.row("`idx`")
def idx_files(root: Path) -> Made:
    (root / "images").write_bytes(idx(PIXELS[..., 0]))
    (root / "labels").write_bytes(idx(np.array([4, 2], np.uint8)))
    return {"images": "images", "labels": "labels"}, {"images/00000": "4", "images/00001": "2"}


@TABLE.row("`digits`")
def digits(root: Path) -> Made:
    return {}, {"0000": "0", "0001": "1", "1796": "8"}


def test_each_layout_is_documented_with_its_keys_and_has_its_test() -> None:
    TABLE.require_tests()
    assert sorted(TABLE.rows) == sorted(f"`{name}`" for name in LAYOUTS.built_in)
    text = (DOCS / "data.md").read_text(encoding="utf-8")
    for name in LAYOUTS.built_in:
        (cells,) = re.findall(rf"^\| `{name}` \|(.*?)\|", text, re.M)
        assert set(re.findall(r"`(\w+)`", cells)) == {*LAYOUTS[name].keys}, name


@pytest.mark.parametrize("row", TABLE.tests)
def test_a_layout_is_read_as_documented(row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (make,) = TABLE.tests[row]
    keys, expected = make(tmp_path)
    names = tuple(map(str, range(100))) if row.startswith(("`cifar-python", "`cifar-binary")) else None
    data = open_dataset(Manifest("own", "test", (Files(row.strip("`"), keys),), classes=names), tmp_path)
    found = {one: data.classes[label] for one, label in zip(data.ids, data.labels, strict=True)}
    assert expected.items() <= found.items()
    assert len(found) == (1797 if row == "`digits`" else len(expected))
    assert [data.read(number).mode for number in (0, len(data) - 1)] == ["RGB"] * 2
