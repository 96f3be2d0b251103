"""`compare`: `trust_metrics`' numbers, those of the command line's report, and a table in every form."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from io import StringIO

import numpy as np
import pytest
from click.testing import Result
from rich.console import Console

from tests.caches_in_memory import cache_of
from tests.refusals import refusal_of, tells
from trustcache.cache import open_cache
from trustcache.cache.workspace import Workspace
from trustcache.metrics.ranking import METRICS, trust_metrics
from trustcache.oracles.estimator import Oracle
from trustcache.protocols import negative_threshold
from trustcache.report.compared import MethodTable, compare
from trustcache.scores import post_hoc_score

TRAINING, TEST = cache_of(500, 1, name="train"), cache_of(300, 2, name="photos")


def gap(logits: np.ndarray) -> np.ndarray:
    """Gap of the <b>largest</b> logits."""
    top = np.sort(logits, axis=1)
    return top[:, -1] - top[:, -2]


@pytest.fixture(scope="module")
def oracles() -> list[Oracle]:
    return [Oracle("ss", seed=seed, epochs=5).fit(TRAINING) for seed in (0, 1)] + [
        Oracle("tcp", epochs=5).fit(TRAINING)
    ]


@pytest.fixture(scope="module")
def table(oracles: list[Oracle]) -> MethodTable:
    return compare([*oracles, "mcp", "delta-knn", gap], TEST)


def test_the_numbers_are_those_of_trust_metrics(table: MethodTable, oracles: list[Oracle]) -> None:
    frame = table.to_dataframe()
    for name, z in (("mcp", -np.log(1 / confidence() - 1)), ("gap", gap(TEST.logits))):
        wanted = trust_metrics(z, TEST.correct)
        for key in METRICS:
            if name == "mcp" or not METRICS[key].at_threshold:
                assert frame.loc[name, key] == pytest.approx(wanted[key], abs=1e-9)
    assert math.isnan(frame.loc["gap", "tpr"])  # it only orders samples
    seeds = [trust_metrics(oracle.decision_function(TEST), TEST.correct) for oracle in oracles[:2]]
    (row,) = [name for name in frame.index if name.startswith("ss")]
    assert frame.loc[row, "auc"] == pytest.approx(np.mean([seed["auc"] for seed in seeds]))
    (row,) = [name for name in frame.index if name.startswith("tcp")]
    z, negative = oracles[2].decision_function(TEST), negative_threshold("tcp", 3)
    assert frame.loc[row, "tnr"] == trust_metrics(z, TEST.correct, negative_threshold=negative)["tnr"]


def confidence() -> np.ndarray:
    shifted = np.exp(TEST.logits.astype(float) - TEST.logits.max(1, keepdims=True))
    return shifted.max(1) / shifted.sum(1)


def test_the_numbers_and_intervals_are_those_of_the_report_of_the_same_caches(
    workspace: Workspace, run_cli: Callable[..., Result]
) -> None:
    for line in ("train --frozen --loss ss --seed 0,1 --epochs 20 --device cpu", "evaluate", "report"):
        assert run_cli(*line.split()).exit_code == 0
    training, test = (open_cache(workspace.find_cache(role).folder) for role in ("train", "test"))
    oracles = [Oracle("ss", seed=seed, epochs=20, device="cpu").fit(training) for seed in (0, 1)]
    table = compare([*oracles, "mcp", "delta-knn", "temperature", "vim"], test)
    records = json.loads((workspace.report / "results.json").read_text(encoding="utf-8"))
    of_report = {(record["method"], record["seed"]): record["metrics"] for record in records}
    for one in table.scored:
        reported = of_report[one.record.method, one.record.seed]
        ours = {key: None if math.isnan(value) else value for key, value in one.record.metrics.items()}
        assert {key: ours[key] for key in METRICS} == {key: reported[key] for key in METRICS}
    intervals = json.loads((workspace.report / "intervals.json").read_text(encoding="utf-8"))
    for row in table.compared:
        (reported,) = [one for one in intervals if one["method"] == row.row.record.method]
        assert [row.figures["auc"].low, row.figures["auc"].high] == reported["intervals"]["auc"]
        if row.differences:
            gain = row.differences["auc"]
            assert [gain.value, gain.low, gain.high] == reported["difference_to_mcp"]["auc"]


def test_the_table_is_shown_as_text_html_rich_and_latex(table: MethodTable) -> None:
    text = str(table)
    assert repr(table) == text
    for fact in ("photos", "n 300", "mcp", "delta-knn", "gap", "ss", "tcp", "±", "Δ AUC"):
        assert fact in text
    stream = StringIO()
    Console(file=stream, width=90).print(table)
    assert max(map(len, stream.getvalue().splitlines())) <= 90
    html = table._repr_html_()
    assert html.partition("<tbody>")[2].partition("</tbody>")[0].count("<tr>") == len(table.comparison.rows)
    latex = table.to_latex()
    assert tells(latex, r"\begin{table}", r"\toprule", "mcp", r"\end{table}")
    assert r"\documentclass" not in latex


@pytest.mark.parametrize("width", [80, 60])
def test_a_narrow_terminal_keeps_methods_and_whole_numbers_and_tells_what_it_leaves_out(
    table: MethodTable, width: int
) -> None:
    stream = StringIO()
    Console(file=stream, width=width).print(table)
    text = stream.getvalue()
    for fact in ("Method", "mcp", "delta-knn", "gap", "AUC", "Δ AUC", "AURC", "FPR@95"):
        assert fact in text
    assert "…" not in text
    assert tells(text.partition("Not shown")[2], "AUPR-Error", "AUPR-Success")
    assert tells(text, "Percent", "*", "▲", "▼", "○", "95 %")


def test_the_data_frame_has_the_intervals_that_are_known_and_no_empty_columns(table: MethodTable) -> None:
    frame = table.to_dataframe()
    assert not frame.columns[frame.isna().all()].tolist()
    assert ((frame.aurc_low <= frame.aurc) & (frame.aurc <= frame.aurc_high)).all()


def test_scores_that_are_numbers_are_compared_by_the_names_they_are_given() -> None:
    z = post_hoc_score("mcp", TEST)
    found = compare(["mcp", {"mine": z, "worse": -z}], TEST, intervals=False)
    frame = found.to_dataframe()
    assert frame.auc["mine"] == frame.auc["mcp"] == 1 - frame.auc["worse"]
    for methods, facts in (
        ("mcp", ("compare", "list", "'mcp'")),
        ([z], ("name", "mapping")),
        ([{"mine": z[1:]}], ("mine", "299", "300")),
        (["mpc"], ("score mpc",)),
        (["knn"], ("training",)),
    ):
        message = refusal_of(lambda given=methods: compare(given, TEST))  # type: ignore[misc]
        assert tells(message, *facts)
        assert "--" not in message


def test_rows_stand_as_their_methods_were_given(table: MethodTable, oracles: list[Oracle]) -> None:
    assert [row.record.method for row in table.comparison.rows] == ["ss", "tcp", "mcp", "delta-knn", "gap"]
    assert [one.row.record.method for one in table.compared] == ["ss", "tcp", "mcp", "delta-knn", "gap"]
    again = compare([gap, oracles[2], oracles[0], "mcp"], TEST)
    frame, before = again.to_dataframe(), table.to_dataframe()
    assert next(iter(frame.index)) == "gap"
    assert frame.auc_gain["gap"] == before.auc_gain["gap"]


def test_probabilities_have_no_tpr_and_tnr_as_0_is_no_threshold_in_them() -> None:
    p = confidence()
    found = compare([{"p": p, "log-odds": np.log(p / (1 - p))}], TEST, intervals=False)
    frame = found.to_dataframe()
    assert frame.auc["p"] == frame.auc["log-odds"]
    assert math.isnan(frame.tpr["p"])
    assert math.isnan(frame.tnr["p"])
    assert 0 < frame.tpr["log-odds"] <= 1
    assert "threshold" in str(found)


def test_in_a_notebook_it_is_one_output_and_not_a_line_each(
    table: MethodTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = str(table)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *parts: pytest.fail("shown line by line"))
    assert str(table) == text


def test_names_from_outside_stay_text() -> None:
    def score(logits: np.ndarray) -> np.ndarray:
        return logits.max(axis=1)

    score.__name__ = "<img src=x>_%"
    made = compare([score], cache_of(50, 1, name="<b>photos</b>"), intervals=False)
    assert "<img" not in made._repr_html_()
    assert "<b>photos" not in made._repr_html_()
    assert r"\_\%" in made.to_latex()


def test_the_chart_has_a_curve_for_each_method(table: MethodTable) -> None:
    altair = pytest.importorskip("altair")
    chart = table.plot()
    assert isinstance(chart, altair.TopLevelMixin)
    spec = json.dumps(chart.to_dict())
    for name in ("mcp", "delta-knn", "gap", "ss", "tcp", "ideal"):
        assert name in spec


def test_rows_that_a_method_has_learnt_from_are_a_note(oracles: list[Oracle]) -> None:
    both = compare([oracles[0], "knn", "mcp"], TRAINING[:200], intervals=False)
    assert len(both.notes) == 2
    assert tells(both.notes[0], "Oracle('ss'", "200")
    assert both.notes[1] in " ".join(str(both).split())
    assert "knn" in both._repr_html_().partition("<tfoot>")[2]
    assert not compare([oracles[0], "knn"], TEST, intervals=False).notes


def test_without_intervals_there_are_none(table: MethodTable) -> None:
    fast = compare(["mcp", gap], TEST, intervals=False)
    assert not {"auc_low", "auc_gain"} & set(fast.to_dataframe().columns)
    assert {"auc_low", "auc_high", "auc_gain", "auc_gain_low"} <= set(table.to_dataframe().columns)
    without_mcp = compare([gap, "margin"], TEST)
    assert "auc_gain" not in without_mcp.to_dataframe().columns


def test_scores_learn_from_the_cache_of_the_first_oracle_or_the_one_that_is_given(oracles: list[Oracle]) -> None:
    by_oracle = compare([oracles[0], "knn"], TEST, intervals=False).to_dataframe()
    given = compare(["knn"], TEST, training=TRAINING, intervals=False).to_dataframe()
    other = compare(["knn"], TEST, training=TRAINING[:100], intervals=False).to_dataframe()
    assert by_oracle.filter(like="knn", axis=0)["auc"].item() == given["auc"].item() != other["auc"].item()
    assert tells(refusal_of(lambda: compare(["knn"], TEST)), "training")


@pytest.mark.parametrize(("methods", "facts"), [([], ("compare",)), (["mcp", "mcp"], ("mcp", "twice"))])
def test_a_wrong_request_is_refused(methods: list[str], facts: tuple[str, ...]) -> None:
    assert tells(refusal_of(lambda: compare(methods, TEST)), *facts)


def test_oracles_that_are_the_same_or_of_two_protocols_share_no_table(oracles: list[Oracle]) -> None:
    same = Oracle("ss", seed=0, epochs=5, protocol="equations").fit(TRAINING)
    assert tells(refusal_of(lambda: compare([oracles[0], same], TEST)), "twice")
    released = Oracle("ss", protocol="released", epochs=1).fit(TRAINING)
    assert tells(refusal_of(lambda: compare([oracles[0], released], TEST)), "protocols")


def test_a_missing_library_is_named(table: MethodTable, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "altair", None)
    for action in (table.to_dataframe, table.plot):
        assert tells(refusal_of(action), "pip install 'trustcache[notebook]'")
