"""Reading a cache: slices are what NumPy's slices of the whole would be, and nothing else is read."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.index_builder import build_index
from trustcache.cache import CacheView, open_cache
from trustcache.cache.index import create_or_continue
from trustcache.cache.meaning import ShardRecord
from trustcache.errors import TrustcacheError, UsageError

COLUMNS = ("logits", "features", "labels", "predictions", "correct", "true_class_prob", "sample_indices", "sample_ids")
SAMPLES, SHARD_ROWS = 57, 10
# Shard 3 has no row at all.
SKIPPED = {0, 5, 9, 10, 11, *range(30, 40), 56}
NAMES = ["plain.jpg", "l'été.jpg", "鳥/木.png", "not UTF-8 \udce9.jpg", "a much longer name than the others have.jpeg"]


def make_cache(folder: Path, samples: int = SAMPLES, skipped: set[int] = SKIPPED) -> dict[str, Any]:
    """Write a cache of several shards, and return its columns as plain arrays."""
    rng = np.random.default_rng(0)
    rows = np.array([i for i in range(samples) if i not in skipped])
    ids = [f"{i}/{NAMES[i % len(NAMES)]}" for i in range(samples)]
    whole: dict[str, Any] = {
        "sample_indices": rows,
        "sample_ids": [ids[i] for i in rows],
        "content": rng.integers(0, 2**64, len(rows), np.uint64),
        "labels": rng.integers(0, 4, len(rows)),
        "predictions": rng.integers(0, 4, len(rows)),
        "true_class_prob": rng.random(len(rows), dtype=np.float32),
        "logits": rng.standard_normal((len(rows), 4)).astype(np.float16),
        "features": rng.standard_normal((len(rows), 3)).astype(np.float16),
    }
    whole["correct"] = whole["labels"] == whole["predictions"]
    index = build_index(folder, samples=samples, shard_rows=SHARD_ROWS)
    index = create_or_continue(index, lambda start, stop: "")
    for number, (start, stop) in enumerate(index.ranges()):
        here = (rows >= start) & (rows < stop)
        columns = {name: np.array(column)[here] for name, column in whole.items() if name != "sample_ids"}
        raw = [
            i.encode("utf-8", "surrogateescape") for i, inside in zip(whole["sample_ids"], here, strict=True) if inside
        ]
        columns["sample_ids"] = np.array(raw, dtype=bytes)
        index.add(number, columns, {ids[i]: "broken" for i in range(start, stop) if i in skipped}, "")
    return {
        "logits": whole["logits"],
        "features": whole["features"],
        "labels": whole["labels"],
        "predictions": whole["predictions"],
        "correct": whole["correct"],
        "true_class_prob": whole["true_class_prob"],
        "sample_indices": whole["sample_indices"],
        "sample_ids": whole["sample_ids"],
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> tuple[CacheView, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("cache")
    whole = make_cache(folder)
    return open_cache(folder), whole


def assert_same(view: CacheView, name: str, expected: Any) -> None:
    found = getattr(view, name)
    if isinstance(expected, list):
        assert found == expected
    else:
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)


def bounds() -> st.SearchStrategy[int | None]:
    return st.none() | st.integers(-SAMPLES - 5, SAMPLES + 5)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_whole_column_is_all_shards_one_after_the_other(cache: Any, name: str) -> None:
    view, whole = cache
    assert len(view) == SAMPLES - len(SKIPPED)
    assert_same(view, name, whole[name])


@settings(max_examples=60)
@given(start=bounds(), stop=bounds(), again=st.builds(slice, bounds(), bounds(), st.sampled_from([None, 1])))
def test_any_slice_and_slice_of_a_slice_is_that_of_the_whole(cache: Any, start: Any, stop: Any, again: slice) -> None:
    view, whole = cache
    part = view[start:stop]
    assert len(part) == len(whole["labels"][start:stop])
    assert len(part[again]) == len(whole["labels"][start:stop][again])
    for name in COLUMNS:
        assert_same(part, name, whole[name][start:stop])
        assert_same(part[again], name, whole[name][start:stop][again])


@pytest.mark.parametrize("rows", [1, 7, 10, 1000])
def test_chunks_cover_every_row_once_and_in_order(cache: Any, rows: int) -> None:
    view, whole = cache
    for part, column in ((view, whole["logits"]), (view[3:30], whole["logits"][3:30])):
        chunks = list(part.chunks(rows))
        assert all(len(chunk) <= rows for chunk in chunks)
        np.testing.assert_array_equal(np.concatenate([chunk.logits for chunk in chunks]), column)
    assert list(view[5:5].chunks()) == []


def test_a_view_refuses_what_it_cannot_slice(cache: Any) -> None:
    view, _ = cache
    with pytest.raises(ValueError, match="steps of 1"):
        view[::2]
    with pytest.raises(TypeError, match="sliced"):
        view[3]


def test_only_the_rows_of_a_slice_are_read(cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    view, _ = cache
    read: list[tuple[str, int]] = []
    plain = CacheView._read

    def counted(self: CacheView, record: ShardRecord, name: str, rows: slice) -> np.ndarray:
        part = plain(self, record, name, rows)
        read.append((record.file, len(part)))
        return part

    monkeypatch.setattr(CacheView, "_read", counted)
    view[8:12], list(view.chunks(3))
    assert read == []
    # Shard 0 holds 7 rows, shard 1 holds 8: rows 8 to 11 are all in shard 1, rows 5 to 17 in the first three.
    _ = view[8:12].logits
    assert read == [("00001.h5", 4)]
    read.clear()
    _ = view[5:18].sample_ids
    assert read == [("00000.h5", 2), ("00001.h5", 8), ("00002.h5", 3)]


def test_a_cache_whose_extraction_is_unfinished_is_refused_with_the_remedy(tmp_path: Path) -> None:
    make_cache(tmp_path)
    (tmp_path / "00004.json").unlink()
    (tmp_path / "00005.json").unlink()
    with pytest.raises(TrustcacheError) as caught:
        open_cache(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: 2 of 6 shards")
    assert "trustcache extract" in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_folder_without_a_cache_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no cache; .*trustcache extract"):
        open_cache(str(tmp_path))
    (tmp_path / "z.npy").touch()
    with pytest.raises(UsageError, match=r"z\.npy: .*no cache"):
        open_cache(tmp_path / "z.npy")


def test_a_cache_without_a_single_row_is_refused(tmp_path: Path) -> None:
    make_cache(tmp_path, 12, set(range(12)))
    with pytest.raises(TrustcacheError, match=r"12 images .*: broken"):
        open_cache(tmp_path)


def test_a_flipped_bit_is_never_read_as_other_numbers(tmp_path: Path) -> None:
    whole = make_cache(tmp_path, 20, set())
    sound = (tmp_path / "00001.h5").read_bytes()
    rng = random.Random(0)
    complaints = set()
    for _ in range(150):
        data = bytearray(sound)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (tmp_path / "00001.h5").write_bytes(data)
        try:
            for name in COLUMNS:
                assert_same(open_cache(tmp_path), name, whole[name])
        except TrustcacheError as error:
            complaints.add(str(error))
    assert complaints
    assert all("00001.h5: cannot be read (" in c and "run trustcache cache verify" in c for c in complaints)


@pytest.mark.parametrize("length", [0, 100, 1000])
def test_a_truncated_shard_is_named(tmp_path: Path, length: int) -> None:
    make_cache(tmp_path)
    (tmp_path / "00002.h5").write_bytes((tmp_path / "00002.h5").read_bytes()[:length])
    view = open_cache(tmp_path)
    with pytest.raises(TrustcacheError, match=r"00002\.h5: .*trustcache cache verify"):
        _ = view.features
    assert len(view[:8].features) == 8


def test_a_shard_that_is_gone_or_too_short_is_named(tmp_path: Path) -> None:
    make_cache(tmp_path)
    (tmp_path / "00002.h5").write_bytes((tmp_path / "00005.h5").read_bytes())
    with pytest.raises(TrustcacheError, match=r"00002\.h5: .*float16 \(6, 4\).*float16 \(10, 4\)"):
        _ = open_cache(tmp_path).labels
    (tmp_path / "00002.h5").unlink()
    with pytest.raises(TrustcacheError, match=r"00002\.h5: .*No such file"):
        _ = open_cache(tmp_path).labels
