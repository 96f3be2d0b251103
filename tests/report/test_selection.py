"""Reports of many data sets: what a terminal prints, what has intervals and drawings, and what is said of the rest."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from rich.console import Console

from trustcache.report import selection as module
from trustcache.report.contents import Contents
from trustcache.report.records import Scored
from trustcache.report.render.html import tables_page
from trustcache.report.render.terminal import print_report
from trustcache.report.selection import MOST_TABLES, MOST_VARIANTS, select
from trustcache.report.table import Cell, Exhibit, Row, Section, grouped_table


@pytest.fixture
def corrupted(scored: Callable[..., Scored]) -> Callable[..., list[Scored]]:
    """So many corruptions of `birds`, one record each."""

    def make(count: int, **given: object) -> list[Scored]:
        names = [f"fog/{i}" for i in range(1, count + 1)]
        return [scored("mcp", dataset=f"birds-c/{n}", shows=n, variant_of="birds", **given) for n in names]

    return make


def test_up_to_a_handful_of_tables_are_all_printed(scored, corrupted):
    front = select([scored("mcp", dataset="birds"), *corrupted(MOST_TABLES - 1)])
    assert len(front.printed) == MOST_TABLES
    assert front.left_out == 0


def test_of_many_tables_those_of_clean_data_are_printed_and_the_others_counted(scored, corrupted):
    clean = [scored("mcp", dataset=name, classifier=c) for name in ("birds", "cats") for c in ("vit", "net")]
    variants = [one for classifier in ("vit", "net") for one in corrupted(MOST_TABLES, classifier=classifier)]
    front = select([*clean, *variants])
    assert front.printed == {"birds", "cats"}
    assert front.left_out == 2 * MOST_TABLES


def test_the_tables_left_out_are_counted_and_those_that_sum_them_up_named_where_begun(scored, corrupted):
    many = [scored("mcp", dataset="birds"), *corrupted(MOST_TABLES)]
    table = grouped_table("x", ("m",), ("c",), [Row(("a",), (Cell(0.5),))])
    exhibits = (
        Exhibit("table1", "T", "", (table,)),
        Exhibit("table-a1", "T", "", (table,)),
        Exhibit("table-e", "T", ""),
    )
    sections = [Section("paper", "The paper's", "", exhibits, ("table-a1", "table-e"))]
    file = io.StringIO()
    print_report(Contents(many, sections=sections), Console(file=file, width=200))
    (told,) = [line for line in file.getvalue().splitlines() if "more tables" in line]
    assert f"{MOST_TABLES} more tables" in told
    assert "report.md" in told
    assert told.endswith("trustcache report --only table-a1")


def test_a_variant_made_on_the_fly_and_one_from_changed_files_are_both_no_clean_data(scored):
    many = [scored("mcp", dataset="birds", classifier=f"c{i}") for i in range(MOST_TABLES)]
    by_files = scored("mcp", dataset="stylized-birds", shows="stylized")
    by_origin = scored("mcp", dataset="odd-birds", variant_of="birds")
    assert select([*many, by_files, by_origin]).printed == {"birds"}


def test_where_nothing_is_clean_one_data_set_is_printed_all_the_same(corrupted):
    assert select(corrupted(MOST_TABLES + 1)).printed == {"birds-c/fog/1"}


@pytest.mark.parametrize(("count", "have"), [(MOST_VARIANTS, True), (MOST_VARIANTS + 1, False)])
def test_corruptions_have_intervals_and_drawings_only_where_they_are_few(scored, corrupted, count, have):
    others = [
        scored("mcp", dataset="birds"),
        scored("mcp", dataset="attacked", shows="adversarial", variant_of="birds"),
    ]
    detailed = select([*others, *corrupted(count)]).detailed
    assert {"birds", "attacked"} <= detailed
    assert ("birds-c/fog/1" in detailed) is have
    assert ("attacked" in select([*others, *corrupted(count)]).drawn) is have


def test_the_page_has_every_table_but_those_of_many_variants_are_closed(scored, corrupted):
    many = tables_page(Contents([scored("mcp", dataset="birds"), *corrupted(MOST_VARIANTS + 1, auc=0.6789)]))
    assert many.count(">67.89</td>") >= MOST_VARIANTS + 1
    assert many.count("<details class=short>") == MOST_VARIANTS + 1
    assert many.count("<details open>") == 1


# --- through the command line ------------------------------------------------------------------------------------


def test_the_report_of_many_prints_clean_data_and_says_where_the_rest_is(
    with_runs, extract_digits, run_cli, monkeypatch
):
    extract_digits("--data", "digits-c/contrast/4")
    run_cli("evaluate", "--workers", 0)
    monkeypatch.setattr(module, "MOST_TABLES", 1)
    monkeypatch.setattr(module, "MOST_VARIANTS", 0)
    done = run_cli("report")
    assert done.exit_code == 0
    headings = [line.strip() for line in done.stdout.splitlines()]
    assert "digits-test" in headings
    assert "digits-c/contrast/4" not in headings
    (elsewhere,) = [line for line in done.stdout.splitlines() if "1 more table" in line]
    assert "report.md" in elsewhere
    folder = with_runs.report
    assert "## digits-c/contrast/4\n" in (folder / "report.md").read_text(encoding="utf-8")
    assert "digits-c/contrast/4" in (folder / "results.csv").read_text(encoding="utf-8")
    intervals = json.loads((folder / "intervals.json").read_text(encoding="utf-8"))
    assert {row["dataset"] for row in intervals} == {"digits-test"}


def test_gaps_of_many_data_sets_are_one_line(with_runs, extract_digits, run_cli):
    extract_digits(*(word for severity in (1, 2, 3, 4) for word in ("--data", f"digits-c/contrast/{severity}")))
    notes = run_cli("report").stderr
    (note,) = [line for line in notes.splitlines() if "trustcache evaluate`" in line and "runs" in line]
    assert all(fact in note for fact in ("2 runs", "digits-c/contrast/1", "3 more"))
    assert notes.count("not scored on") == 1
