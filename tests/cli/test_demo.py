"""The end of the demo: ten lines, and the page in the browser where asked. What it trains is run by the tour."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import app
from trustcache.cache.workspace import Workspace


@pytest.mark.parametrize("words", [[], ["--open"]])
def test_it_ends_in_the_answer_the_page_and_three_commands(
    runs_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    workspace, opened = Workspace(tmp_path / "workspace"), list[str]()
    shutil.copytree(runs_workspace.root, workspace.root)
    monkeypatch.setattr("trustcache.paper.demo.run_demo", lambda *given: None)
    monkeypatch.setattr("webbrowser.open", opened.append)
    done = CliRunner().invoke(app, ["demo", *words, "--workspace", str(workspace.root)])
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stdout.splitlines() if line]
    page = workspace.report / "index.html"
    assert len(lines) == 9  # at most ten: five of the answer, the page, three commands
    assert lines[1].startswith("Accept")
    assert str(page) in lines[5]
    assert all(line.strip().startswith("trustcache ") for line in lines[6:])
    assert page.is_file()
    assert opened == ([page.as_uri()] if words else [])
