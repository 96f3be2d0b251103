"""Lists of files in one text mean what a shell and webdataset make of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from trustcache.data.path_patterns import base_name, is_pattern, matches
from trustcache.errors import UsageError


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("s-{0..2}.tar", ["s-0.tar", "s-1.tar", "s-2.tar"]),
        ("s-{008..010}.tar", ["s-008.tar", "s-009.tar", "s-010.tar"]),
        ("s-{8..10}.tar", ["s-8.tar", "s-9.tar", "s-10.tar"]),
        ("s-{2..1}.tar", ["s-2.tar", "s-1.tar"]),
        ("{a,b}/{1..2}.tar", ["a/1.tar", "a/2.tar", "b/1.tar", "b/2.tar"]),
        ("{train,}x.tar", ["trainx.tar", "x.tar"]),
        ("plain.tar", ["plain.tar"]),
        ("{one}.tar", ["{one}.tar"]),
    ],
)
def test_braces_name_each_file_in_order(pattern: str, files: list[str]) -> None:
    assert [str(path) for path in matches(pattern)] == files
    assert is_pattern(pattern) is (files != [pattern])


def test_a_star_finds_what_is_there_in_the_order_of_the_names(tmp_path: Path) -> None:
    for name in ("b-1.tar", "a-1.tar", "a-0.tar", "c.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in matches(f"{tmp_path}/*.tar")] == ["a-0.tar", "a-1.tar", "b-1.tar"]
    assert [path.name for path in matches(f"{tmp_path}/{{b,a}}-*.tar")] == ["b-1.tar", "a-0.tar", "a-1.tar"]


def test_wild_cards_are_those_of_a_shell_but_brackets_in_names_of_files_stay(tmp_path: Path) -> None:
    for name in ("s-0.tar", "s-1.tar", "s-2.tar", "a[1].tar"):
        (tmp_path / name).touch()
    for end in ("s-[0-1].tar", "{s,t}-[01].tar"):
        assert [path.name for path in matches(f"{tmp_path}/{end}")] == ["s-0.tar", "s-1.tar"]
    assert [path.name for path in matches(f"{tmp_path}/s-?.tar")] == ["s-0.tar", "s-1.tar", "s-2.tar"]
    assert [path.name for path in matches(f"{tmp_path}/a[1].*")] == ["a[1].tar"]
    assert [is_pattern(f"{tmp_path}/{name}") for name in ("a[1].tar", "s-[0-1].tar", "s-?.tar")] == [False, True, True]


@pytest.mark.parametrize("pattern", ["{0..99999999}.tar", "{1..2000}{1..2000}.tar"])
def test_a_list_without_end_is_refused_at_once(pattern: str) -> None:
    with pytest.raises(UsageError) as caught:
        matches(pattern)
    assert pattern in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "name"), [("a/train-{00..11}.tar", "train"), ("a/*.tar", ""), ("a/x.tar", "x.tar"), ("{a,b}-1.tar", "")]
)
def test_a_pattern_is_named_by_what_its_files_share(pattern: str, name: str) -> None:
    assert base_name(pattern) == name
