"""Records come back as they were written, and one that is damaged or of another schema is refused in one sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from trustcache.cache.records import as_read, fingerprint, read_record, write_record
from trustcache.cache.seal import UNSEALED, publish_sealed
from trustcache.errors import TrustcacheError


@dataclass(frozen=True)
class Inner:
    numbers: tuple[float, ...] = ()


@dataclass(frozen=True)
class Example:
    SCHEMA: ClassVar[int] = 3

    name: str
    count: Annotated[int, Meta(ge=1)]
    inner: Inner = Inner()
    free: dict[str, Any] = field(default_factory=dict)


names = st.text(st.characters(categories=["L", "N", "P", "S", "Cs"]))
numbers = st.lists(st.floats(allow_nan=False, allow_infinity=False)).map(tuple)
examples = st.builds(Example, names, st.integers(1, 2**53), st.builds(Inner, numbers))


@given(examples)
def test_a_record_comes_back_to_the_last_digit(tmp_path_factory: pytest.TempPathFactory, example: Example) -> None:
    path = tmp_path_factory.mktemp("records") / "x.json"
    write_record(path, example)
    assert read_record(path, Example, "mend it") == example
    assert json.loads(path.read_text("utf-8"))["schema"] == 3


def test_a_record_is_readable_whatever_the_names_of_files(tmp_path: Path) -> None:
    example = Example("Vögel/l'été 鳥.jpg", 1, Inner((0.1,)), {"not UTF-8: \udce9": [True, None]})
    write_record(tmp_path / "x.json", example)
    assert read_record(tmp_path / "x.json", Example, "mend it") == example
    assert example.name in (tmp_path / "x.json").read_text("utf-8")


def test_a_record_holds_no_number_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_record(tmp_path / "x.json", Example("a", 1, Inner((float("nan"),))))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ('{"name": "a", "count": 1}', "schema"),
        ('{"schema": 2, "name": "a", "count": 1}', "schema 2"),
        ('{"schema": 3, "count": 1}', "`name`"),
        ('{"schema": 3, "name": "a", "count": 0}', "field count"),
        ('{"schema": 3, "name": "a", "count": 1, "inner": {"numbers": [1, "b"]}}', "field inner.numbers"),
        ('{"schema": 3, "name": "\xff"}', "damaged"),
        ('{"schema": 3, "name": }', "damaged"),
    ],
)
def test_a_damaged_or_other_record_is_refused_with_file_field_and_remedy(tmp_path: Path, text: str, fact: str) -> None:
    path = tmp_path / "x.json"
    publish_sealed(path, f'{text[:-1]}, "checksum": "{UNSEALED}"}}'.encode("latin-1"))
    with pytest.raises(TrustcacheError) as caught:
        read_record(path, Example, "run trustcache again")
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert fact in said
    assert said.endswith("; run trustcache again")
    assert "\n" not in said


def test_a_file_that_is_not_there_is_no_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "x.json", Example, "")


def test_numbers_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_record(tmp_path / "x.json", Example("a", 1, Inner((float("nan"),))))
    assert not list(tmp_path.iterdir())


def test_a_fingerprint_is_the_same_before_and_after_the_file() -> None:
    example = Example("a", 1, Inner((0, 0.5)), {"size": (8, 8), "rate": 0.1})  # type: ignore[arg-type]
    read = as_read(example)
    assert read == Example("a", 1, Inner((0.0, 0.5)), {"size": [8, 8], "rate": 0.1})
    assert fingerprint(as_read(read)) == fingerprint(read)
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})
