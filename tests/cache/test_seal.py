"""A sealed file is read only as it was written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustcache.cache.seal import UNSEALED, check_seal, publish_sealed, read_sealed
from trustcache.errors import DamagedError


@given(st.binary(max_size=500), st.binary(max_size=3000), st.data())
def test_no_other_bytes_are_read_than_were_written(
    tmp_path_factory: pytest.TempPathFactory, before: bytes, after: bytes, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "sealed"
    publish_sealed(path, before + UNSEALED.encode() + after)
    sealed = read_sealed(path, "mend it")
    assert len(sealed) == len(before) + len(UNSEALED) + len(after)
    assert (sealed[: len(before)], sealed[len(sealed) - len(after) :]) == (before, after)
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    flipped = bytearray(sealed)
    flipped[bit // 8] ^= 1 << bit % 8
    longer, cut = (
        sealed + data.draw(st.binary(min_size=1, max_size=3)),
        sealed[: data.draw(st.integers(0, len(sealed) - 1))],
    )
    for other in (bytes(flipped), longer, cut):
        path.write_bytes(other)
        with pytest.raises(DamagedError) as caught:
            check_seal(path, "mend it")
        assert str(caught.value).startswith(f"{path}: damaged (")
        assert str(caught.value).endswith("; mend it")


def test_a_pipe_is_not_waited_for_and_a_lost_file_is_not_a_damaged_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DamagedError, match="not a regular file"):
        check_seal(tmp_path / "pipe", "mend it")
    with pytest.raises(FileNotFoundError):
        check_seal(tmp_path / "lost", "mend it")


def test_bytes_without_a_place_for_the_checksum_are_not_published(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="subsection not found"):
        publish_sealed(tmp_path / "a", b" " * 2000 + UNSEALED.encode())
    assert not list(tmp_path.iterdir())
