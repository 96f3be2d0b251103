"""Promises of Parquet files with images: rows are samples, damage is named, and a change of the file is noticed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import Result

from tests.pictures import as_parquet, encoded, picture, put, refusal
from tests.refusals import tells
from trustcache.cache import open_cache
from trustcache.data.dataset import Dataset, open_dataset
from trustcache.data.known_data import folder_manifest
from trustcache.data.samples import BadImage

ROWS = [(encoded(number), number % 2) for number in range(7)]


def opened(path: Path, classes: tuple[str, ...] | None = None) -> Dataset:
    return open_dataset(replace(folder_manifest(path), classes=classes), Path())


def test_rows_of_several_files_and_row_groups_are_samples_in_order(tmp_path: Path) -> None:
    as_parquet(tmp_path / "data" / "b.parquet", ROWS[5:])
    as_parquet(tmp_path / "data" / "a.parquet", ROWS[:5])
    data = opened(tmp_path)
    assert data.ids == [*(f"a/{row:06d}" for row in range(5)), "b/000000", "b/000001"]
    assert data.labels.tolist() == [label for _, label in ROWS]
    for index in (6, 0, 3, 4):
        np.testing.assert_array_equal(np.asarray(data.read(index)), picture(index))
    part = data.samples.take(np.array([5, 1]))
    assert [part.raw(i) for i in range(2)] == [ROWS[5][0], ROWS[1][0]]


def test_plain_bytes_and_paths_beside_the_file_are_images_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"img": [ROWS[0][0]], "label": [0]}), tmp_path / "bytes.parquet")
    assert opened(tmp_path / "bytes.parquet").samples.raw(0) == ROWS[0][0]
    put(tmp_path, "images/a.png")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = pa.array([{"bytes": None, "path": "images/a.png"}, None], kind)
    pq.write_table(pa.table({"image": cells, "label": [0, 0]}), tmp_path / "paths.parquet")
    data = opened(tmp_path / "paths.parquet")
    np.testing.assert_array_equal(np.asarray(data.read(0)), picture(0))
    with pytest.raises(BadImage, match=r"paths/000001: .*'image' holds no bytes"):
        data.read(1)


def test_a_path_leads_out_of_the_files_folder_by_no_spelling(tmp_path: Path) -> None:
    put(tmp_path, "outside.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link.png").symlink_to(tmp_path / "outside.png")
    paths = ["../outside.png", str(tmp_path / "outside.png"), "link.png"]
    pq.write_table(pa.table({"image": paths, "label": [0, 0, 0]}), tmp_path / "set" / "x.parquet")
    data = opened(tmp_path / "set" / "x.parquet")
    for row in range(3):
        with pytest.raises(BadImage, match="outside of its folder"):
            data.samples.raw(row)


def test_class_names_come_from_the_file_or_are_matched_with_a_manifest_s(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    as_parquet(path, ROWS, ["robin", "wren"])
    assert opened(path).classes == ("robin", "wren")
    by_name = opened(path, ("wren", "owl", "robin"))
    assert by_name.labels.tolist() == [2, 0, 2, 0, 2, 0, 2]
    by_number = opened(path, ("n1", "n2"))
    assert by_number.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert tells(refusal(replace(folder_manifest(path), classes=("a", "b", "c")), Path()), "2 classes", "3")
    as_parquet(path, ROWS, ["1", "0"])
    assert opened(path).labels.tolist() == [label for _, label in ROWS], "a number is a number, whatever the names"
    as_parquet(path, [(ROWS[0][0], -1)], ["robin", "wren"])
    assert tells(refusal(folder_manifest(path), Path()), "x/000000", "label -1"), "a test set without labels"
    as_parquet(path, [(ROWS[0][0], None)])
    assert tells(refusal(folder_manifest(path), Path()), "x/000000", "no label")


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    as_parquet(path, [(b"no image", 0), *ROWS])
    with pytest.raises(BadImage, match=r"x\.parquet: x/000000: "):
        opened(path).read(0)
    whole = path.read_bytes()
    data = opened(path)
    path.write_bytes(whole[:4] + b"\xff" * 200 + whole[204:])
    with pytest.raises(BadImage, match=r"x\.parquet: x/000002: "):
        data.read(2)
    path.write_bytes(whole[:-20])
    assert tells(refusal(folder_manifest(path), Path()), "x.parquet", "fetch it again")


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_parquet(tmp_path / "x.parquet", ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert tells(refusal(folder_manifest(tmp_path / "x.parquet"), Path()), "x.parquet", "trustcache[parquet]")


def test_another_file_is_noticed_by_its_size_or_its_time(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    as_parquet(path, ROWS)
    data = opened(path)
    before = data.fingerprint(), data.stamp(0, 3)
    assert (opened(path).fingerprint(), opened(path).stamp(0, 3)) == before
    os.utime(path, (1, 1))
    assert opened(path).fingerprint() == before[0]
    assert opened(path).stamp(0, 3) != before[1]
    as_parquet(path, [*ROWS[:6], (encoded(9) + b"more", 0)])
    assert opened(path).fingerprint() != before[0]


def test_decoding_processes_read_them(
    run_cli: Callable[..., Result], own_model: Callable[..., str], tmp_path: Path
) -> None:
    pixels = [Image.new("RGB", (8, 8), (20 * i, 0, 0)) for i in range(7)]
    for number, image in enumerate(pixels):
        image.save(tmp_path / f"{number}.png")
    rows = [((tmp_path / f"{i}.png").read_bytes(), i % 2) for i in range(7)]
    as_parquet(tmp_path / "hub" / "test.parquet", rows, ["cat", "dog"])
    model = ("--classifier", own_model(), "--model-arg", "classes=2", "--device", "cpu", "--workers", 1)
    for _ in range(2):
        done = run_cli("extract", *model, "--data", "hub")
        assert done.exit_code == 0, done.stderr
    (index,) = Path("trustcache-workspace/cache").rglob("index.json")
    view = open_cache(index.parent)
    np.testing.assert_allclose(view.logits[:, 0], 20 * np.arange(7) / 255, atol=1e-3)
    assert view.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]


def test_files_of_several_splits_are_not_one_data_set(tmp_path: Path) -> None:
    for name in ("train-00000-of-00001", "test-00000-of-00001", "contest"):
        as_parquet(tmp_path / "data" / f"{name}.parquet", ROWS[:2])
    said = refusal(folder_manifest(tmp_path), Path())
    assert tells(said, str(tmp_path), "test, train", f"'{tmp_path / 'data' / 'test*.parquet'}'")
    assert opened(tmp_path / "data" / "test*.parquet").ids == [f"test-00000-of-00001/{row:06d}" for row in range(2)]


def test_files_beside_are_counted(tmp_path: Path) -> None:
    as_parquet(tmp_path / "data" / "a.PARQUET", ROWS[:2])
    put(tmp_path, "data/extra.png")
    (tmp_path / "README.md").touch()
    (tmp_path / ".gitattributes").touch()
    assert opened(tmp_path).passed_over == {"beside the Parquet files": 1, "with the suffix .md": 1, "hidden": 1}


def test_columns_are_those_of_the_schema(tmp_path: Path) -> None:
    put(tmp_path, "images/a.png")
    features = {"photo": {"_type": "Image"}, "bird": {"names": ["robin", "wren"], "_type": "ClassLabel"}, "x": None}
    table = pa.table({"label": ["?"], "bird": [1], "photo": ["images/a.png"]})
    about = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": about}), tmp_path / "a.parquet")
    data = opened(tmp_path / "a.parquet")
    assert (data.classes, data.labels.tolist()) == (("robin", "wren"), [1])
    np.testing.assert_array_equal(np.asarray(data.read(0)), picture(0))
