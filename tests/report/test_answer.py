"""The answer: chosen by what training held out, its figures those of trustcache.metrics, its lines five."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import Result

from tests.refusals import tells
from tests.running import call
from tests.sealed import edit_record
from trustcache.cache.index import read_index
from trustcache.cache.records import write_lines
from trustcache.cache.workspace import Workspace
from trustcache.data.splits import HALVES, half_rows, other_half
from trustcache.deploy.scorers import find_scorer
from trustcache.metrics.selective import EVERYTHING, at_target, working_point
from trustcache.oracles.runs import CARD, LOG, finished_runs
from trustcache.report.answer import Answer
from trustcache.report.build import answer, report
from trustcache.report.choice import Candidate, choose
from trustcache.report.collect import collect
from trustcache.report.comparison import compare_methods
from trustcache.report.intervals import Estimate
from trustcache.report.samples import ScoreReader

RunCli = Callable[..., Result]


def hold_out(workspace: Workspace, aurc: float, method: str = "ce") -> None:
    """Rewrite what the runs of a loss held out, as if they had been so good there."""
    for run in finished_runs(workspace):
        if run.config.loss.name == method:
            write_lines(run.folder / LOG, [{"epoch": 1, "loss": 0.5, "validation": {"auc": 1 - aurc, "aurc": aurc}}])


# --- the choice ------------------------------------------------------------------------------------------------


@pytest.fixture
def candidate(record) -> Callable[..., Candidate]:
    def make(
        method: str, aurc: float = np.inf, mcp: float = np.inf, error: float = 0, run: str | None = "run"
    ) -> Candidate:
        (table,) = compare_methods([record(method, run=run)])
        return Candidate(table.rows[0], aurc, mcp, error)

    return make


def chosen(found: Sequence[Candidate]) -> str | None:
    row = choose(found).row
    return row.record.method if row else None


def test_the_candidate_furthest_below_mcp_on_its_own_rows_is_chosen(candidate) -> None:
    assert chosen([candidate("ce", 0.05, 0.06), candidate("focal", 0.15, 0.20), candidate("ss", 0.04, 0.04)]) == "focal"
    assert "15.00 %" in choose([candidate("focal", 0.15, 0.20)]).by
    assert "20.00 %" in choose([candidate("focal", 0.15, 0.20)]).by


def test_only_what_was_given_is_said_to_have_been_compared(candidate) -> None:
    assert tells(choose([candidate("ce", 0.1, 0.2)], given=True).by, "only method given that held rows out")
    assert tells(choose([candidate("ce", 0.3, 0.2)], given=True).by, "only method given that held rows out", "not")
    assert "given" not in choose([candidate("ce", 0.1, 0.2)]).by


def test_of_rows_with_a_calibrated_threshold_one_is_chosen_and_what_validation_prefers_is_told(candidate) -> None:
    best, second, third = found = [
        candidate(*each) for each in (("ce", 0.1, 0.2), ("ss", 0.15, 0.2), ("tcp", 0.3, 0.2))
    ]
    assert choose(found, [best.row, third.row]).row is best.row
    choice = choose(found, [third.row, second.row])
    assert choice.row is second.row
    assert "ce" in choice.by
    unknown = candidate("focal").row
    assert choose(found, [unknown]).row is unknown


def test_mcp_is_the_answer_where_it_is_what_the_user_has_calibrated(candidate, answered) -> None:
    better, mcp, worse = candidate("ce", 0.1, 0.2), candidate("mcp", run=None).row, candidate("ss", 0.3, 0.2)
    assert choose([better], [mcp]).row is mcp
    assert tells(choose([better], [mcp]).by, "calibrated", "ce")
    assert choose([better], [mcp, better.row]).row is better.row
    assert choose([worse], [mcp, worse.row]).row in (None, mcp)
    with_runs, before = answered
    assert before.record.method == "ce"
    call(with_runs, "calibrate", "mcp", "--data", "digits-test", "--coverage", "0.5")
    (found,) = answer(with_runs)
    assert (found.record.method, found.threshold) == ("mcp", find_scorer(with_runs, "mcp").threshold().point.threshold)  # type: ignore[union-attr]


def test_a_lead_of_one_seed_is_told_to_be_perhaps_chance(candidate) -> None:
    assert "one seed" in choose([candidate("ce", 0.05, 0.06)]).by
    several = candidate("ce", 0.05, 0.06)
    several = replace(several, row=replace(several.row, records=several.row.records * 2))
    assert "one seed" not in choose([several]).by
    assert "one seed" not in choose([candidate("knn", 0.05, 0.06, run=None)]).by
    assert "one seed" not in choose([candidate("ce", 0.07, 0.06)]).by


def test_where_mcp_is_better_on_the_rows_held_out_it_is_the_answer(candidate) -> None:
    found = choose([candidate("ce", 0.05, 0.04), candidate("focal", 0.05, 0.03)])
    assert found.row is None
    assert "5.00 %" in found.by
    assert "4.00 %" in found.by


def test_a_lead_that_chance_may_make_is_passed_over_for_a_smaller_one_that_it_does_not(candidate) -> None:
    by_chance, certain = candidate("knn", 0.10, 0.15, error=0.03), candidate("ash", 0.13, 0.15, error=0.009)
    assert chosen([by_chance, certain]) == "ash"
    found = choose([by_chance])
    assert found.row is None
    assert "± 6.00" in found.by


def test_without_mcps_figures_the_least_aurc_is_chosen(candidate) -> None:
    assert chosen([candidate("ce", 0.05), candidate("focal", 0.03)]) == "focal"


def test_nothing_is_chosen_where_nothing_was_held_out_but_a_single_oracle(candidate) -> None:
    assert chosen([]) is None
    assert chosen([candidate("ce"), candidate("focal")]) is None
    assert chosen([candidate("ce")]) == "ce"
    assert "held nothing out" in choose([candidate("ce")]).by


def test_the_choice_follows_what_was_held_out_and_not_the_evaluation_data(with_runs: Workspace) -> None:
    hold_out(with_runs, 0.0001)
    (good,) = answer(with_runs)
    assert good.record.method == "ce"
    assert "0.01 %" in good.chosen_by
    hold_out(with_runs, 0.5)
    (bad,) = answer(with_runs)
    assert bad.record.method != "ce"
    assert bad.error_rate == good.error_rate


# --- its figures -----------------------------------------------------------------------------------------------


@pytest.fixture
def answered(with_runs: Workspace) -> tuple[Workspace, Answer]:
    hold_out(with_runs, 0.0001)
    (found,) = answer(with_runs)
    return with_runs, found


def test_every_operating_point_is_that_of_the_metrics(answered) -> None:
    with_runs, found = answered
    samples = ScoreReader(with_runs).read(found.record)
    mcp = ScoreReader(with_runs).confidence(samples)
    assert found.error_rate == pytest.approx(1 - samples.correct.mean())
    at_80 = at_target(samples.z, samples.correct, "coverage", 0.8)
    assert (found.at_coverage.coverage, found.at_coverage.risk) == (at_80.coverage, at_80.risk)
    same = at_target(mcp, samples.correct, "coverage", at_80.coverage)
    assert (found.at_coverage.mcp_coverage, found.at_coverage.mcp_risk) == (same.coverage, same.risk)
    assert found.threshold == at_80.threshold
    assert found.at_threshold == found.at_coverage
    assert found.max_risk < found.error_rate
    if found.at_risk:
        most = at_target(samples.z, samples.correct, "precision", 1 - found.max_risk)
        assert (found.at_risk.coverage, found.at_risk.risk) == (most.coverage, most.risk)
        assert found.at_risk.risk <= found.max_risk


def test_a_calibrated_threshold_replaces_that_of_80_percent_and_brings_its_guarantee(answered) -> None:
    with_runs, before = answered
    assert before.guarantee == ""
    run = before.record.run
    call(with_runs, "calibrate", run, "--data", "digits-test", "--max-risk", "0.3", "--delta", "0.1")
    (found,) = answer(with_runs)
    kept = json.loads((with_runs.run_folder(run) / "threshold.json").read_text())
    assert found.threshold == kept["point"]["threshold"] != before.threshold
    assert "0.9" in found.guarantee
    assert "digits-test" in found.threshold_of
    assert "30 %" in found.threshold_of
    samples = ScoreReader(with_runs).read(found.record)
    point = working_point(samples.z, samples.correct, found.threshold)
    assert (found.at_threshold.coverage, found.at_threshold.risk) == (point.coverage, point.risk)


@pytest.mark.parametrize(("half", "oracle"), [(HALVES[0], True), (HALVES[1], True), (HALVES[0], False)])
def test_what_half_the_data_calibrated_is_stated_on_the_other_half(
    with_runs: Workspace, half: str, oracle: bool
) -> None:
    hold_out(with_runs, 0.0001 if oracle else 0.5)
    (before,) = answer(with_runs)
    assert (before.record.run is not None) == oracle
    assert not before.other_half
    name, data = before.record.run or before.record.method, before.dataset
    which = ("--data", data, *(() if oracle else ("--classifier", before.classifier)))
    call(with_runs, "calibrate", name, *which, "--part", half, "--seed", "3", "--coverage", "0.5")
    (found,) = answer(with_runs)
    everything = ScoreReader(with_runs).read(found.record)
    mcp = ScoreReader(with_runs).confidence(everything)
    rows = half_rows(len(everything.z), other_half(half), 3)
    z, correct, mcp = everything.z[rows], everything.correct[rows], mcp[rows]
    assert found.other_half
    point = working_point(z, correct, found.threshold)
    same = at_target(mcp, correct, "coverage", point.coverage)
    trade = found.at_threshold
    assert (trade.coverage, trade.risk) == (point.coverage, point.risk)
    assert (trade.mcp_coverage, trade.mcp_risk) == (same.coverage, same.risk)
    assert find_scorer(with_runs, name, before.classifier).threshold().other_half == point
    at_80 = at_target(z, correct, "coverage", 0.8)
    assert (found.at_coverage.coverage, found.at_coverage.risk) == (at_80.coverage, at_80.risk)
    assert found.error_rate == pytest.approx(1 - correct.mean())
    assert f"of the other half of {data}" in found.lines()[1]
    report(with_runs)
    assert "of the other half of" in (with_runs.report / "index.html").read_text(encoding="utf-8")
    assert f"Accept {100 * point.coverage:.1f} %" in found.lines()[1]
    assert before.commands[1:] == found.commands  # a threshold that is there is not to be overwritten
    assert f"--data {data} --part first-half" in before.commands[0]


def test_a_half_of_other_data_leaves_the_answer_on_all_of_its_own(answered) -> None:
    with_runs, before = answered
    path = with_runs.run_folder(before.record.run) / "threshold.json"
    call(with_runs, "calibrate", before.record.run, "--part", "first-half", "--coverage", "0.5")
    (found,) = answer(with_runs)
    samples = ScoreReader(with_runs).read(found.record)
    assert json.loads(path.read_text())["data"] != found.dataset
    assert not found.other_half
    assert found.at_threshold.coverage == working_point(samples.z, samples.correct, found.threshold).coverage


def test_its_commands_work_as_they_stand(answered, monkeypatch: pytest.MonkeyPatch) -> None:
    with_runs, found = answered
    calibrate, predict, export = (line.split()[1:] for line in found.commands)
    assert (predict[:2], export[:2]) == (["predict", found.record.run], ["export", found.record.run])
    call(with_runs, *calibrate)
    assert (with_runs.run_folder(found.record.run) / "threshold.json").is_file()


def test_images_for_a_threshold_are_proposed_to_set_one_and_are_no_weakest(answered) -> None:
    with_runs, before = answered
    caches = with_runs.root / "cache" / "digits-net"
    shutil.copytree(caches / "digits-test", caches / "digits-calibration")
    name = "digits-calibration"
    edit_record(caches / name / "index.json", {"meaning.data.name": name, "made_from.manifest.name": name})
    meaning = read_index(caches / name)._shard_meaning
    for path in (caches / name).glob("0*.json"):
        edit_record(path, {"meaning": meaning})
    call(with_runs, "evaluate")
    (found,) = answer(with_runs)
    assert (found.dataset, found.weakest, found.spare) == ("digits-test", None, [name])
    assert f"--data {name} --max-risk" in found.commands[0]
    assert "--delta 0.05" in found.commands[0]
    call(with_runs, *found.commands[0].split()[1:])
    call(with_runs, "calibrate", found.record.run, "--data", name, "--coverage", "0.5")
    made = report(with_runs)
    assert [table.title for table in made.contents.tables if name in table.title] == [made.contents.tables[-1].title]
    assert before.dataset == found.dataset


def test_it_is_five_lines_with_the_figures_and_ends_evaluate_and_report_and_begins_the_document(answered) -> None:
    with_runs, found = answered
    lines = found.lines()
    assert len(lines) == 5
    assert found.name in lines[0]
    assert "held" not in lines[0]
    assert f"{100 * found.at_coverage.risk:.1f} %" in lines[1]
    assert f"{100 * found.at_coverage.mcp_risk:.1f} %" in lines[1]
    for command in ("evaluate", "report"):
        printed = call(with_runs, command).stdout
        assert all(line in printed for line in lines)
        after = printed[printed.index(lines[4]) :].splitlines()[1:]
        others = [line for line in after if not line.startswith("  trustcache ")]
        assert others == ([f"The page: {with_runs.report / 'index.html'}"] if command == "report" else [])
    markdown = (with_runs.report / "report.md").read_text()
    assert 0 < markdown.index("Accept") < markdown.index("##")


def test_preprocessing_that_nobody_told_is_told_once_beside_every_figure_that_depends_on_it(
    with_runs: Workspace, run_cli: RunCli
) -> None:
    for path in with_runs.root.glob("cache/*/*/index.json"):
        edit_record(path, {"made_from.assumed": ["mean", "std"], "made_from.weights": "/mine/net.pth"})
    facts = "mean, std of its images are assumed, not known from net.pth", "again with --preprocess"
    train = run_cli("train", "--frozen", "--loss", "ce", "--epochs", 1)
    outputs = [train.stderr, *(run_cli(command).stdout for command in ("evaluate", "report"))]
    page, text = (with_runs.report / name for name in ("index.html", "report.md"))
    cards = [run.folder / CARD for run in finished_runs(with_runs)]
    for told in (*outputs, *(path.read_text() for path in (page, text, *cards))):
        assert [told.count(fact) for fact in facts] == [1, 1], told[:300]


def test_a_choice_that_is_worse_than_mcp_on_the_evaluation_data_says_so(answered) -> None:
    _, found = answered
    for gain, told in ((Estimate(-0.03, -0.05, -0.01), True), (Estimate(-0.03, -0.07, 0.01), False), (None, False)):
        last = replace(found, gain=gain, worse=["knn"]).lines()[-1]
        assert (f"{found.name} is too" in last) == told


@pytest.mark.parametrize(("count", "named"), [(1, 1), (4, 4), (5, 3), (20, 3)])
def test_of_many_methods_that_are_worse_a_few_are_named_and_the_rest_counted(answered, count: int, named: int) -> None:
    worse = [f"score{number:02d}" for number in range(count)]
    last = replace(answered[1], worse=worse).lines()[-1]
    assert [name in last for name in worse] == [number < named for number in range(count)]
    assert (f"{count - named} others" in last) == (named < count)


def test_methods_that_are_worse_than_mcp_are_those_whose_interval_lies_below_it(answered) -> None:
    with_runs, found = answered
    report(with_runs)
    rows = json.loads((with_runs.report / "intervals.json").read_text())
    worse = {row["method"] for row in rows if row["verdict"].get("auc") == "worse" and row["dataset"] == found.dataset}
    assert {name.split()[0].rstrip(",") for name in found.worse} == worse
    here = [row for row in rows if row["dataset"] == found.dataset and "auc" in row["verdict"]]
    assert found.compared == len(here), "a method is a row"
    assert len(found.worse) == sum(row["verdict"]["auc"] == "worse" for row in here)
    (table,) = [one for one in compare_methods([one.record for one in collect(with_runs)[0]]) if "test" in one.dataset]
    assert found.compared == table.methods


def test_a_threshold_below_every_score_is_no_number(answered) -> None:
    record = replace(answered[1].record, run=None, method="mcp")
    first = replace(answered[1], record=record, threshold=EVERYTHING).lines()[0]
    assert tells(first, "whatever its score")
    assert "e+308" not in first
    assert "0.00 %" not in first


def test_a_threshold_on_mcp_is_told_as_a_probability_too(answered) -> None:
    _, found = answered
    mcp = replace(found, record=replace(found.record, run=None, method="mcp"), threshold=np.log(0.95 / 0.05))
    assert mcp.probability == pytest.approx(0.95)
    assert tells(mcp.lines()[0], "z = 2.944", "95.00 %")
    assert found.probability is None
    assert "z =" not in found.lines()[0]
