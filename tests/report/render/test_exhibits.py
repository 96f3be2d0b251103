"""Tables and exhibits as text, Markdown, LaTeX, CSV and on the page: whole, safe, gaps visible."""

from __future__ import annotations

import csv
import io
import math
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from rich.console import Console

from trustcache.report.build import write_report
from trustcache.report.charts import Chart, curve_rows, lines
from trustcache.report.contents import Contents
from trustcache.report.render.csv import tables_csv
from trustcache.report.render.html import tables_page
from trustcache.report.render.latex import escaped, tables_latex
from trustcache.report.render.markdown import grid, report_markdown
from trustcache.report.render.terminal import print_exhibits, print_report, print_tables
from trustcache.report.table import GAP, MISSING, Cell, Column, Exhibit, Figure, Row, Section, Table, grouped_table

DRAW = "trustcache train --loss tcp --seed 0,1,2"
NASTY = r"a_b&c%d#e$f{g}h\i~j^k<l>|m"


FRUIT = Table(
    "Fruit <1>",
    "n 3 · a|b",
    ("Name", ""),
    (Column("Weight"),),
    (
        Row(("apple", "red"), (Cell(0.015, signed=True, interval=(0.01, 0.02), mark="▲"),)),
        Row(("pear", ""), (Cell(math.nan),), "marked"),
    ),
    ("Pears are *light*.",),
)
LONG = grouped_table("x", ("m",), ("c",), [Row((str(i),), (Cell(0.5),)) for i in range(40)])
CURVES = Figure("curves", Chart(lines(["ce"], "z", "loss"), curve_rows("ce", x=[0.0, 1.0], y=[1.0, 2.0])), "See.")


@pytest.fixture
def shown():
    """A table with every kind of line and cell, a figure, and one that is not run."""
    rows = (
        Row(("⟨a, b⟩", "birds", "ce"), (Cell(0.5, 0.01), Cell(math.nan)), seeds=3),
        Row(("⟨a, b⟩", "birds", "  published"), (Cell(0.25), Cell(0.125, 0.02)), "published"),
        Row(("⟨b, b⟩", NASTY, "ss α⁻3, over ‖w‖"), (MISSING, MISSING)),
    )
    command = "trustcache train --loss ss --seed 0,1,2"
    table = grouped_table(
        "birds · frozen", ("pair", "data", "method"), ("AUC ↑", "AUPR-Error ↓"), rows, ("A note.",), (command,)
    )
    return (
        Exhibit("table1", "Table 1: losses", "runs", (table,)),
        Exhibit(
            "figure2b",
            "Figure 2b: curves",
            "nothing",
            (),
            (
                Figure(
                    "curves", Chart(lines(["ce"], "z", "loss"), curve_rows("ce", x=[0.0, 1.0], y=[1.0, 2.0])), "See."
                ),
            ),
            (DRAW,),
        ),
        Exhibit("table2", "Table 2: small", "dropout", recipe="trustcache reproduce table2 --frozen"),
        Exhibit("table3", "Table 3: more", "dropout"),
    )


def contents(*exhibits, scored=()):
    return Contents(scored, sections=[Section("paper", "The paper's", "All of it.", exhibits)], made={})


def printed(function, *shown, width=100):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    function(*shown, console)
    return console.file.getvalue()


# --- a terminal ------------------------------------------------------------------------------------------------


def test_the_overview_names_those_begun_and_those_not_with_the_commands_that_print_and_make_one(shown):
    text = printed(print_report, contents(*shown), width=200)
    begun, not_begun, by_no_command = (line for line in text.splitlines() if "table" in line)
    assert "table1 (with gaps), figure2b (with gaps)" in begun
    assert begun.endswith("trustcache report --only KEY")
    assert "table2" in not_begun
    assert "table3" in by_no_command
    assert not_begun.endswith("trustcache reproduce KEY --frozen")


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_on_a_terminal_fits_its_width_and_commands_stay_whole(shown, width):
    text = printed(print_exhibits, shown, width=width)
    assert "    trustcache train --loss ss --seed 0,1,2" in text.splitlines()
    assert max(len(line) for line in text.splitlines()) <= width
    assert text.count(GAP) == 3  # two cells and the legend
    assert "50.00 ± 1.00" in text


def test_a_wide_table_is_shortened_rather_than_cut():
    heads = [f"column-{i} of seven" for i in range(7)]
    wide = grouped_table("x", ("m",), heads, [Row(("ss",), (Cell(0.5, 0.01),) * 7)])
    assert printed(print_tables, [wide], width=80).count("50.00±1.00") == 7
    wide = grouped_table("x", ("m",), [f"c{i}" for i in range(7)], [Row(("ss",), (Cell(0.5, 0.01),) * 7)])
    assert printed(print_tables, [wide], width=70).count("50.0±1.0") == 7


def test_a_terminal_shows_an_interval_below_its_figure():
    lines = printed(print_tables, [FRUIT]).splitlines()
    (first,) = [i for i, line in enumerate(lines) if "apple" in line]
    assert "+1.50 ▲" in lines[first]
    assert "[+1.00, +2.00]" in lines[first + 1]
    assert "[+1.00, +2.00]" not in lines[first]


