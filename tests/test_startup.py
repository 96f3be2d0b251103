"""Commands that compute nothing on images start without the seconds that torch, timm and scikit-learn take."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cli.program import COMMANDS
from trustcache.cache.workspace import Workspace

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "timm", "torchvision", "sklearn")
PROGRAM = """
import shlex, sys
from cli import app
from trustcache.report.render import drawing
drawing._draw = lambda folder, name, chart: None  # most of the time of a report
for line in sys.argv[1:]:
    try:
        app(shlex.split(line), prog_name="trustcache")
    except SystemExit as end:
        print("ended:", line, "|", end.code, *(name for name in {heavy} if name in sys.modules), file=sys.stderr)
"""


def ends(folder: Path, lines: Sequence[str]) -> dict[str, str]:
    """Run commands one after the other in one process.

    Returns the exit code of each and the heavy packages that are imported by its end.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(heavy=HEAVY), *lines],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^ended: (.*) \| (.*)$", done.stderr, re.M))


def test_help_imports_no_heavy_package(tmp_path: Path) -> None:
    lines = ["--help", *(f"{name} --help" for name in COMMANDS)]
    assert ends(tmp_path, lines) == dict.fromkeys(lines, "0")


def test_a_command_on_no_images_imports_no_heavy_package(runs_workspace: Workspace, tmp_path: Path) -> None:
    lines = [
        "data list",
        "data show digits-test",
        "cache list",
        "cache show digits-net/digits-test",
        "cache verify digits-net/digits-test",
        "verify",
        "runs list",
        "runs show digits-net-ce-frozen --json",
        "train --loss ss --print-config",
        "calibrate --plan --max-risk 0.1",
        "calibrate digits-net-ce-frozen --data digits-test --max-risk 0.3 --delta 0.1",
        "sets --data digits-test --part first-half",
        "report",
        "bound --samples 1000 --numbers 10",
        "presets",
        "presets strong",
        "runs rm digits-net-ce-frozen --yes",
        "cache rm digits-net/digits-test --yes",
    ]
    shutil.copytree(runs_workspace.root, tmp_path / "trustcache-workspace")
    assert ends(tmp_path, lines) == dict.fromkeys(lines, "0")
