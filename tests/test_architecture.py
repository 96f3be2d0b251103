"""The tree keeps the order that the README draws."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "trustcache"


def layers() -> list[str]:
    """Module names in the order of the README's drawing."""
    drawing = re.search(r"```layers\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert drawing
    return [
        word.removesuffix(".py").rstrip("/")
        for line in drawing[1].splitlines()
        if line.startswith("  ")
        for word in line[2:].split("  ")
        if re.fullmatch(r"\w+(\.py|/)", word.strip())
    ]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("trustcache."):
            yield node.module.split(".")[1]


MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_imports_only_what_stands_above_it(module: Path) -> None:
    order = layers()
    own = module.parts[0].removesuffix(".py")
    assert own in order, f"{module} is missing from the README's drawing"
    allowed = order[: order.index(own) + 1] if len(module.parts) > 1 else order[: order.index(own)]
    assert set(imported(PACKAGE / module)) <= set(allowed)


def test_the_drawing_names_only_what_exists() -> None:
    missing = [name for name in layers() if not (PACKAGE / f"{name}.py").is_file() and not (PACKAGE / name).is_dir()]
    assert not missing


def test_only_the_command_line_knows_typer() -> None:
    assert not [path for path in PACKAGE.rglob("*.py") if re.search(r"^\s*(import|from) typer", path.read_text(), re.M)]
