"""The tree keeps its order: a folder imports only those above it, and nothing goes round in circles."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "trustcache"
ORDER = (
    "errors", "registry", "models", "data", "cache", "losses", "metrics", "protocols",
    "extract", "command_lines", "oracles", "scores", "evaluate", "deploy", "report", "paper",
)  # fmt: skip
"""The folders and modules of trustcache from the ground up; each imports only what stands before it."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# `python -m trustcache` starts the command line, which stands above the whole package.
MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__main__.py"}


def imports(module: str) -> Iterator[str]:
    """The modules of trustcache that one imports, wherever in its text."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "trustcache":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "trustcache")


def folder(module: str) -> str:
    """The first name below trustcache; "" for trustcache itself."""
    return [*module.split("."), ""][1]


@pytest.mark.parametrize("module", [name for name in MODULES if name != "trustcache"])
def test_a_module_imports_only_what_stands_above_it(module: str) -> None:
    own = ORDER.index(folder(module))
    assert not {name for name in imports(module) if folder(name) not in ORDER[: own + 1]}


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {module: set(imports(module)) - {module} for module in MODULES}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError naming them
    assert set(order) == set(MODULES)


def test_the_order_names_every_folder_once() -> None:
    assert sorted(ORDER) == sorted({folder(module) for module in MODULES} - {""})


def test_the_top_of_the_package_stays_small() -> None:
    prescribed = ("__pycache__", "__init__.py", "__main__.py", "py.typed")  # by Python
    names = [path.name for path in PACKAGE.iterdir() if path.name not in prescribed]
    assert len(names) < 20, sorted(names)


def test_only_the_command_line_knows_typer() -> None:
    assert not [path for path in PACKAGE.rglob("*.py") if re.search(r"^\s*(import|from) typer", path.read_text(), re.M)]


def test_the_documents_draw_the_tree_in_its_order() -> None:
    drawing = re.search(r"```layers\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), re.S)
    assert drawing
    named = [line.split()[0].removesuffix(".py").rstrip("/") for line in drawing[1].splitlines() if line[:2] == "  "]
    assert tuple(named) == ORDER


def test_benchmarks_replace_functions_where_these_are() -> None:
    scripts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    replaced = re.findall(r'mock\.patch\("([\w.]+)"', scripts)
    assert replaced
    for name in replaced:  # mypy sees only the text
        module, _, function = name.rpartition(".")
        assert re.search(rf"\b{function}\b", MODULES[module].read_text(encoding="utf-8")), name
