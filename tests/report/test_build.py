"""The report as a library call: what it returns and writes; its files agree, and appear whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
import os

import numpy as np
import pytest

from trustcache.cache.versions import trustcache_version
from trustcache.cache.workspace import Workspace
from trustcache.errors import UsageError
from trustcache.metrics.ranking import METRICS
from trustcache.paper.artefacts import PAPER
from trustcache.report.build import report, results_json, write_report
from trustcache.report.contents import Contents
from trustcache.report.render.csv import results_csv

MADE = {"date": "2025-01-02", "torch": "2.9.1"}
FILES = ["report.md", "tables.tex", "tables.csv", "results.csv", "results.json", "index.html", "paper.html"]


def strictly(text):
    """JSON as the standard has it: NaN and Infinity are errors."""

    def refuse(name):
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


def lines_of_csv(text):
    return list(csv.DictReader(io.StringIO(text)))


# --- JSON and CSV ----------------------------------------------------------------------------------------------


def test_json_holds_every_field_of_a_record_and_nothing_else(record):
    given = record("ss", 7, n=899, settings={"alpha_pos": 1.0, "base": "ce"}, auc=1 / 3)
    (read,) = strictly(results_json([given]))
    assert read == {
        "dataset": "digits",
        "classifier": "mlp",
        "oracle": "mlp",
        "method": "ss",
        "training": "frozen",
        "protocol": "equations",
        "seed": 7,
        "n": 899,
        "duplicates": 0,
        "settings": {"alpha_pos": 1.0, "base": "ce"},
        "run": "run-ss-7",
        "metrics": given.metrics,
        "trustcache": trustcache_version(),
    }


def test_a_post_hoc_score_has_null_for_oracle_training_seed_and_run(record):
    (read,) = strictly(results_json([record("mcp")]))
    assert [read[name] for name in ("oracle", "training", "seed", "run")] == [None] * 4


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_a_value_that_is_not_finite_is_null_in_json_and_empty_in_csv(record, value):
    given = [record(auc=value, settings={"gamma": value})]
    (read,) = strictly(results_json(given))
    assert read["metrics"]["auc"] is None
    assert read["settings"]["gamma"] is None
    (line,) = lines_of_csv(results_csv(given))
    assert line["auc"] == ""
    assert strictly(line["settings"]) == {"gamma": None}


def test_numbers_keep_their_full_precision(record):
    value = 0.1 + 0.2
    given = [record(auc=np.float64(value), tpr=np.float32(0.1))]
    (read,) = strictly(results_json(given))
    assert read["metrics"]["auc"] == value
    assert read["metrics"]["tpr"] == float(np.float32(0.1))
    assert float(lines_of_csv(results_csv(given))[0]["auc"]) == value


def test_a_line_of_csv_says_what_the_record_of_json_says(record):
    given = [record("mcp", tpr=math.nan), record("ss", 3, settings={"alpha_pos": 1.0}, dataset='a,"b"\nc')]
    for line, read in zip(lines_of_csv(results_csv(given)), strictly(results_json(given)), strict=True):
        metrics = {key: float(line[key]) if line[key] else None for key in METRICS}
        assert metrics == read["metrics"]
        assert strictly(line["settings"]) == read["settings"]
        for name in ("dataset", "classifier", "oracle", "method", "training", "protocol", "seed", "n", "run"):
            assert line[name] == ("" if read[name] is None else str(read[name]))


def test_csv_has_a_column_for_each_metric_of_the_registry_and_for_others_that_records_have(record):
    header = results_csv([record(brier=0.1)]).splitlines()[0].split(",")
    assert header[11:] == [*METRICS, "brier", "trustcache"]


def test_nothing_scored_is_an_empty_list_and_a_csv_of_its_header():
    assert strictly(results_json([])) == []
    assert len(results_csv([]).splitlines()) == 1


# --- files -----------------------------------------------------------------------------------------------------


def test_all_files_are_written_into_a_folder_that_is_made_and_nothing_else(tmp_path, scored):
    folder = tmp_path / "deep" / "report"
    written = write_report(folder, Contents([scored("mcp"), scored("ce")], ["a gap"], made=MADE))
    assert written == [folder / name for name in FILES]
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert len(strictly((folder / "results.json").read_text(encoding="utf-8"))) == 2
    assert (folder / "index.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    for name in ("report.md", "index.html"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "a gap" in text
        assert "2.9.1" in text


def test_a_second_report_replaces_the_first(tmp_path, scored):
    write_report(tmp_path, Contents([scored("ce"), scored("ss")], [], made=MADE))
    write_report(tmp_path, Contents([scored("ce")], [], made=MADE))
    assert len(strictly((tmp_path / "results.json").read_text(encoding="utf-8"))) == 1


def test_the_same_records_give_the_same_bytes(tmp_path, scored):
    one = write_report(tmp_path / "1", Contents([scored("mcp"), scored("ce")], [], made=MADE))
    two = write_report(tmp_path / "2", Contents([scored("mcp"), scored("ce")], [], made=MADE))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_a_report_that_cannot_be_made_leaves_the_old_one_as_it_was(tmp_path, scored, monkeypatch):
    before = {path: path.read_bytes() for path in write_report(tmp_path, Contents([scored("ce")], [], made=MADE))}
    monkeypatch.setattr("trustcache.report.build.tables_page", lambda contents: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        write_report(tmp_path, Contents([scored("ss")], [], made=MADE))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_failing_write_leaves_the_old_file_and_no_temporary_one(tmp_path, scored, monkeypatch):
    before = {path: path.read_bytes() for path in write_report(tmp_path, Contents([scored("ce")], [], made=MADE))}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(tmp_path, Contents([scored("ss")], [], made=MADE))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


# --- the library call ------------------------------------------------------------------------------------------


def test_a_report_is_returned_as_it_is_written(with_runs: Workspace) -> None:
    made = report(with_runs, [PAPER], only=["table1", "figure2b"])
    assert all(path.is_file() for path in made.paths)
    assert {path.parent for path in made.paths} == {with_runs.report}
    assert [one.key for one in made.exhibits] == ["table1", "figure2b"]
    assert {comparison.dataset for comparison in made.contents.comparisons} == {"digits-test"}
    assert any("α" in head for table in made.exhibits[1].tables for head in table.heads)


def test_a_report_without_sections_has_none_of_the_paper(with_runs: Workspace) -> None:
    made = report(with_runs)
    assert not made.contents.sections
    assert "Table 1" not in (with_runs.report / "report.md").read_text(encoding="utf-8")


def test_scores_alone_have_their_comparison_in_every_format(workspace: Workspace) -> None:
    report(workspace, [PAPER])
    for name in ("report.md", "tables.tex", "tables.csv", "index.html", "paper.html"):
        text = (workspace.report / name).read_text(encoding="utf-8")
        assert "margin" in text
        assert "digits-test" in text
    tex = (workspace.report / "tables.tex").read_text(encoding="utf-8")
    assert tex.index("Comparison. digits-test") < tex.index(r"\toprule") < tex.index("margin &")


def test_an_exhibit_that_no_section_has_is_refused_before_anything_is_read(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"--only table9.* table1, table2"):
        report(Workspace(tmp_path), [PAPER], only=["table9"])
    with pytest.raises(UsageError, match="--only table1"):
        report(Workspace(tmp_path), only=["table1"])
