"""What a cache's index and records promise: nothing passes for what it is not, and damage is named and mended."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import Result

from tests.index_builder import PLAIN, build_identity, build_index
from tests.refusals import tells
from tests.sealed import edit_record, write_resealed
from trustcache.cache import open_cache
from trustcache.cache.index import Index, OtherImages, create_or_continue, read_index
from trustcache.cache.meaning import CacheRecord
from trustcache.cache.workspace import Workspace
from trustcache.errors import TrustcacheError, UsageError

NAME = "digits-net/digits-test"
Cli = Callable[..., Result]


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    """The folder of digits-test's cache: shards 00000 to 00003."""
    return workspace.cache_folder(*NAME.split("/"))


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def change_rows(path: Path) -> None:
    edit_record(path, {"rows": 7})


def versions(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes when a file is published anew, by file name."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def shards(folder: Path) -> dict[str, bytes]:
    """The bytes of all shards and records, by file name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "index.json"}


DAMAGES: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "a flipped bit": (flip_a_bit, "00002.h5", "its bytes are not the ones that were written"),
    "a truncated shard": (cut_short, "00002.h5", "its bytes are not the ones that were written"),
    "a missing shard": (Path.unlink, "00002.h5", "missing"),
    "a missing record": (Path.unlink, "00002.json", "not extracted yet"),
    "a truncated record": (cut_short, "00002.json", "00002.json: damaged"),
    "an emptied record": (lambda path: path.write_text(""), "00002.json", "00002.json: damaged"),
    "a changed record": (change_rows, "00002.json", "does not account for its 200 samples"),
    "a record of another shard": (
        lambda path: shutil.copy(path.with_name("00001.json"), path),
        "00002.json",
        "it is another shard's",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_by_verify_and_mended_by_extract_shard_by_shard(
    folder: Path, run_cli: Cli, extract_digits: Cli, damage: str
) -> None:
    whole = shards(folder)
    spoil, file, words = DAMAGES[damage]
    spoil(folder / file)
    before = versions(folder)

    verified = run_cli("cache", "verify")
    assert verified.exit_code == 1
    assert tells(verified.stdout, f"{NAME}: 1 of 4 shards", "shard 00002: ")
    assert words in verified.stdout
    assert "digits-net/digits-train: sound" in verified.stdout
    assert all(fact in verified.stderr for fact in ("1 cache", "trustcache extract"))

    assert extract_digits().exit_code == 0
    assert shards(folder) == whole
    after = versions(folder)
    assert {name for name in whole if after[name] != before.get(name)} == {"00002.h5", "00002.json"}
    assert run_cli("cache", "verify", NAME).stdout == f"{NAME}: sound\n"


def test_a_cache_with_a_damaged_record_is_listed_as_such(folder: Path, run_cli: Cli) -> None:
    cut_short(folder / "00002.json")
    listed = run_cli("cache", "list")
    assert listed.exit_code == 0
    _, first, second = listed.stdout.splitlines()
    assert tells(first, "damaged", "trustcache cache verify")
    assert second.split("\t") == ["digits-net/digits-train", "train", "700", "4/4 shards"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema": 2}', '{"schema": 2, "meaning": 1}', "{}", "\xff"])
def test_a_damaged_index_is_an_error_that_names_it(folder: Path, run_cli: Cli, text: str) -> None:
    (folder / "index.json").write_text(text, encoding="latin-1")
    for command in ("list", "verify"):
        failed = run_cli("cache", command)
        assert failed.exit_code == 1
        assert f"cache/{NAME}/index.json: damaged (" in failed.stderr
        assert "trustcache extract" in failed.stderr
        assert failed.stderr.count("\n") == 1


def test_an_index_that_misses_an_entry_is_damaged(folder: Path) -> None:
    table = json.loads((folder / "index.json").read_text())
    for missing in table.keys() - {"schema", "trustcache", "checksum"}:
        write_resealed(folder / "index.json", json.dumps({key: table[key] for key in table if key != missing}).encode())
        with pytest.raises(TrustcacheError, match="damaged"):
            read_index(folder)


def test_a_lost_index_is_written_again_and_sound_shards_are_kept(
    folder: Path, workspace: Workspace, extract_digits: Cli
) -> None:
    before, meaning = versions(folder), read_index(folder).meaning
    (folder / "index.json").unlink()
    assert extract_digits().exit_code == 0
    after = versions(folder)
    assert {name for name in after if after[name] != before[name]} == {"index.json"}
    assert read_index(folder).meaning == meaning


def test_a_lost_index_does_not_let_shards_of_other_settings_pass(folder: Path, extract_digits: Cli) -> None:
    sound = [path.read_bytes() for path in sorted(folder.glob("*.h5"))]
    assert extract_digits("--store", "float32").exit_code == 2
    (folder / "index.json").unlink()
    assert extract_digits("--store", "float32").exit_code == 0
    assert open_cache(folder).logits.dtype == np.float32
    (folder / "index.json").unlink()
    assert extract_digits().exit_code == 0
    assert [path.read_bytes() for path in sorted(folder.glob("*.h5"))] == sound


def test_a_shard_of_another_cache_does_not_pass(folder: Path, run_cli: Cli, extract_digits: Cli) -> None:
    assert extract_digits("--precision", "bf16", name="other").exit_code == 0
    other = folder.parent.parent / "other" / "digits-test"
    for file in ("00001.h5", "00001.json"):
        shutil.copy(other / file, folder / file)
    with pytest.raises(TrustcacheError, match=r"00001\.json: .*other settings"):
        open_cache(folder)
    assert "made with other settings" in run_cli("cache", "verify", NAME).stdout


def test_a_cache_of_a_newer_schema_is_refused_with_both_numbers(folder: Path, run_cli: Cli) -> None:
    edit_record(folder / "index.json", {"schema": 7})
    failed = run_cli("cache", "list")
    assert failed.exit_code == 1
    assert tells(
        failed.stderr, "index.json: made by a newer trustcache", "schema 7", f"{CacheRecord.SCHEMA}", "install that"
    )


def test_showing_a_cache_tells_what_its_numbers_mean(workspace: Workspace, run_cli: Cli) -> None:
    shown = json.loads(run_cli("cache", "show", NAME, "--json").stdout)
    cache = open_cache(workspace.cache_folder(*NAME.split("/")))
    assert shown["rows"] == 647
    assert shown["accuracy"] == pytest.approx(cache.correct.mean(), abs=1e-6)
    assert (shown["classes"], shown["features"], shown["skipped"]) == (10, 64, {})
    assert shown["meaning"]["classifier"]["preprocessing"]["input_size"] == [8, 8]
    assert shown["made_with"].keys() == {"trustcache", "torch", "numpy", "pillow", "h5py"}


def test_a_cache_that_is_not_there_is_a_usage_error(workspace: Workspace, run_cli: Cli) -> None:
    for args in (("show", "a/b"), ("verify", "a/b")):
        failed = run_cli("cache", *args)
        assert failed.exit_code == 2
        assert all(fact in failed.stderr for fact in ("'a/b'", "trustcache-workspace/cache", "trustcache extract"))
    empty = run_cli("cache", "list", "--workspace", "elsewhere")
    assert empty.exit_code == 2
    assert all(fact in empty.stderr for fact in ("elsewhere/cache", "trustcache extract"))


@given(samples=st.integers(1, 500), shard_rows=st.integers(1, 100))
def test_shards_cover_every_sample_once_and_in_order(samples: int, shard_rows: int) -> None:
    ranges = build_index(Path(), samples=samples, shard_rows=shard_rows).ranges()
    assert [sample for start, stop in ranges for sample in range(start, stop)] == list(range(samples))
    assert {stop - start for start, stop in ranges[:-1]} <= {shard_rows}
    assert ranges[-1][1] - ranges[-1][0] <= shard_rows


def same_images(start: int, stop: int) -> str:
    return f"{start} to {stop}"


def fill(of: Index, *numbers: int) -> None:
    for number in numbers:
        numbered, share = np.zeros(10, np.int64), np.zeros(10, np.float32)
        columns = {"sample_indices": numbered, "labels": numbered, "predictions": numbered, "correct": numbered == 0}
        columns |= {"sample_ids": np.zeros(10, bytes), "true_class_prob": share, "content": np.zeros(10, np.uint64)}
        columns |= dict.fromkeys(("logits", "features"), np.zeros((10, 2), np.float16))
        of.add(number, columns, {}, same_images(*of.ranges()[number]))


def test_differences_are_named_by_place_with_both_values(tmp_path: Path) -> None:
    create_or_continue(build_index(tmp_path), same_images)
    create_or_continue(build_index(tmp_path), same_images)
    brighter = replace(PLAIN, mean=(0.4, 0.1, 0.1))
    other = build_index(tmp_path, identity=build_identity(state_sha256="cc", preprocessing=brighter))
    with pytest.raises(UsageError) as caught:
        create_or_continue(other, same_images)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}: ")
    assert tells(said, "classifier.preprocessing.mean", "(0.1, 0.1, 0.1)", "(0.4, 0.1, 0.1)")
    assert tells(said, "weights", "'sha of net'", "'cc'", "remove that folder", "--as NAME")


def test_where_weights_and_images_lie_is_brought_up_to_date(tmp_path: Path) -> None:
    create_or_continue(build_index(tmp_path), same_images)
    moved = build_index(tmp_path, weights="/new/place")
    assert create_or_continue(moved, same_images).made_from.weights == "/new/place"
    assert read_index(tmp_path).made_from.weights == "/new/place"


def test_a_finished_cache_that_still_fits_is_not_written_to(tmp_path: Path) -> None:
    fill(create_or_continue(build_index(tmp_path), same_images), 0, 1, 2)
    before = versions(tmp_path)
    assert create_or_continue(build_index(tmp_path), same_images).faults() == {}
    assert versions(tmp_path) == before


def test_images_ahead_of_an_unfinished_extraction_may_change(tmp_path: Path) -> None:
    fill(create_or_continue(build_index(tmp_path), same_images), 0, 1)

    def third_shard_changed(start: int, stop: int) -> str:
        return same_images(start, stop) + (", mended" if start == 20 else "")

    mended = create_or_continue(build_index(tmp_path, fingerprint="cc"), third_shard_changed)
    assert list(mended.faults()) == [2]
    assert read_index(tmp_path).meaning.data.fingerprint == "cc"
    fewer = create_or_continue(build_index(tmp_path, samples=29, fingerprint="dd"), third_shard_changed)
    assert (list(fewer.faults()), fewer.ranges()[-1]) == ([2], (20, 29))


@pytest.mark.parametrize("changed", [0, 10])
def test_images_already_extracted_may_not_change(tmp_path: Path, changed: int) -> None:
    fill(create_or_continue(build_index(tmp_path), same_images), 0, 1)

    def one_changed(start: int, stop: int) -> str:
        return same_images(start, stop) + (", others" if start == changed else "")

    with pytest.raises(OtherImages):
        create_or_continue(build_index(tmp_path, fingerprint="cc"), one_changed)
    (tmp_path / "index.json").unlink()
    with pytest.raises(UsageError, match="shards of other images"):
        create_or_continue(build_index(tmp_path, fingerprint="cc"), one_changed)


def test_a_finished_cache_takes_no_other_images(tmp_path: Path) -> None:
    fill(create_or_continue(build_index(tmp_path), same_images), 0, 1, 2)
    with pytest.raises(OtherImages):
        create_or_continue(build_index(tmp_path, samples=40, fingerprint="cc"), same_images)


def test_skipped_images_with_odd_names_survive_in_a_record(tmp_path: Path) -> None:
    cache = create_or_continue(build_index(tmp_path), same_images)
    skipped = {"Vögel/l'été.jpg": "broken", "鳥/\udce9.jpg": "not UTF-8"}
    cache.add(0, {"labels": np.zeros(8), "content": np.zeros(8, np.uint64)}, skipped, "x")
    record = cache.record(0)
    assert record
    assert record.skipped == skipped
