"""Arrays in files of others: every format, the arrays that are meant, and files that are refused."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.refusals import refusal_of, tells
from trustcache.cache.array_files import FORMATS, USUAL, Place, read_array
from trustcache.errors import UsageError

Z = np.array([[2.5, -1.0, 0.0], [0.25, 3.0, 1.0]])
Y = np.array([0, 2])


def written_csv(path: Path) -> None:
    path.write_text('path,z_cat,z_dog,z_owl,label\n"a,b.jpg",2.5,-1,0,0\nc.jpg,0.25,3,1,2\n', encoding="utf-8")


def test_every_format_gives_the_matrix_and_the_labels(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    np.save(tmp_path / "z.npy", Z)
    np.save(tmp_path / "y.npy", Y)
    np.savez(tmp_path / "d.npz", logits=Z, targets=Y, other=np.zeros(7))
    save_file({"logits": Z, "labels": Y}, tmp_path / "d.safetensors")
    written_csv(tmp_path / "d.csv")
    np.savetxt(tmp_path / "bare.csv", Z, delimiter=",")
    np.savetxt(tmp_path / "y.csv", Y)
    np.savetxt(tmp_path / "z.txt", Z)
    (tmp_path / "y.txt").write_text("0\n2\n", encoding="utf-8")
    columns = {f"logit_{k}": Z[:, k] for k in range(3)}
    pq.write_table(pa.table({**columns, "label": Y}), tmp_path / "wide.parquet")
    pq.write_table(pa.table({"logits": list(Z), "label": Y}), tmp_path / "lists.parquet")
    matrices = ["z.npy", "d.npz", "d.safetensors", "d.csv:z_", "bare.csv", "z.txt", "wide.parquet", "lists.parquet"]
    for text in matrices:
        place = Place.parse(str(tmp_path / text))
        np.testing.assert_array_equal(read_array(place, "logits"), Z, err_msg=text)
    for text in [
        "y.npy",
        "d.npz",
        "d.npz:targets",
        "d.safetensors",
        "d.csv",
        "d.csv:label",
        "y.csv",
        "y.txt",
        "wide.parquet",
    ]:
        found = read_array(Place.parse(str(tmp_path / text)), "labels")
        np.testing.assert_array_equal(np.ravel(found), Y, err_msg=text)
    assert read_array(Place.parse(str(tmp_path / "d.csv")), "ids").tolist() == ["a,b.jpg", "c.jpg"]
    assert {Path(text.split(":")[0]).suffix for text in matrices} == set(FORMATS)


def test_all_columns_but_labels_and_ids_are_meant_by_a_star(tmp_path: Path) -> None:
    written_csv(tmp_path / "d.csv")
    np.testing.assert_array_equal(read_array(Place(tmp_path / "d.csv", "*"), "logits"), Z)


@pytest.mark.parametrize("what", USUAL)
def test_usual_names_are_found_among_others(tmp_path: Path, what: str) -> None:
    for number, name in enumerate(USUAL[what]):
        np.savez(tmp_path / "d.npz", **{name: np.full((2, 2), number), "another": np.zeros(3)})
        assert read_array(Place(tmp_path / "d.npz"), what)[0, 0] == number


def test_a_file_whose_name_has_a_colon_is_that_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a:b.npy", Z)
    assert Place.parse(str(tmp_path / "a:b.npy")).member == ""


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors", "csv", "parquet", "txt"])
@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_file_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / f"z.{suffix}"
    raw = bytearray(whole_file(suffix))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(len(raw) // 2, len(raw)))])
    with contextlib.suppress(UsageError):
        assert isinstance(read_array(Place(path), "logits"), np.ndarray)


@functools.cache
def whole_file(suffix: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save

    stream, z = io.BytesIO(), np.random.default_rng(0).normal(size=(20, 3))
    writers: dict[str, Callable[[], object]] = {
        "npy": lambda: np.save(stream, z),
        "npz": lambda: np.savez_compressed(stream, logits=z),
        "safetensors": lambda: stream.write(save({"logits": z})),
        "csv": lambda: np.savetxt(stream, z, delimiter=",", header="logit_a,logit_b,logit_c", comments=""),
        "parquet": lambda: pq.write_table(pa.table({"logits": list(z)}), stream),
        "txt": lambda: np.savetxt(stream, z),
    }
    writers[suffix]()
    return stream.getvalue()


def refused_pickle(path: Path) -> None:
    np.save(path, np.array([{"code": 1}], dtype=object), allow_pickle=True)


def refused_pickle_in_a_zip(path: Path) -> None:
    np.savez(path, logits=np.array([{"code": 1}], dtype=object))


def several(path: Path) -> None:
    np.savez(path, a=Z, b=Z)


def half_precision(path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"logits": torch.zeros(2, 2, dtype=torch.bfloat16)}, path)


@pytest.mark.parametrize(
    ("name", "make", "facts"),
    [
        ("z.npy", refused_pickle, ("pickled", "np.save")),
        ("z.npz", refused_pickle_in_a_zip, ("pickled",)),
        ("z.npz", several, ("none called logits", "z.npz:NAME", "a, b")),
        ("z.npz:c", several, ("'c'", "a, b")),
        ("z.npy", lambda path: path.write_bytes(b"\x93NUMPY rest"), ("npy",)),
        ("z.npz", lambda path: path.write_bytes(b"PK rest"), ("npz",)),
        ("z.safetensors", lambda path: path.write_bytes(b"rest"), ("safetensors",)),
        ("z.safetensors", half_precision, ("safetensors", "bfloat16")),
        ("z.parquet", lambda path: path.write_bytes(b"rest"), ("parquet",)),
        ("z.csv", lambda path: path.write_text("logit_0,logit_1\n1,cat\n"), ("csv", "cat")),
        ("z.csv", lambda path: path.write_text(""), ("empty",)),
        ("z.csv", written_csv, ("none called logits", "z.csv:NAME", "z_cat")),
        ("z.pt", lambda path: path.write_bytes(b""), (".npy", ".parquet")),
        ("z.npy", lambda path: None, ("no such file", "logits")),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, make: Callable[[Path], object], facts: tuple[str, ...]
) -> None:
    place = Place.parse(str(tmp_path / name))
    make(place.file)
    assert tells(refusal_of(lambda: read_array(place, "logits"), str(place.file)), *facts)
