"""The report as a library call: what it returns and writes, with and without the paper's section."""

from __future__ import annotations

import pytest

from trustcache.cache.workspace import Workspace
from trustcache.errors import UsageError
from trustcache.paper.artefacts import PAPER
from trustcache.report.build import report


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
    for name in ("report.md", "tables.tex", "tables.csv", "index.html"):
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
