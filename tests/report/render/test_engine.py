"""The engine of the charts under a limit of addresses (`ulimit -v`): used, or refused in words, but never an abort."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.refusals import tells
from trustcache.cache.workspace import Workspace

pytest.importorskip("resource")

ROOT = Path(__file__).parents[3]
DRAW = """
from trustcache.errors import TrustcacheError
from trustcache.report.render.engine import engine
try:
    for _ in range(2):
        print(engine().vegalite_to_svg({"data": {"values": [{"a": 1}]}, "mark": "point"}))
except TrustcacheError as error:
    print(error)
"""


def limited(gib: int, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of so many GiB of addresses."""
    limit = f"import resource\nresource.setrlimit(resource.RLIMIT_AS, ({gib << 30}, resource.RLIM_INFINITY))\n"
    command = [sys.executable, "-c", limit + code, *words]
    return subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("gib", "starts"), [(16, "the charts"), (64, "the charts"), (65, ""), (67, ""), (80, "<svg")])
def test_no_limit_ends_the_process(gib: int, starts: str) -> None:
    done = limited(gib, DRAW)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(starts or ("the charts", "<svg"))
    assert ("<svg" in done.stdout) != ("the charts" in done.stdout)


def test_a_report_without_room_for_the_charts_is_one_sentence_and_writes_nothing(with_runs: Workspace) -> None:
    before = sorted(with_runs.root.rglob("*"))
    code = "from cli import app; app(prog_name='trustcache')"
    done = limited(50, code, "report", "--workspace", str(with_runs.root))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert tells(done.stderr, "error: ", "ulimit -v", "50 GiB", "ulimit -v unlimited")
    assert sorted(with_runs.root.rglob("*")) == before
