"""Commands that compute nothing on images start without the seconds that torch, timm and scikit-learn take."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.program import COMMANDS
from trustcache.cache.workspace import Workspace

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "timm", "torchvision", "sklearn")
PROGRAM = """
import sys
from cli import app
try:
    app(sys.argv[1:], prog_name="trustcache")
finally:
    print("imported:", *(name for name in {heavy} if name in sys.modules), file=sys.stderr)
"""


def imported(folder: Path, *args: str) -> list[str]:
    """The heavy packages that a command has imported by its end."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(heavy=HEAVY), *args],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.rpartition("imported:")[2].split()


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_imports_no_heavy_package(tmp_path: Path, name: str) -> None:
    assert imported(tmp_path, *filter(None, [name]), "--help") == []


@pytest.mark.parametrize(
    "line",
    [
        "data list",
        "data show digits-test",
        "cache list",
        "cache show digits-net/digits-test",
        "cache verify digits-net/digits-test",
        "verify",
        "runs list",
        "runs show digits-net-ce-frozen --json",
        "runs rm digits-net-ce-frozen --yes",
        "cache rm digits-net/digits-test --yes",
        "train --loss ss --print-config",
        "calibrate --plan --max-risk 0.1",
        "calibrate digits-net-ce-frozen --data digits-test --max-risk 0.3 --delta 0.1",
        "report",
        "bound --samples 1000 --numbers 10",
        "presets",
        "presets strong",
    ],
)
def test_a_command_imports_no_heavy_package(runs_workspace: Workspace, tmp_path: Path, line: str) -> None:
    shutil.copytree(runs_workspace.root, tmp_path / "trustcache-workspace")
    assert imported(tmp_path, *line.split()) == []
