"""Several processes score one workspace: each pair of run and data set once, the same bytes, whoever dies."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from tests.faults.forks import Forks
from tests.ranks import together
from trustcache.cache.workspace import Workspace

EVALUATE = ("evaluate", "--workers", 0, "--device", "cpu")


def scores(workspace: Workspace) -> dict[str, bytes]:
    found = [*workspace.runs.rglob("scores/**/*.*"), *(workspace.root / "scores").rglob("*.*")]
    return {str(path.relative_to(workspace.root)): path.read_bytes() for path in found}


def test_each_score_is_made_once_and_all_are_those_of_one_process(with_runs: Workspace, forks: Forks) -> None:
    folder = with_runs.root.parent
    for path in [*with_runs.runs.glob("*/scores"), with_runs.root / "scores"]:
        shutil.rmtree(path)
    single = Workspace(shutil.copytree(with_runs.root, folder / "single" / with_runs.root.name))
    done = forks.command(folder / "single", *EVALUATE)
    assert done.code == 0, done.text
    outcomes = together(forks, folder, EVALUATE, count=3, meet=False, function="tests.ranks:noting_scorer")
    assert [one.code for one in outcomes] in ([0, 0, 9], [0, 0, 0]), outcomes[0].text  # the third may find nothing left
    assert outcomes[0].out == done.out
    assert outcomes[1].out == ""
    assert scores(with_runs) == scores(single)
    made = Counter(line.split()[1] for line in Path(folder, "made").read_text().splitlines())
    assert len(made) == 2
    assert set(made.values()) == {1}
