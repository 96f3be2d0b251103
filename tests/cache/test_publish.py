"""Files appear whole or not at all, and hold what was put into them."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustcache.cache.publish import STALE_S, file_sha256, pack, publish, sole_writer, sweep
from trustcache.errors import TrustcacheError

MEGABYTE = 1 << 20


@st.composite
def tables(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """A few columns of equal length, 0 to 600 rows, of the kinds that a cache holds."""
    rows = draw(st.sampled_from([0, 1, 2, 255, 256, 257, 600]))
    kinds = st.sampled_from(["float16", "float32", "float64", "int64", "bool", "S7"])
    widths = draw(st.lists(st.tuples(kinds, st.lists(st.integers(1, 5), max_size=2)), max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return {
        f"column {i}": rng.integers(0, 2, (rows, *shape)).astype(kind)
        if kind in ("bool", "S7")
        else rng.standard_normal((rows, *shape)).astype(kind)
        for i, (kind, shape) in enumerate(widths)
    }


def in_another_process(work: Callable[[], None]) -> int:
    """Run `work` in a fork of this process and return its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def temporary_files(folder: Path) -> list[Path]:
    return list(folder.glob("*.partial-*"))


@given(tables())
def test_packed_arrays_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, table: dict) -> None:
    path = tmp_path_factory.getbasetemp() / "packed.h5"
    publish(path, pack(table))
    with h5py.File(path) as file:
        assert set(file) == set(table)
        for name, column in table.items():
            assert file[name].dtype == column.dtype
            np.testing.assert_array_equal(file[name][:], column)


def test_the_same_arrays_give_the_same_bytes_at_any_time() -> None:
    arrays = {"x": np.arange(1000.0).reshape(500, 2), "id": np.array([b"a", b"bc"] * 250), "none": np.empty((0, 3))}
    first = pack(arrays)
    time.sleep(1.1)  # HDF5 would note the second
    assert pack(arrays) == first
    assert pack({**arrays, "x": arrays["x"] + 1}) != first


def test_publishing_makes_the_folders_it_needs(tmp_path: Path) -> None:
    publish(tmp_path / "a" / "b" / "c.txt", b"text")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b"text"


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "a.h5"
    publish(path, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left") as caught:
        publish(path, b"new")
    assert caught.value.filename == str(path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.h5", b"old")]


def test_an_interrupted_publication_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    publish(path, b"old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish(path, b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.h5", b"old")]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("in the way")
    with pytest.raises(OSError, match="a file"):
        publish(tmp_path / "a file" / "a.h5", b"new")


def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    publish(path, bytes(8 * MEGABYTE))

    def publish_for_ever() -> None:
        for number in range(1, 1 << 30):
            publish(path, bytes([number % 256]) * (8 * MEGABYTE))

    moments = random.Random(0)
    seen = set()
    for attempt in range(200):
        if attempt >= 20 and len(seen) > 1:
            break
        writer = in_another_process(publish_for_ever)
        # On a busy machine it takes longer until a writer has written twice.
        time.sleep(moments.uniform(0.01, 0.1) * (1 + attempt // 20))
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        found = path.read_bytes()
        assert found == found[:1] * (8 * MEGABYTE)
        seen.add(found[0])
    assert len(seen) > 1
    sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_several_writers_of_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"

    def publish_often(letter: bytes) -> None:
        for _ in range(30):
            publish(path, letter * MEGABYTE)

    writers = {in_another_process(partial(publish_often, letter)) for letter in (b"x", b"y", b"z")}
    seen = set()
    while writers:
        done, status = os.waitpid(-1, os.WNOHANG)
        if done:
            assert status == 0
            writers.discard(done)
        if path.exists():
            found = path.read_bytes()
            assert found == found[:1] * MEGABYTE
            seen.add(found[:1])
    assert seen <= {b"x", b"y", b"z"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_several_threads_that_write_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    letters = [b"x", b"y", b"z"]
    with ThreadPoolExecutor(len(letters)) as pool:
        list(pool.map(lambda letter: publish(path, letter * MEGABYTE), letters * 20))
    found = path.read_bytes()
    assert found == found[:1] * MEGABYTE
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_sweeping_removes_what_a_killed_writer_left(tmp_path: Path) -> None:
    def stop_before_the_end() -> None:
        os.replace = lambda *_: os._exit(1)
        publish(tmp_path / "a.h5", b"new")

    os.waitpid(in_another_process(stop_before_the_end), 0)
    assert len(temporary_files(tmp_path)) == 1
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_publishing_again_sweeps_what_a_killed_writer_of_that_file_left(tmp_path: Path) -> None:
    def stop_before_the_end() -> None:
        os.replace = lambda *_: os._exit(1)
        publish(tmp_path / "checkpoint [1].pt", bytes(MEGABYTE))

    os.waitpid(in_another_process(stop_before_the_end), 0)
    publish(tmp_path / "another.pt", b"")
    assert len(temporary_files(tmp_path)) == 1
    publish(tmp_path / "checkpoint [1].pt", b"new")
    assert not temporary_files(tmp_path)


def test_sweeping_leaves_files_that_are_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def swept_by_another(source: Path, target: Path) -> None:
        os.waitpid(in_another_process(lambda: sweep(tmp_path)), 0)
        replace(source, target)

    monkeypatch.setattr(os, "replace", swept_by_another)
    publish(tmp_path / "a.h5", b"new")
    assert (tmp_path / "a.h5").read_bytes() == b"new"


def test_sweeping_trusts_the_age_of_another_machines_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere() -> None:
        socket.gethostname = lambda: "another-machine"
        os.replace = lambda *_: os._exit(1)
        publish(tmp_path / "a.h5", b"new")

    os.waitpid(in_another_process(elsewhere), 0)
    (left,) = temporary_files(tmp_path)
    sweep(tmp_path)
    assert left.exists()
    long_ago = time.time() - STALE_S - 60
    os.utime(left, (long_ago, long_ago))
    sweep(tmp_path)
    assert not left.exists()


def test_a_files_sha256_is_that_of_its_bytes(tmp_path: Path) -> None:
    data = random.Random(0).randbytes(3 * MEGABYTE + 1)
    publish(tmp_path / "a.h5", data)
    assert file_sha256(tmp_path / "a.h5") == hashlib.sha256(data).hexdigest()


# --- one writer a cache ----------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from trustcache.cache.publish import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_until_the_first_ends_even_if_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trustcache.cache.publish.LOCK_WAIT_S", 0.1)
    folder = tmp_path / "net" / "birds"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout
        assert first.stdout.readline() == "held\n"
        with pytest.raises(TrustcacheError, match="net/birds: another trustcache extract"), sole_writer(folder):
            pass
        with sole_writer(folder.with_name("cars")):
            pass
        first.kill()
    with sole_writer(folder):
        assert not folder.exists()


def test_a_folder_that_cannot_be_locked_is_written_to_without(tmp_path: Path) -> None:
    (tmp_path / "net").write_text("no folder")
    entered = False
    with sole_writer(tmp_path / "net" / "birds"):
        entered = True
    assert entered
    assert (tmp_path / "net").read_text() == "no folder"
