"""Recipes run whole: what they leave in the workspace, what is not done again, and what stops them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from trustcache import protocols
from trustcache.cache.workspace import Workspace
from trustcache.evaluate import scoring as evaluate
from trustcache.oracles.runs import finished_runs

RunCli = Callable[..., Result]
WORKSPACE = Workspace(Path("trustcache-workspace"))


@pytest.fixture
def reproduce(run_cli: RunCli, classifier_file: Path, monkeypatch: pytest.MonkeyPatch) -> RunCli:
    """`reproduce("table1")` on a part of the digits, by two models: one fitted, and one with other preprocessing.

    Heads are trained briefly: what they learn is no matter here.
    """
    monkeypatch.setitem(protocols.LEAST_STEPS, "adam", 20)
    fitted = f"cifar-resnet8 --weights {classifier_file} --preprocess input_size=8 --batch-size 100"

    def run(*names: object) -> Result:
        models = ("--classifier", f"{fitted} --as net", "--classifier", f"{fitted} --as dark --preprocess mean=1,1,1")
        quick = ("--frozen", "--seed", 0, "--subset", 200, "--workers", 0, "--device", "cpu")
        return run_cli("reproduce", *names, "--data", "digits", *models, *quick)

    return run


def steps(result: Result) -> tuple[int, int]:
    """How many steps were done already, and how many were carried out."""
    said = [line.partition("] ")[2] for line in result.stderr.splitlines() if line.startswith("[")]
    done = sum(line.startswith("done already: trustcache ") for line in said)
    return done, len(said) - done


def test_table1_is_made_whole_and_then_passed_over(reproduce: RunCli, run_cli: RunCli) -> None:
    done = reproduce("table1")
    assert done.exit_code == 0, done.stderr
    assert steps(done) == (0, 7)
    assert "trustcache-workspace/report/paper.html#paper-table1\n" in done.stderr
    assert done.stdout.endswith(run_cli("report", "--only", "table1").stdout)
    records = json.loads((WORKSPACE.report / "results.json").read_text())
    assert {(r["oracle"], r["classifier"], r["method"]) for r in records if r["oracle"]} == {
        (f"{oracle}-released", f"{judged}-released", loss)
        for oracle in ("net", "dark")
        for judged in ("net", "dark")
        for loss in ("ce", "focal", "tcp", "ss")
    }
    assert {(r["n"], r["protocol"]) for r in records if r["oracle"]} == {(200, "released")}
    written = [path.stat().st_mtime_ns for path in WORKSPACE.runs.glob("*/*")]
    assert steps(reproduce("table1", "table-g")) == (6, 1)  # the report is always written
    assert [path.stat().st_mtime_ns for path in WORKSPACE.runs.glob("*/*")] == written


def test_a_step_is_done_again_where_its_outcome_is_gone_or_there_is_more_to_score(reproduce: RunCli) -> None:
    assert steps(reproduce("figure3")) == (0, 3)
    shutil.rmtree(finished_runs(WORKSPACE)[0].folder)
    (WORKSPACE.cache_folder("net-released", "digits-test") / "00000.json").unlink()
    assert steps(reproduce("figure3")) == (0, 3)
    done = reproduce("table3")
    assert done.exit_code == 0, done.stderr
    assert steps(done) == (1, 5)  # of figure3's, only the clean images are as they were
    for data in ("digits-test", "digits-fourier", "digits-pgd", "digits-c/defocus_blur/5"):
        index = WORKSPACE.find_cache("test", data=data)
        assert all(run.scores(index) is not None for run in finished_runs(WORKSPACE))


def test_after_a_failure_or_an_interruption_the_same_command_goes_on_there(
    reproduce: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped_by(error: BaseException) -> Result:
        def stop(*args: object, **more: object) -> int:
            raise error

        with monkeypatch.context() as outside:
            outside.setattr(evaluate, "evaluate", stop)
            return reproduce("figure3")

    failed = stopped_by(OSError(28, "No space left on device", "scores.h5"))
    assert failed.exit_code == 1
    assert "error: scores.h5: No space left on device" in failed.stderr
    assert "error: step 2 of 3 failed: trustcache train --classifier net-released" in failed.stderr
    interrupted = stopped_by(KeyboardInterrupt())
    assert interrupted.exit_code == 130
    assert interrupted.stderr.count("interrupted") == 1
    assert steps(interrupted) == (1, 1)
    assert not WORKSPACE.report.exists()
    assert steps(reproduce("figure3")) == (1, 2)


def test_a_request_that_a_step_refuses_is_refused(run_cli: RunCli) -> None:
    own = ("--data", "digits", "--classifier", "cifar-resnet8 --weights none.safetensors")
    failed = run_cli("reproduce", "figure3", *own)
    assert failed.exit_code == 2
    assert "none.safetensors" in failed.stderr
    assert "step 1 of 3 failed" in failed.stderr
