"""A sweep beside its test figures: places, what the test set would have chosen, and what was luck."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest

from trustcache.cache.records import write_lines
from trustcache.evaluate.sweep import Candidate, Sweep, fewest_held_out
from trustcache.oracles.runs import LOG, finished_runs
from trustcache.report.records import Record
from trustcache.report.sweeps import Outcome, outcome_table, outcomes, sweep_table, validation_table


def make(validation: list[float], reference: float = 0.05, seeds: tuple[int, ...] = (0, 1)) -> Sweep:
    candidates = tuple(
        Candidate("ss", {"alpha_neg": float(i)}, tuple(f"run-{i}-{s}" for s in seeds), {"aurc": v, "auc": 1 - v})
        for i, v in enumerate(validation)
    )
    return Sweep("mlp", "train", "j", "mlp", "frozen", "equations", seeds, candidates, {"aurc": reference})


def records_of(record: Callable[..., Record], test: list[float], dataset: str = "digits") -> list[Record]:
    """Records whose mean over two seeds is `test`, and mcp."""
    runs = [
        record("ss", seed, dataset=dataset, aurc=value + shift, run=f"run-{i}-{seed}", settings={"alpha_neg": float(i)})
        for i, value in enumerate(test)
        for seed, shift in ((0, 0.01), (1, -0.01))
    ]
    return [*runs, record("mcp", dataset=dataset, aurc=0.06)]


def notes_of(outcome: Outcome) -> str:
    return " ".join(outcome_table(outcome).notes)


def test_test_figures_are_means_over_the_runs_of_a_candidate(record) -> None:
    (outcome,), notes = outcomes([make([0.10, 0.12, 0.14])], records_of(record, [0.20, 0.18, 0.25]))
    assert [metrics["aurc"] for metrics in outcome.test] == pytest.approx([0.20, 0.18, 0.25])
    assert outcome.reference["aurc"] == 0.06
    assert notes == []


def test_the_table_has_both_figures_the_winner_and_the_best_on_test(record) -> None:
    (outcome,), _ = outcomes([make([0.10, 0.12, 0.14])], records_of(record, [0.20, 0.18, 0.25]))
    table = outcome_table(outcome)
    assert table.labels == ("Place", "Candidate", "")
    assert table.heads[:3] == ("Place on test", "AURC ↓ validation", "AURC ↓ test")
    assert [(row.labels[2], *map(str, row.cells[:3])) for row in table.rows] == [
        ("chosen", "2", "10.00", "20.00"),
        ("best on test", "1", "12.00", "18.00"),
        ("", "3", "14.00", "25.00"),
        ("not a candidate", "", "5.00", "6.00"),
    ]
    assert [row.kind for row in table.rows] == ["marked", "ours", "ours", "reference"]


def test_it_is_said_what_the_choice_cost_and_how_the_rankings_agree(record) -> None:
    (outcome,), _ = outcomes([make([0.10, 0.12, 0.14])], records_of(record, [0.20, 0.18, 0.25]))
    assert outcome.rank_correlation() == pytest.approx(0.5)
    text = notes_of(outcome)
    assert "place 2 of 3" in text
    assert re.search("ss α⁻1 with 18.00: .* 2.00 points", text)
    assert "candidates: 0.50" in text
    assert re.search("5.00 and 6.00: .* worse on validation and worse on test", text)


def test_a_validation_figure_that_was_luck_is_called_that(record) -> None:
    # The chosen one falls by 15 points, the others by 1.
    (outcome,), _ = outcomes([make([0.05, 0.12, 0.14], 0.055)], records_of(record, [0.20, 0.13, 0.15]))
    text = notes_of(outcome)
    assert re.search(r"\+15.00 points .* \+1.00 for the median .* 14.00 points", text)
    assert "better on validation and worse on test" in text
    (fair,), _ = outcomes([make([0.10, 0.12, 0.14])], records_of(record, [0.11, 0.13, 0.15]))
    assert "no luck in the choice" in notes_of(fair)
    assert "chosen the same" in notes_of(fair)


def test_equal_candidates_share_a_place_and_have_no_correlation(record) -> None:
    (outcome,), _ = outcomes([make([0.10, 0.12])], records_of(record, [0.2, 0.2]))
    assert outcome.test_ranks() == [1, 1]
    assert math.isnan(outcome.rank_correlation())
    assert "Rank correlation" not in notes_of(outcome)


def test_each_data_set_has_its_own_outcome_and_one_with_runs_missing_a_note(record) -> None:
    records = records_of(record, [0.2, 0.3]) + records_of(record, [0.4, 0.3], "noisy")
    found, notes = outcomes([make([0.1, 0.2])], records)
    assert [one.dataset for one in found] == ["digits", "noisy"]
    assert [one.test_ranks()[0] for one in found] == [1, 2]
    found, notes = outcomes([make([0.1, 0.2])], [r for r in records if (r.dataset, r.run) != ("noisy", "run-1-0")])
    assert [one.dataset for one in found] == ["digits"]
    assert len(notes) == 1
    assert all(fact in notes[0] for fact in ("1 of its 4 runs", "noisy", "trustcache train --sweep"))


@pytest.mark.parametrize(("reference", "warned"), [(0.05, True), (0.2, False)])
def test_a_sweeps_own_ranking_warns_where_mcp_is_better(reference: float, warned: bool) -> None:
    table = sweep_table(make([0.1, 0.2], reference))
    assert [row.labels[0] for row in table.rows] == ["1", "2", ""]
    assert [str(row.cells[0]) for row in table.rows] == ["10.00", "20.00", f"{100 * reference:.2f}"]
    assert "run-0-0" in table.notes[0]
    assert any("better choice" in sentence for sentence in table.notes) is warned


def test_a_table_of_validation_says_where_few_answers_decide_it(with_runs) -> None:
    runs = finished_runs(with_runs)
    index = next(one for one in with_runs.caches() if runs[0].judges(one))
    training = next(one for one in with_runs.caches() if one.role == "train" and one.classifier == index.classifier)
    right, wrong = fewest_held_out(training, runs) or (0, 0)
    assert right + wrong == round(training.rows * runs[0].config.val_fraction)
    for table in (validation_table(runs, {}, held_out=(99, 3)), sweep_table(make([0.1], 0.2), (99, 3))):
        assert [note for note in table.notes if "3 of 102 answers are wrong" in note]


def test_training_that_set_nothing_aside_is_a_table_of_its_loss(with_runs) -> None:
    runs = finished_runs(with_runs)
    for run in runs:
        write_lines(run.folder / LOG, [{"epoch": 1, "loss": 0.25, "validation": {}}])
    table = validation_table(finished_runs(with_runs), {})
    assert table.heads == ("Loss",)
    assert "nothing was set aside" in table.title
    assert [row.cells[0].mean for row in table.rows] == [0.25] * len(runs)


def test_logs_that_lost_their_validation_leave_gaps_beside_mcp(with_runs) -> None:
    for run in finished_runs(with_runs):
        write_lines(run.folder / LOG, [{"epoch": 1, "loss": 0.25, "validation": {}}])
    table = validation_table(finished_runs(with_runs), {"auc": 0.9})
    assert {len(row.cells) for row in table.rows} == {len(table.columns)}
    assert {row.labels[0] for row in table.rows if str(row.cells[1]) == "90.00"} == {"mcp"}