@pytest.mark.parametrize(("terminal", "longest"), [(True, 60), (False, 120)])
def test_a_terminal_is_kept_to_its_width_and_a_pipe_gets_room(terminal, longest):
    cells = (Cell(0.5, text="word " * 4),) * 5
    wide = Table("T", "f", ("a",), tuple(map(Column, "bcdef")), (Row(("word " * 4,), cells),))
    file = io.StringIO()
    print_tables([wide], Console(file=file, width=60, force_terminal=terminal, color_system=None))
    widths = [len(line) for line in file.getvalue().splitlines()]
    assert max(widths) <= longest
    assert max(widths) > 60 or terminal


# --- Markdown --------------------------------------------------------------------------------------------------


def test_markdown_has_tables_figures_commands_and_what_is_not_run(shown):
    text = report_markdown(contents(*shown))
    assert "| ⟨a, b⟩ | birds | ce | 50.00 ± 1.00 | – |" in text
    assert "|  |  | published | 25.00 | 12.50 ± 2.00 |" in text
    assert "```sh\ntrustcache train --loss ss --seed 0,1,2\n```" in text
    assert "![curves](figures/figure2b-1-wide.svg)" in text
    assert "- `table2`: takes dropout; `trustcache reproduce table2 --frozen`\n- `table3`: takes dropout" in text
    assert f"```sh\n{DRAW}\n```" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}


def test_markdown_has_every_cell_on_one_line_and_marks_in_bold():
    assert grid(FRUIT).splitlines() == [
        "| Name |  | Weight |",
        "| --- | --- | ---: |",
        r"| apple | red | +1.50 ▲ \[+1.00, +2.00\] |",
        "| **pear** |  | **–** |",
    ]
    text = report_markdown(Contents([], tables=[FRUIT], made={}))
    assert r"## Fruit \<1\>" in text
    assert r"n 3 · a\|b" in text
    assert r"Pears are \*light\*." in text


# --- LaTeX -----------------------------------------------------------------------------------------------------


