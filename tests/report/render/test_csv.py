"""CSV files: numbers as they are, texts that run nothing in a spreadsheet, and the version that made them."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustcache.cache.versions import trustcache_version
from trustcache.errors import spreadsheet_cell
from trustcache.report.records import Record
from trustcache.report.render.csv import results_csv


@given(st.text())
def test_no_text_begins_as_a_formula_does_and_none_is_lost(text: str) -> None:
    safe = spreadsheet_cell(text)
    assert safe.removeprefix("'") == text.removeprefix("'")
    assert not safe.startswith(("=", "@", "\t", "\r"))


@given(st.floats())
def test_numbers_stay_numbers(number: float) -> None:
    assert spreadsheet_cell(repr(number)) == repr(number)


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "@SUM(1)", "+cmd|' /C calc'!A0", "-2+3"])
def test_a_data_set_that_is_named_as_a_formula_is_a_text(name: str) -> None:
    record = Record(name, "net", "mcp", "equations", 3, {}, {"auc": 0.5})
    (row,) = csv.DictReader(io.StringIO(results_csv([record])))
    assert (row["dataset"], row["auc"]) == (f"'{name}", "0.5")
    assert row["trustcache"] == trustcache_version()
