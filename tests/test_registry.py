"""Registries, settings, choices and options."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trustcache.errors import UsageError
from trustcache.registry import Registry, Setting, key_values, option, option_name
from trustcache.registry.permission import allow_code, import_object, is_import_path


def registry() -> Registry[str]:
    return Registry("trustcache.tests", "--pet", {"cat": "built in"}, lambda name, found: f"{name} -> {found}")


def test_built_in_entries_come_first_and_are_never_adapted() -> None:
    assert list(registry()) == ["cat"]
    assert registry().find("cat") == "built in"
    assert registry().built_in == ("cat",)


def test_an_installed_package_adds_an_entry_but_replaces_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "pets-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pets\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[trustcache.tests]\ncat = math:e\ndog = math:pi\nlost = math:nothing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    pets = registry()
    assert list(pets) == ["cat", "dog", "lost"]
    assert pets.find("cat") == "built in"
    assert pets.find("dog") == f"dog -> {math.pi}"
    with pytest.raises(UsageError) as caught:
        pets.find("lost")
    assert all(fact in str(caught.value) for fact in ("--pet lost", "math:nothing", "AttributeError"))


def test_a_users_function_is_found_by_its_path_and_not_listed() -> None:
    pets = registry()
    with pytest.raises(UsageError, match=r"--pet math:tau: .*--allow-code math:tau"):
        pets.find("math:tau")
    allow_code("math:tau")
    assert pets.find("math:tau") == f"math:tau -> {math.tau}"
    assert list(pets) == ["cat"]


@pytest.mark.parametrize("name", ["cow", "math", "math:", ":tau", "a b:c", "math:tau:e"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match=r"--pet .* cat"):
        registry().find(name)


@pytest.mark.parametrize("name", ["no_such_module:f", "math:no_such_name"])
def test_a_path_that_leads_nowhere_is_refused_by_its_option(name: str) -> None:
    assert is_import_path(name)
    allow_code(name)
    with pytest.raises(UsageError, match=f"--pet {name}: .*Error"):
        import_object(name, "--pet")


@pytest.mark.parametrize("value", [1, 1.0, "1", "1.0"])
def test_a_setting_gives_numbers_of_its_defaults_type(value: Any) -> None:
    (found,) = Setting(0.5, "how much").each("--much", [value])
    assert (found, type(found)) == (1.0, float)


@pytest.mark.parametrize("value", [-1, 11, 5, True, "x", "nan", math.nan, math.inf, None, [1]])
def test_a_number_out_of_a_settings_range_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match=r"^--much"):
        Setting(2.0, "how much", highest=10.0, excluded=5.0).each("--much", [value])


def test_a_manifests_text_is_no_number() -> None:
    with pytest.raises(ValueError, match=r"^'much'.*not '2.0'"):
        Setting(2.0, "how much").checked("'much'", "2.0")


@pytest.mark.parametrize("value", [1.5, "1.5"])
def test_a_whole_setting_takes_whole_numbers_only(value: Any) -> None:
    with pytest.raises(UsageError, match=r"^--many"):
        Setting(2, "how many").each("--many", [value])


def test_repeated_values_count_once() -> None:
    assert Setting(0.0, "how much").each("--much", ["1", 1, 2.0, "2"]) == [1.0, 2.0]


def test_a_choice_takes_its_names_only() -> None:
    choice = Setting("a", "which", names=lambda: ("a", "b"))
    assert choice.each("--which", ["b", "a", "b"]) == ["b", "a"]
    with pytest.raises(UsageError, match=r"--which c: .*a, b"):
        choice.each("--which", ["c"])


def test_key_values_are_literals_where_they_look_like_one() -> None:
    assert key_values("--arg", ["a=1", "b=(2, 3)", "c=x", "d=k=v"]) == {"a": 1, "b": (2, 3), "c": "x", "d": "k=v"}
    for wrong in ("a", "=1"):
        with pytest.raises(UsageError, match=f"--arg {wrong}: .*KEY=VALUE"):
            key_values("--arg", [wrong])


@dataclass(frozen=True)
class Options:
    batch_size: int = option(2, "Samples.")
    members: int = option(1, "Networks.", name="--ensemble")


def test_a_field_is_called_as_its_option() -> None:
    assert option_name("batch_size", Options) == option_name("batch_size") == "--batch-size"
    assert option_name("members", Options) == "--ensemble"
