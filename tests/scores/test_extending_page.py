"""The scores of docs/extending.md: the file it shows is written, and its commands run as they stand there."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from trustcache.cache.columns import OUTPUTS
from trustcache.cache.workspace import Workspace

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## A score of your own") :]


def block(language: str) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTION, re.S | re.M)[0]


def test_the_example_runs_as_written(
    workspace: Workspace, run_cli: Callable[..., Result], in_tmp_path: Path, digit_files: Path
) -> None:
    file = block("python")
    (in_tmp_path / file.split()[1]).write_text(file, encoding="utf-8")
    (in_tmp_path / "images").symlink_to(digit_files)
    for line in block("sh").splitlines():
        done = run_cli(*shlex.split(line)[1:])
        assert done.exit_code == 0, f"{line}\n{done.stderr}"
    assert len(done.stdout.splitlines()) == len(list(digit_files.iterdir()))
    records = {r["method"]: r for r in json.loads((workspace.report / "results.json").read_text())}
    for name in ("my_scores:gap_share", "my_scores:ClassMean"):
        assert records[name]["metrics"]["auc"] > 0.7
        assert name in (workspace.report / "report.md").read_text()


def test_the_page_names_every_column_with_its_option() -> None:
    lines = [line for line in SECTION.splitlines() if line.startswith("| `")]
    for column, spec in OUTPUTS.items():
        words = spec.option.removesuffix(" N").split()
        assert any(f"`{column}`" in line and all(word in line for word in words) for line in lines), column
