"""The documents: every command they show parses, the tour runs as written, and every option is explained."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import app, loaded
from cli.program import COMMANDS

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAM = {name: loaded(name) for name in COMMANDS}


def fenced(path: Path, languages: str) -> list[str]:
    """The `trustcache` lines of a document's code blocks in these languages."""
    blocks = re.findall(rf"^```(?:{languages})\n(.*?)^```", path.read_text(encoding="utf-8"), re.S | re.M)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.startswith("trustcache ")]


def commands(group: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    for name, found in group.items():
        if hasattr(found, "commands"):
            yield from commands(found.commands, (*path, name))
        else:
            yield (*path, name), found


SHOWN = sorted({line for path in DOCUMENTS for line in fenced(path, "sh|tour")})


@pytest.mark.parametrize("line", SHOWN)
def test_a_command_in_the_documents_parses(line: str) -> None:
    words = shlex.split(line)[1:]
    found = PROGRAM[words.pop(0)]
    while hasattr(found, "commands"):
        found = found.commands[words.pop(0)]
    assert found.make_context("trustcache", words).params  # raises on an unknown option or a wrong value


@pytest.mark.slow
def test_the_tour_in_the_readme_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    from trustcache.protocols import LEAST_STEPS

    monkeypatch.setitem(LEAST_STEPS, "sgd", 10)  # fine-tuning takes most of the tour, and what it learns is not asked
    printed = ""
    for line in fenced(ROOT / "README.md", "tour"):
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
        printed += result.output
    assert "digits-c/contrast/4" in printed
    assert "index.html" in printed
    assert "note:" not in printed  # no gaps left
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S | re.M)
    for block in blocks:
        exec(block, {})
    said = capsys.readouterr().out
    assert "(100, 10)" in said  # a cache's slice
    assert len(re.findall(r"^\d 0\.\d+ \S+ (?:True|False)$", said, re.M)) == 100  # answers for images


@pytest.mark.parametrize(("path", "found"), list(commands(PROGRAM)), ids=lambda value: str(value)[:40])
def test_every_command_and_option_is_explained(path: tuple[str, ...], found: object) -> None:
    assert f"trustcache {path[0]}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert found.help  # type: ignore[attr-defined]
    assert not [option.name for option in found.params if not option.help]  # type: ignore[attr-defined]
    names = {option.name for option in found.params}  # type: ignore[attr-defined]
    assert {"workspace", "data_root", "debug"} <= names


def test_the_test_command_of_the_readme_is_what_ci_runs() -> None:
    readme, ci = (ROOT / "README.md").read_text(encoding="utf-8"), (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "pip install '.[dev]' && .venv/bin/python -m pytest\n" in readme
    assert "'.[dev]'" in ci
    assert ci.rstrip().endswith("-m pytest")
