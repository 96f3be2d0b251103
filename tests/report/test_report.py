"""`trustcache report`: from a workspace to the terminal and the files, the paper's part of it."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from trustcache.paper.artefacts import ARTEFACTS, paper_section
from trustcache.report.collect import collect


def test_the_terminal_lists_the_papers_tables_and_what_is_not_run(with_runs, run_cli):
    out = run_cli("report").stdout
    listed = out[out.index("The paper's tables and figures") :]
    begun, not_begun = listed.split("Not run yet", 1)
    assert "table1 (with gaps)" in begun
    assert "trustcache report --only" in " ".join(begun.split())
    assert "table2" in not_begun
    assert "trustcache reproduce KEY" in " ".join(not_begun.split())
    for key in ARTEFACTS:
        assert key in listed


def test_on_a_terminal_the_answer_is_seen_without_scrolling(with_runs, run_cli, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    short, whole = (run_cli("report", *more).stdout.splitlines() for more in ((), ("-v",)))
    assert len(short) <= 40
    assert short[-3:] == whole[-3:], "the commands that go on"
    rows = {line.split()[0] for line in short if line.startswith(" ")}
    assert "mcp" in rows
    (left_out,) = [int(found[1]) for line in short if (found := re.search(r"(\d+) more rows? with -v", line))]
    assert left_out > 10
    assert any("Not run yet" in line for line in whole)


def test_only_prints_the_tables_asked_for_with_their_commands(with_runs, run_cli):
    done = run_cli("report", "--only", "table1,table2")
    out = done.stdout
    assert out.startswith("Table 1")
    assert "digits-test · fine-tuned · protocol equations" in out
    assert "trustcache train --classifier digits-net --data digits-train --epochs 1" in out
    assert "trustcache reproduce table2" in out
    assert "Table G" not in out
    assert ".html" not in out
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("table1: ")]
    place, _, rest = told.removeprefix("table1: ").partition(";")
    page, _, anchor = place.partition("#")
    assert f'id="{anchor}"' in Path(page).read_text()
    assert "tab:table1" in rest
    assert r"\label{tab:table1}" in Path(page).with_name("tables.tex").read_text()
    assert not [line for line in done.stderr.splitlines() if line.startswith("table2: ")], "it is not begun"


def test_a_table_that_the_paper_does_not_have_is_refused_with_those_it_has(with_runs, run_cli):
    result = run_cli("report", "--only", "table1,table9")
    assert result.exit_code == 2
    assert "--only table9" in result.stderr
    assert "table-a1" in result.stderr


@pytest.mark.figures
def test_every_file_holds_the_papers_part(with_runs, run_cli):
    run_cli("report")
    folder = with_runs.report
    table1 = (folder / "tables.tex").read_text(encoding="utf-8").partition("% table1\n")[2]
    assert re.search(
        r"\\caption\{Like Table 1 of the paper: losses compared .*digits-test", table1.partition("\n% ")[0]
    )
    assert "## Table 1: losses compared" in (folder / "report.md").read_text(encoding="utf-8")
    assert 'id="paper-table1"' in (folder / "paper.html").read_text(encoding="utf-8")
    lines = list(csv.DictReader((folder / "tables.csv").read_text(encoding="utf-8").splitlines()))
    assert {line["artefact"] for line in lines} == {
        "comparison",
        "detail",
        *("table1", "table-g", "figure2b", "figure3", "figure4a"),
    }
    assert (folder / "figures" / "figure2b-1.svg").is_file()
    assert len(re.findall("<svg[^>]*>.*?<path", (folder / "index.html").read_text(encoding="utf-8"))) > 1


def test_a_record_knows_its_run_and_how_much_it_learnt_from(with_runs):
    scored, _ = collect(with_runs)
    runs = [one for one in scored if one.run is not None]
    assert {one.learnt_from for one in runs} == {700}
    assert {one.run.name for one in runs} == {one.record.run for one in runs}
    assert {one.index.data for one in scored} == {"digits-test"}


def test_a_training_cache_with_a_damaged_record_is_a_note_and_the_rest_is_reported(with_runs, run_cli):
    record = with_runs.find_cache("train").folder / "00001.json"
    record.write_text("{}")
    done = run_cli("report")
    assert done.exit_code == 0, done.stderr
    assert re.search("note: .*digits-train", done.stderr)
    assert "digits-train/00001.json: damaged" in done.stderr
    assert "digits-net-ce-frozen" in (with_runs.report / "results.json").read_text()


def test_the_registry_is_whole(with_runs):
    scored, _ = collect(with_runs)
    section = paper_section(scored, with_runs.caches())
    assert [one.key for one in section.exhibits] == [
        *("table1", "table2", "table3", "table-a1", "table-e", "table-f", "table-g", "table-h"),
        *("figure2b", "figure3", "figure-d", "figure4a", "figure-e", "figure4bc", "theorem3.1"),
    ]
    for one in section.exhibits:
        assert one.title.partition(": ")[2]
        assert one.requires
        for table in one.tables:
            assert all(len(row.cells) == len(table.columns) for row in table.rows)
            assert all(len(row.labels) == len(table.labels) for row in table.rows)


@pytest.mark.parametrize("key", ["table1", "figure3"])
def test_nothing_trained_is_nothing_shown(scored, key):
    (one,) = [one for one in paper_section([scored("mcp")]).exhibits if one.key == key]
    assert not one.begun
