"""The card of a run: what it learnt from and is worth, sealed, and no part of the run's identity."""

from __future__ import annotations

import json

import pytest

from tests.refusals import tells
from tests.running import call
from trustcache.cache.workspace import Workspace
from trustcache.oracles.runs import CARD, finished_runs
from trustcache.report.verify import verify


def card(workspace: Workspace, run: str) -> str:
    return (workspace.run_folder(run) / CARD).read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_each_run_has_one_with_its_data_figures_and_the_way_to_load_it(with_runs: Workspace, command: str) -> None:
    before = [run.name for run in finished_runs(with_runs)]
    call(with_runs, command)
    runs = finished_runs(with_runs)
    assert [run.name for run in runs] == before
    call(with_runs, "report")
    rows = {row["run"]: row for row in json.loads((with_runs.report / "results.json").read_text())}
    for run in runs:
        text = card(with_runs, run.name)
        assert run.config.data in text
        assert f"{100 * rows[run.name]['metrics']['auc']:.2f} \\[" in text
        assert f"trustcache predict {run.name}" in text
        assert "TrustedClassifier.load" in text
        assert str(with_runs.root) not in text


def test_verify_checks_it_and_a_report_makes_it_anew(with_runs: Workspace) -> None:
    call(with_runs, "report")
    run = finished_runs(with_runs)[0]
    path = run.folder / CARD
    assert (verify(with_runs).faults, verify(with_runs).unknown) == ([], [])
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"oracle", b"oracIe", 1))
    (fault,) = verify(with_runs).faults
    assert str(path) in fault
    assert "trustcache report" in fault
    call(with_runs, "report")
    assert path.read_bytes() == whole


def test_it_tells_the_threshold_once_there_is_one_and_is_only_written_where_it_changed(with_runs: Workspace) -> None:
    call(with_runs, "report")
    first, second = finished_runs(with_runs)[:2]
    written = (second.folder / CARD).stat().st_mtime_ns
    call(with_runs, "calibrate", first.name, "--data", "digits-test", "--coverage", "0.7")
    at_once = card(with_runs, first.name)
    call(with_runs, "report")
    assert at_once == card(with_runs, first.name)
    threshold = json.loads((first.folder / "threshold.json").read_text())["point"]["threshold"]
    assert str(threshold) in card(with_runs, first.name)
    assert (second.folder / CARD).stat().st_mtime_ns == written


def test_it_tells_what_the_threshold_does_elsewhere_and_by_group(with_runs: Workspace) -> None:
    name = finished_runs(with_runs)[0].name
    words = ("calibrate", name, "--data", "digits-test", "--max-risk", "0.2", "--delta", "0.2", "--part", "first-half")
    call(with_runs, *words, "--by", "class", "--check-on", "digits-test")
    call(with_runs, "report")
    threshold = json.loads((with_runs.runs / name / "threshold.json").read_text())
    check, group = threshold["checks"][0], next(one for one in threshold["groups"] if one["point"])
    facts = ("by class", f"- {group['name']}: {group['point']['threshold']}", "| digits-test | 324 |", "1.00 % of all")
    assert tells(card(with_runs, name), *facts[:3], f"{100 * check['accuracy']:.2f}", facts[3])
