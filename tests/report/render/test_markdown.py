"""The report as Markdown: its tables, and that no name can break them."""

from __future__ import annotations

from trustcache.report.contents import Contents
from trustcache.report.render.markdown import report_markdown

MADE = {"date": "2025-01-02", "torch": "2.9.1"}


def of(scored, notes=()):
    return report_markdown(Contents(scored, notes, made=MADE))


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_markdown_has_the_table_with_the_best_in_bold(scored):
    given = [scored("ce", auc=0.7), scored("ss", auc=0.9, settings={"alpha_pos": 1.0, "alpha_neg": 3.0})]
    table = [line for line in of(given).splitlines() if line.startswith("|")]
    assert cells(table[0])[:5] == ["Method", "Oracle", "Training", "Seeds", "AUC ↑"]
    assert cells(table[2])[:5] == ["ce", "mlp", "frozen", "1", "70.00"]
    assert cells(table[3])[:5] == ["ss α⁻3", "mlp", "frozen", "1", "**90.00**"]
    assert {len(cells(line)) for line in table} == {11}


def test_markdown_names_the_protocol_the_gaps_and_how_it_was_made(scored):
    text = of([scored(n=5000)], ["3 runs: run `trustcache evaluate`"])
    assert "n 5,000 · classifier mlp, accuracy 80.00 % · protocol equations" in text
    assert "- 3 runs: run `trustcache evaluate`" in text
    assert "- **torch**: 2.9.1" in text
    assert "- **equations**: the paper's equations" in text


def test_markdown_heads_no_settings_where_there_are_none(scored):
    text = of([scored("mcp")])
    assert "**Methods**" in text
    assert "**Settings**" not in text


def test_names_cannot_break_a_markdown_table_or_become_markup(scored):
    text = of([scored("a|b\n*c*", dataset="<script>", oracle="vit_base_p16")])
    (row,) = [line for line in text.splitlines() if line.startswith(r"| a\|b \*c\* |")]
    assert "| vit_base_p16 |" in row
    assert r"\<script\>" in text
    assert "<script>" not in text


def test_markdown_of_nothing_says_so():
    assert "Nothing is scored yet." in of([])
