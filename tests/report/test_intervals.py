"""Intervals in the report: of the mean over seeds, against mcp on the same resamples, kept between reports."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result

from trustcache.cache.workspace import Workspace
from trustcache.metrics.bootstrap import draw_counts, interval, resampled_metrics
from trustcache.metrics.ranking import METRICS
from trustcache.report import resampled
from trustcache.report.intervals import Estimate, compare, interval_tables, intervals_json
from trustcache.report.records import Record
from trustcache.report.resampled import Resampler, ResamplerInMemory
from trustcache.report.samples import Samples

N = 300
CORRECT = np.random.default_rng(0).random(N) < 0.8
COUNTS = draw_counts(N)


def z_of(method: str, seed: int) -> np.ndarray:
    generator = np.random.default_rng([len(method), seed])
    return {"mcp": 1.5, "ce": 0.1, "ss": 4.0, "tcp": 1.5}[method] * CORRECT + generator.standard_normal(N)


class Known(Resampler):
    """Resamples of scores that need no workspace."""

    def __init__(self) -> None:
        pass

    def metrics(self, records):
        return [resampled_metrics(z_of(r.method, r.seed or 0), CORRECT, COUNTS) for r in records]


@pytest.fixture
def compared(record: Callable[..., Record]):
    """mcp, a worse ce with two seeds, and a better ss."""
    from trustcache.metrics.ranking import trust_metrics

    def of(method: str, seed: int = 0) -> Record:
        return record(method, seed, n=N, **trust_metrics(z_of(method, seed), CORRECT))

    records = [of("mcp"), of("ce", 0), of("ce", 1), of("ss")]
    return compare(records, Known())


def test_a_row_has_the_interval_of_its_mean_over_seeds(compared) -> None:
    (ce,) = [one for one in compared if one.row.record.method == "ce"]
    seeds = [resampled_metrics(z_of("ce", seed), CORRECT, COUNTS) for seed in (0, 1)]
    for key in METRICS:
        mean = (seeds[0][key] + seeds[1][key]) / 2
        assert (ce.figures[key].low, ce.figures[key].high) == pytest.approx(interval(mean))
    assert ce.figures["auc"].value == pytest.approx(ce.row.cells["auc"].mean)


def test_differences_to_mcp_are_taken_resample_by_resample(compared) -> None:
    mcp, _, ss = (next(o for o in compared if o.row.record.method == m) for m in ("mcp", "ce", "ss"))
    draws = {m: resampled_metrics(z_of(m, 0), CORRECT, COUNTS)["auc"] for m in ("mcp", "ss")}
    found = ss.differences["auc"]
    assert (found.low, found.high) == pytest.approx(interval(draws["ss"] - draws["mcp"]))
    assert found.value == pytest.approx(ss.figures["auc"].value - mcp.figures["auc"].value)
    assert mcp.differences == {}
    assert "accuracy" not in ss.differences


def test_a_verdict_knows_which_way_is_good(compared) -> None:
    verdicts = {
        one.row.record.method: {key: one.verdict(key) for key in ("auc", "aurc", "fpr_at_95_tpr")} for one in compared
    }
    assert set(verdicts["ss"].values()) == {"better"}
    assert set(verdicts["ce"].values()) == {"worse"}
    assert set(verdicts["mcp"].values()) == {None}


@pytest.mark.parametrize(
    ("low", "high", "higher", "verdict"),
    [
        (0.1, 0.2, True, "better"), (-0.2, -0.1, True, "worse"), (-0.1, 0.1, True, "undecided"),
        (0.0, 0.1, True, "undecided"), (0.1, 0.2, False, "worse"), (-0.2, -0.1, False, "better"),
        (0.1, 0.2, None, None), (math.nan, math.nan, True, None),
    ],
)  # fmt: skip
def test_better_means_the_whole_interval_on_the_good_side(low, high, higher, verdict) -> None:
    assert Estimate(0.1, low, high).verdict(higher) == verdict


def test_the_table_shows_figures_with_intervals_marks_and_a_count(compared) -> None:
    (table,) = interval_tables(compared)
    rows = {row.labels[0].split(",")[0]: [*map(str, row.cells)] for row in table.rows}
    assert rows["mcp"][1:] == ["–"] * 4
    value = next(one for one in compared if one.row.record.method == "ss").differences["aurc"]
    assert rows["ss"][4] == f"{100 * value.value:+.2f} ▲ [{100 * value.low:+.2f}, {100 * value.high:+.2f}]"
    assert all("▼" in cell for cell in rows["ce"][1:])
    assert "by AUC 1 better, 1 worse, 0 undecided" in table.notes[0]
    assert [row.labels[0] for row in table.rows if row.kind == "marked"] == ["mcp"]


def test_json_has_every_metric_of_every_row(compared) -> None:
    read = {row["method"]: row for row in json.loads(intervals_json(compared))}
    assert read.keys() == {"mcp", "ce", "ss"}
    assert read["ce"]["seeds"] == 2
    assert read["ce"]["resamples"] == 1000
    assert read["ce"]["intervals"].keys() == METRICS.keys()
    low, high = read["ce"]["intervals"]["auc"]
    assert 0 < low < high < 1
    difference, low, high = read["ce"]["difference_to_mcp"]["auc"]
    assert low < difference < high < 0
    assert read["ce"]["verdict"]["auc"] == "worse"
    assert read["mcp"]["difference_to_mcp"] == {}


def test_what_a_table_leaves_undefined_has_no_interval(record) -> None:
    (one, _) = compare([record("mcp", n=N, tpr=math.nan), record("ce")], Known())
    assert math.isnan(one.figures["tpr"].low)
    read, _ = json.loads(intervals_json([one, one]))
    assert read["intervals"]["tpr"] == [None, None]


@pytest.mark.parametrize("room", [True, False])
def test_a_gpu_takes_resamples_unless_its_memory_is_full(
    record: Callable[..., Record], monkeypatch: pytest.MonkeyPatch, room: bool
) -> None:
    worked: list[type] = []

    def on(z: np.ndarray, correct: np.ndarray, counts: Any, **named: Any) -> dict[str, np.ndarray]:
        if isinstance(counts, torch.Tensor) and not room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        worked.append(type(counts))
        return resampled_metrics(z, correct, counts, **named)

    monkeypatch.setattr(resampled, "_WORTH_TORCH", 0)
    monkeypatch.setattr(resampled, "_on_gpu", lambda counts: torch.from_numpy(np.ascontiguousarray(counts)))
    monkeypatch.setattr(resampled, "resampled_metrics", on)
    one = record("mcp")
    samples = Samples(z_of("mcp", 0), CORRECT, np.ones(N, bool), None, None)  # type: ignore[arg-type]
    (found,) = ResamplerInMemory({one: samples}).metrics([one])
    assert worked == [torch.Tensor if room else np.ndarray]
    assert found["auc"] == pytest.approx(resampled_metrics(samples.z, CORRECT, COUNTS)["auc"])


# --- from a workspace --------------------------------------------------------------------------------------------


def kept(workspace: Workspace) -> list[Path]:
    return sorted((workspace.root / "bootstrap").rglob("*.safetensors"))


def rows_of(workspace: Workspace) -> dict[tuple[str, str | None], dict]:
    rows = json.loads((workspace.report / "intervals.json").read_text(encoding="utf-8"))
    return {(row["method"], row["training"]): row for row in rows}


def test_the_report_has_intervals_of_what_the_workspace_holds(
    with_runs: Workspace, run_cli: Callable[..., Result]
) -> None:
    result = run_cli("report")
    assert result.exit_code == 0
    assert "against the classifier's own confidence" in (with_runs.report / "report.md").read_text(encoding="utf-8")
    assert "against the classifier&#39;s own" in (with_runs.report / "paper.html").read_text(encoding="utf-8")
    from trustcache.cache import open_cache
    from trustcache.scores import post_hoc_score

    cache = open_cache(with_runs.cache_folder("digits-net", "digits-test"))
    drawn = resampled_metrics(post_hoc_score("mcp", cache), cache.correct, draw_counts(len(cache)))
    rows = rows_of(with_runs)
    assert rows["mcp", None]["intervals"]["auc"] == pytest.approx(interval(drawn["auc"]))
    assert {("ce", "frozen"), ("ce", "fine-tuned"), ("margin", None)} <= rows.keys()


def test_resamples_are_kept_and_made_again_only_for_scores_that_changed(
    with_runs: Workspace, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_cli("report")
    (file,) = kept(with_runs)
    before, first = rows_of(with_runs), file.read_bytes()
    made = []

    def counted(*args, **kwargs):
        made.append(args)
        return resampled_metrics(*args, **kwargs)

    monkeypatch.setattr("trustcache.report.resampled.resampled_metrics", counted)
    run_cli("report")
    assert not made
    assert rows_of(with_runs) == before
    assert file.read_bytes() == first
    from trustcache.oracles.runs import finished_runs

    (run,) = [run for run in finished_runs(with_runs) if run.config.training == "frozen"]
    index = with_runs.find_cache("test")
    z = -run.scores(index)
    run.save_scores(index, z, np.isfinite(z))
    run_cli("report")
    assert len(made) == 1
    changed = {key for key, row in rows_of(with_runs).items() if row != before[key]}
    assert changed == {("ce", "frozen")}


def test_a_damaged_file_of_resamples_is_made_again(with_runs: Workspace, run_cli: Callable[..., Result]) -> None:
    run_cli("report")
    before = rows_of(with_runs)
    (file,) = kept(with_runs)
    os.truncate(file, 100)
    assert run_cli("report").exit_code == 0
    assert rows_of(with_runs) == before
