"""A shard holds the plain datasets that its index and record declare; anything else is refused before it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.cache.test_view import make_cache
from trustcache.cache import columns, open_cache
from trustcache.cache.index import read_index
from trustcache.cache.publish import file_sha256
from trustcache.cache.records import write_record
from trustcache.errors import DamagedError

ROWS = 10
Change = Callable[[h5py.File, Path], None]


def replaced(**settings: object) -> Change:
    """Replace the labels by a dataset that is made otherwise."""

    def change(file: h5py.File, elsewhere: Path) -> None:
        del file["labels"]
        file.create_dataset("labels", **{"shape": (ROWS,), "dtype": "int64", "chunks": (ROWS,), **settings})

    return change


def link_to(link: Callable[[Path], object]) -> Change:
    def change(file: h5py.File, elsewhere: Path) -> None:
        del file["labels"]
        file["labels"] = link(elsewhere)

    return change


def virtual(file: h5py.File, elsewhere: Path) -> None:
    layout = h5py.VirtualLayout((ROWS,), "int64")
    layout[:] = h5py.VirtualSource(str(elsewhere), "labels", (ROWS,))
    del file["labels"]
    file.create_virtual_dataset("labels", layout)


def external(file: h5py.File, elsewhere: Path) -> None:
    replaced(chunks=None, external=[(str(elsewhere), 0, ROWS * 8)])(file, elsewhere)


def more(file: h5py.File, elsewhere: Path) -> None:
    file["extra"] = np.zeros(ROWS)


def fewer(file: h5py.File, elsewhere: Path) -> None:
    del file["labels"]


def group(file: h5py.File, elsewhere: Path) -> None:
    del file["labels"]
    file.create_group("labels")


def wider(file: h5py.File, elsewhere: Path) -> None:
    del file["logits"]
    file.create_dataset("logits", data=np.zeros((ROWS, 5), np.float16), chunks=(ROWS, 5))


FULL = np.zeros(ROWS, np.int64)
CHANGES: dict[str, tuple[Change, str]] = {
    "a soft link": (link_to(lambda path: h5py.SoftLink("/predictions")), "link to elsewhere"),
    "an external link": (link_to(lambda path: h5py.ExternalLink(str(path), "labels")), "link to elsewhere"),
    "a virtual dataset": (virtual, "no plain dataset"),
    "external raw storage": (external, "no plain dataset"),
    "a group": (group, "not a dataset"),
    "an unknown column": (more, "'extra'"),
    "a missing column": (fewer, "'labels'"),
    "another dtype": (replaced(dtype="int32"), "int32"),
    "another byte order": (replaced(dtype=">i8"), "int64"),
    "objects": (replaced(dtype=h5py.string_dtype()), "object"),
    "another rank": (replaced(shape=(ROWS, 1), chunks=(ROWS, 1)), "(10, 1)"),
    "another width": (wider, "(10, 5)"),
    "other rows": (replaced(shape=(ROWS - 1,), chunks=(ROWS - 1,)), "(9,)"),
    "an absurd size": (replaced(shape=(2**60,), chunks=(ROWS,)), str(2**60)),
    "data that were never written": (replaced(), "longer than its data"),
    "compression": (replaced(data=FULL, compression="gzip"), "another way"),
    "absurd chunks": (replaced(data=FULL, chunks=(2**20,), maxshape=(None,)), "another way"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_shard_with_anything_but_its_plain_columns_is_refused_and_named_by_verify(tmp_path: Path, kind: str) -> None:
    folder, elsewhere = tmp_path / "cache", tmp_path / "elsewhere.h5"
    make_cache(folder, 20, set())
    with h5py.File(elsewhere, "w") as file:
        file["labels"] = np.arange(ROWS)
    change, fact = CHANGES[kind]
    with h5py.File(folder / "00001.h5", "a") as file:
        change(file, elsewhere)
    # A stranger's record has a checksum that fits.
    index = read_index(folder)
    record = index.records()[1]
    write_record(folder / "00001.json", replace(record, sha256=file_sha256(folder / "00001.h5")))

    (fault,) = index.faults().values()
    assert f"{folder / '00001.h5'}: " in fault
    assert fact in fault
    for column in ("labels", "predictions"):
        with pytest.raises(DamagedError) as caught:
            open_cache(folder).column(column)
        assert fact in str(caught.value)
        assert "trustcache cache verify" in str(caught.value)


def test_the_columns_of_a_file_are_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cache(tmp_path, 20, set())
    checked = []
    plain = columns._foreign_part

    def counted(file: h5py.File, *declared: Any) -> str | None:
        checked.append(Path(file.filename).name)
        return plain(file, *declared)

    monkeypatch.setattr(columns, "_foreign_part", counted)
    for _ in range(2):
        for part in open_cache(tmp_path).chunks(5):
            assert len(part.logits) == len(part.labels) == 5
    assert checked == ["00000.h5", "00001.h5"]
    shard = tmp_path / "00001.h5"
    shard.write_bytes(shard.read_bytes())
    _ = open_cache(tmp_path).labels
    assert checked == ["00000.h5", "00001.h5", "00001.h5"]


def test_a_pipe_in_place_of_a_shard_is_not_waited_for(tmp_path: Path) -> None:
    import os

    make_cache(tmp_path, 20, set())
    (tmp_path / "00001.h5").unlink()
    os.mkfifo(tmp_path / "00001.h5")
    with pytest.raises(DamagedError, match="not a regular file"):
        _ = open_cache(tmp_path).labels


@pytest.mark.parametrize(("name", "value"), [("labels", 4), ("predictions", -1), ("sample_indices", 20)])
def test_numbers_that_nothing_can_be_looked_up_by_are_refused(tmp_path: Path, name: str, value: int) -> None:
    make_cache(tmp_path, 20, set())
    with h5py.File(tmp_path / "00001.h5", "a") as file:
        file[name][3] = value
    with pytest.raises(DamagedError, match=rf"00001\.h5: .*{name}.*trustcache cache verify"):
        open_cache(tmp_path).column(name)