def test_latex_has_booktabs_rules_balanced_braces_and_as_many_columns_as_cells(shown):
    text = tables_latex(contents(*shown))
    body = re.sub(r"(?<!\\)%.*", "", text)
    plain = re.sub(r"\\[{}]", "", body)
    assert plain.count("{") == plain.count("}")
    (columns,) = re.findall(r"\\begin{tabular}{(\w+)}", text)
    assert columns == "lllrr"
    rows = [line for line in body.splitlines() if line.endswith(r" \\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {4}
    assert body.index(r"\toprule") < body.index(r"\midrule") < body.index(r"\bottomrule")
    assert "% fills a gap: trustcache train --loss ss --seed 0,1,2" in text


def test_latex_escapes_what_is_special_and_sets_signs_as_mathematics():
    assert escaped("‖w‖") == r"$\Vert$w$\Vert$"
    assert escaped("50 % of a_b & c") == r"50 \% of a\_b \& c"
    assert escaped("α⁻3 ± ⟨a⟩") == r"$\alpha$$^{-}$3 $\pm$ $\langle$a$\rangle$"
    assert (
        escaped("\\ {} ~ ^ | R̂") == r"\textbackslash{} \{\} \textasciitilde{} \textasciicircum{} \textbar{} $\hat{R}$"
    )


def test_the_comparison_is_in_latex_with_the_best_in_bold_where_nothing_of_the_paper_is(scored):
    text = tables_latex(Contents([scored("mcp", auc=0.86), scored("margin", auc=0.85)]))
    row = next(line for line in text.splitlines() if line.startswith("mcp &"))
    assert r"\textbf{86.00}" in row
    assert r"\textbf{85.00}" not in text
    assert "n 1,000" in text


def test_a_caption_names_the_papers_number_and_says_nothing_twice():
    table = replace(FRUIT, title="Table 1: fruit")
    text = tables_latex(contents(Exhibit("table1", "Table 1: fruit", "", (table,))))
    (caption,) = re.findall(r"\\caption\{(.*)\}", text)
    assert caption.startswith("Table 1 of the paper: fruit")
    assert caption.count("fruit") == 1
    other = tables_latex(contents(Exhibit("table1", "Table 1: fruit", "", (replace(table, papers=False),))))
    assert r"\caption{Like Table 1 of the paper: fruit" in other


def test_each_table_has_a_label_of_its_own():
    text = tables_latex(contents(Exhibit("table1", "T", "", (FRUIT, FRUIT)), Exhibit("table-a1", "T", "", (LONG,))))
    assert re.findall(r"\\label\{(.*?)\}", text) == ["tab:table1", "tab:table1-2", "tab:table-a1"]


def test_a_long_table_goes_over_several_pages():
    text = tables_latex(contents(Exhibit("table-a1", "T", "", (LONG,))))
    assert r"\begin{longtable}{lr}" in text
    assert r"\endhead" in text


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX here")
def test_a_paper_that_reads_the_tables_compiles_with_every_one_inside_its_text(shown, scored, tmp_path):
    settings = {"head": "mlp on all", "dropout": 0.5, "epochs": 30, "hidden": 256, "patience": 6, "weight_decay": 0.01}
    methods = [scored("mcp"), *(scored("ss", s, settings=settings, oracle="vit_base_patch16_224") for s in (0, 1))]
    wide = contents(*shown, Exhibit("table-a1", "T", "", (LONG,)), scored=methods)
    intervals = Cell(0.5, 0.01, interval=(0.4, 0.6), mark="▲")
    rows = [Row((f"method {i}",), (intervals,) * 9) for i in range(1700)]
    text = tables_latex(replace(wide, tables=[FRUIT, grouped_table("x", ("m",), ["AUPR-Success"] * 9, rows)]))
    (tmp_path / "tables.tex").write_text(text, encoding="utf-8")
    preamble = "\n".join(re.findall(r"^% (\\usepackage.*)", text, re.M))
    paper = (
        f"\\documentclass{{article}}\n{preamble}\n\\begin{{document}}\nText.\n\\input{{tables}}\n\\end{{document}}\n"
    )
    (tmp_path / "paper.tex").write_text(paper, encoding="utf-8")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-1500:]
    assert "Overfull" not in done.stdout


# --- CSV -------------------------------------------------------------------------------------------------------


def test_csv_has_a_line_a_cell_with_its_state(shown):
    lines = list(csv.DictReader(io.StringIO(tables_csv(contents(*shown)))))
    assert [(line["state"], line["kind"]) for line in lines] == [
        *(("measured", "ours"), ("undefined", "ours"), ("measured", "published"), ("measured", "published")),
        *(("not run", "ours"), ("not run", "ours")),
    ]
    assert (float(lines[0]["mean"]), float(lines[0]["std"]), lines[0]["seeds"]) == (50.0, 1.0, "3")
    assert lines[0]["row"] == "⟨a, b⟩ / birds / ce"
    assert lines[4]["mean"] == ""


def test_csv_has_the_ends_of_an_interval_in_the_unit_of_its_figure():
    lines = list(csv.DictReader(io.StringIO(tables_csv(Contents([], tables=[FRUIT], made={})))))
    assert [float(lines[0][key]) for key in ("mean", "low", "high")] == pytest.approx([1.5, 1.0, 2.0])
    assert [lines[1][key] for key in ("state", "mean", "low")] == ["undefined", "", ""]


# --- the page and the files ------------------------------------------------------------------------------------


def test_the_page_marks_gaps_and_published_rows_and_escapes_names(shown):
    text = tables_page(contents(*shown))
    assert text.count('class="gap"') == 2
    assert '<tr class="published">' in text
    assert "&lt;l&gt;" in text
    assert "<l>" not in text
    assert ">trustcache train --loss ss --seed 0,1,2</pre>" in text
    assert "takes dropout; <code>trustcache reproduce table2 --frozen</code></li>" in text
    assert f">{DRAW}</pre>" in text


def test_the_page_has_every_cell_of_a_table_and_no_markup_from_data():
    html = tables_page(Contents([], tables=[FRUIT], made={}))
    assert "Fruit &lt;1&gt;" in html
    assert "<1>" not in html
    assert html.count("<tr") == 3
    assert '<tr class="marked"><th scope="row" class="name"><bdi>pear</bdi></th>' in html
    assert '<td class="number">–</td>' in html
    assert "Pears are *light*." in html


def test_without_a_section_the_page_has_none():
    assert 'id="paper"' not in tables_page(Contents([]))


@pytest.mark.figures
def test_the_files_hold_the_exhibits_and_figures_of_an_older_report_go(scored, shown, tmp_path):
    write_report(tmp_path, contents(*shown, scored=[scored()]))
    assert {p.name for p in tmp_path.iterdir()} >= {"tables.tex", "tables.csv", "figures"}
    assert "<svg" in (tmp_path / "figures" / "figure2b-1.svg").read_text()
    assert "Table 1: losses" in (tmp_path / "report.md").read_text()
    write_report(tmp_path, contents(shown[0], scored=[scored()]))
    assert not list((tmp_path / "figures").iterdir())


# --- what is best ----------------------------------------------------------------------------------------------


def test_the_best_of_our_values_in_each_block_is_bold_where_a_column_has_a_direction():
    rows = [
        Row(("a", "ce"), (Cell(0.8), Cell(0.8), Cell(0.8))),
        Row(("a", "ss"), (Cell(0.9), Cell(0.9), Cell(0.9))),
        Row(("a", "  published"), (Cell(0.99), Cell(0.01), Cell(0.99)), "published"),
        Row(("b", "ce"), (Cell(0.1), Cell(math.nan), MISSING)),
    ]
    table = grouped_table("x", ("data", "method"), ("AUC ↑", "FPR@95 ↓", "TPR"), rows)
    assert [[cell.best for cell in row.cells] for row in table.rows] == [
        [False, True, False],
        [True, False, False],
        [False, False, False],
        [False, False, False],  # a block of one has no rival
    ]
    assert r"\textbf{90.00}" in tables_latex(contents(Exhibit("table1", "T", "", (table,))))
    assert "**90.00**" in grid(table)
