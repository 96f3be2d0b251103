"""Promises of the layouts: each is documented, and one defined outside the package is as good as a built-in one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import Result

from trustcache.cache import open_cache
from trustcache.data.layouts import KEY_TYPES, LAYOUTS, key_type
from trustcache.errors import UsageError
from trustcache.registry.permission import allow_code

Cli = Callable[..., Result]

MODULE = '''
from pathlib import Path

from trustcache.data.archives import open_tree
from trustcache.data.samples import FileSamples


def listed(data_root: Path, classes: tuple[str, ...] | None, table: str, folder: str = ".") -> FileSamples:
    """Images of one folder, whose labels a table lists: a name and a class a line."""
    rows = [line.split() for line in (data_root / table).read_text().splitlines()]
    classes = classes or tuple(sorted({label for _, label in rows}))
    labels = [classes.index(label) for _, label in rows]
    return FileSamples(open_tree(data_root / folder), [name for name, _ in rows], labels, classes)


def wrong(data_root, classes, ratio: float = 1.0):
    raise AssertionError
'''
MANIFEST = """
name = "pets"
role = "test"

[[files]]
layout = "LAYOUT"
table = "pets.txt"
"""


@pytest.fixture
def pets(in_tmp_path: Path) -> str:
    """The name of a module with a layout in the working directory, and a data set in it under `data/`."""
    name = f"layouts_of_{in_tmp_path.name}".replace("-", "_")
    (in_tmp_path / f"{name}.py").write_text(MODULE, encoding="utf-8")
    (in_tmp_path / "data").mkdir()
    rows = [(f"{number}.png", ("cat", "dog")[number % 2]) for number in range(6)]
    (in_tmp_path / "data" / "pets.txt").write_text("\n".join(" ".join(row) for row in rows), encoding="utf-8")
    for number, (file, _) in enumerate(rows):
        Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(in_tmp_path / "data" / file)
    sys.modules.pop(name, None)
    return name


def manifest(folder: Path, layout: str, more: str = "") -> Path:
    (folder / "pets.toml").write_text(MANIFEST.replace("LAYOUT", layout) + more, encoding="utf-8")
    return folder / "pets.toml"


def test_keys_of_layouts_have_known_types() -> None:
    for layout in map(LAYOUTS.__getitem__, LAYOUTS.built_in):
        assert {key_type(parameter) for parameter in layout.keys.values()} <= set(KEY_TYPES)


def test_a_function_of_the_user_s_is_a_layout(pets: str, run_cli: Cli, own_model: Callable[..., str]) -> None:
    path = manifest(Path.cwd(), f"{pets}:listed")
    refused = run_cli("data", "check", path)
    assert refused.exit_code == 2
    assert all(part in refused.stderr for part in ("pets.toml", "files[0]", f"--allow-code {pets}:listed"))
    allowed = ("--allow-code", f"{pets}:listed")
    checked = run_cli("data", "check", path, *allowed)
    assert checked.exit_code == 0
    assert "pets: 6 images, 2 of 2 classes" in checked.stdout
    assert str(Path("data", "pets.txt")) in run_cli("data", "show", path, *allowed).stdout
    model = own_model()
    extract = ("extract", "--classifier", model, "--model-arg", "classes=2", "--data", path, "--workers", 0)
    assert run_cli(*extract, *allowed).exit_code == 0
    assert run_cli(*extract).exit_code == 0, "it is remembered"
    (index,) = Path("trustcache-workspace/cache").rglob("index.json")
    view = open_cache(index.parent)
    assert view.labels.tolist() == [0, 1, 0, 1, 0, 1]
    sys.modules.pop(pets)
    (Path.cwd() / f"{pets}.py").unlink()
    assert "pets" in run_cli("cache", "list").stdout, "what is cached is read without the layout's module"


def test_a_layout_of_an_installed_package_has_a_name(
    pets: str, run_cli: Cli, install_entry_point: Callable[..., None]
) -> None:
    assert "listed" not in LAYOUTS
    install_entry_point(LAYOUTS, "listed", f"{pets}:listed")
    assert run_cli("data", "check", manifest(Path.cwd(), "listed")).exit_code == 0
    assert "listed" in run_cli("data", "check", manifest(Path.cwd(), "list")).stderr, "it is among the known ones"


def test_what_keeps_a_layout_from_serving_is_named(pets: str, run_cli: Cli) -> None:
    allowed = [word for name in ("listings", "listed", "wrong") for word in ("--allow-code", f"{pets}:{name}")]
    missing = run_cli("data", "check", manifest(Path.cwd(), f"{pets}:listings"), *allowed)
    assert missing.exit_code == 2
    assert missing.stderr.startswith("error: ")
    assert all(part in missing.stderr for part in ("pets.toml", "files[0]", f"{pets}:listings", "AttributeError"))
    unknown = run_cli("data", "check", manifest(Path.cwd(), f"{pets}:listed", "list = 1\n"), *allowed)
    assert all(part in unknown.stderr for part in ("files[0]", "'list'", "layout, table, folder"))
    untyped = run_cli("data", "check", manifest(Path.cwd(), f"{pets}:wrong"), *allowed)
    assert all(part in untyped.stderr for part in (f"{pets}:wrong", "'float'", "str, int, tuple[str, ...]"))
    allow_code("json:decoder")
    with pytest.raises(UsageError, match="json:decoder"):
        LAYOUTS.find("json:decoder")
