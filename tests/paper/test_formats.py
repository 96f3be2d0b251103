"""The same tables as text, Markdown, LaTeX, CSV and on the page: whole, safe, gaps visible."""

from __future__ import annotations

import csv
import io
import math
import re
import shutil
import subprocess

import pytest
from rich.console import Console

from trustcache.paper.artefacts import ARTEFACTS
from trustcache.paper.evidence import Evidence
from trustcache.paper.latex import escaped, tables_latex
from trustcache.paper.long_csv import tables_csv
from trustcache.paper.markdown import paper_markdown
from trustcache.paper.shown import GAP, MISSING, Chart, Line, PaperGrid, Shown, Value
from trustcache.paper.terminal import print_overview, print_shown
from trustcache.report.page import page
from trustcache.report.write import write_report

DRAW = "trustcache train --loss tcp --seed 0,1,2"
NASTY = r"a_b&c%d#e$f{g}h\i~j^k<l>|m"


@pytest.fixture
def shown():
    """A table with every kind of line and cell, a figure, and one that is not run."""
    lines = (
        Line(("⟨a, b⟩", "birds", "ce"), (Value(0.5, 0.01), Value(math.nan)), seeds=3),
        Line(("⟨a, b⟩", "birds", "  published"), (Value(0.25), Value(0.125, 0.02)), "published"),
        Line(("⟨b, b⟩", NASTY, "ss α⁺1 α⁻3, over ‖w‖"), (MISSING, MISSING)),
    )
    command = "trustcache train --loss ss --seed 0,1,2"
    grid = PaperGrid(
        "birds · frozen", ("pair", "data", "method"), ("AUC ↑", "AUPR-Error ↓"), lines, ("A note.",), (command,)
    )
    return (
        Shown("table1", "Table 1: losses", "runs", (grid,)),
        Shown("figure2b", "Figure 2b: curves", "nothing", (), (Chart("curves", "<svg></svg>", "See."),), (DRAW,)),
        Shown("table2", "Table 2: small", "dropout", recipe="trustcache reproduce table2 --frozen"),
        Shown("table3", "Table 3: more", "dropout"),
    )


def printed(function, shown, width=100):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    function(shown, console)
    return console.file.getvalue()


# --- text ------------------------------------------------------------------------------------------------------


def test_the_overview_has_a_line_for_each_begun_and_names_what_the_others_take(shown):
    text = printed(print_overview, shown)
    assert re.search(r"table1 +losses \(1 of 2 rows, with gaps\)", text)
    assert "table2, table3: takes dropout" in text
    assert "To make one: trustcache reproduce KEY --frozen" in text
    assert re.search(r"figure2b +curves \(1 drawing, with gaps\)", text)


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_on_a_terminal_fits_its_width_and_commands_stay_whole(shown, width):
    text = printed(print_shown, shown, width)
    command = "    trustcache train --loss ss --seed 0,1,2"
    assert command in text.splitlines()
    assert max(len(line) for line in text.splitlines()) <= width
    assert text.count(GAP) == 3  # two cells and the legend
    assert "50.00 ± 1.00" in text


def test_a_wide_table_is_shortened_rather_than_cut(shown):
    wide = PaperGrid(
        "x", ("m",), tuple(f"column-{i} of seven" for i in range(7)), (Line(("ss",), (Value(0.5, 0.01),) * 7),)
    )
    text = printed(print_shown, [Shown("table1", "T", "", (wide,))], 80)
    assert text.count("50.0±1.0") == 7


# --- Markdown --------------------------------------------------------------------------------------------------


def test_markdown_has_tables_figures_commands_and_what_is_not_run(shown):
    chart = shown[1].charts[0]
    text = paper_markdown(shown, [("figures/figure2b-1.svg", chart)])
    assert "| ⟨a, b⟩ | birds | ce | 50.00 ± 1.00 | – |" in text
    assert "|  |  | published | 25.00 | 12.50 ± 2.00 |" in text
    assert "```sh\ntrustcache train --loss ss --seed 0,1,2\n```" in text
    assert "![curves](figures/figure2b-1.svg)" in text
    assert "- `table2`: takes dropout; `trustcache reproduce table2 --frozen`\n- `table3`: takes dropout" in text
    assert f"```sh\n{DRAW}\n```" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}


# --- LaTeX -----------------------------------------------------------------------------------------------------


def test_latex_has_booktabs_rules_balanced_braces_and_as_many_columns_as_cells(shown):
    text = tables_latex(shown)
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


def test_every_sign_of_the_real_tables_is_one_that_latex_knows(scored):
    runs = [scored(loss, dataset="birds", classifier="vit", oracle="vit") for loss in ("ce", "focal", "tcp", "ss")]
    evidence = Evidence(runs)
    made = [Shown(k, a.title, a.needs, a.grids(evidence)) for k, a in ARTEFACTS.items() if k not in ("theorem3.1",)]
    strange = set(re.sub(r"[\x00-\x7f]", "", tables_latex(made)))
    assert not strange


def test_a_long_table_goes_over_several_pages(shown):
    grid = PaperGrid("x", ("m",), ("c",), tuple(Line((str(i),), (Value(0.5),)) for i in range(40)))
    text = tables_latex([Shown("table-a1", "T", "", (grid,))])
    assert r"\begin{longtable}{lr}" in text
    assert r"\endhead" in text


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX here")
def test_the_document_compiles(shown, tmp_path):
    grid = PaperGrid("x", ("m",), ("c",), tuple(Line((str(i),), (Value(0.5),)) for i in range(40)))
    path = tmp_path / "tables.tex"
    path.write_text(tables_latex([*shown, Shown("table-a1", "T", "", (grid,))]), encoding="utf-8")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", path.name]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-1500:]
    assert "Overfull" not in done.stdout


# --- CSV -------------------------------------------------------------------------------------------------------


def test_csv_has_a_line_a_cell_with_its_state(shown):
    lines = list(csv.DictReader(io.StringIO(tables_csv(shown))))
    assert [(line["state"], line["kind"]) for line in lines] == [
        *(("measured", "ours"), ("undefined", "ours"), ("measured", "published"), ("measured", "published")),
        *(("not run", "ours"), ("not run", "ours")),
    ]
    assert (float(lines[0]["mean"]), float(lines[0]["std"]), lines[0]["seeds"]) == (50.0, 1.0, "3")
    assert lines[0]["row"] == "⟨a, b⟩ / birds / ce"
    assert lines[4]["mean"] == ""


# --- the page and the files ------------------------------------------------------------------------------------


def test_the_page_marks_gaps_and_published_rows_and_escapes_names(shown):
    text = page([], [], {}, shown)
    assert text.count('class="gap"') == 2
    assert '<tr class="published">' in text
    assert "&lt;l&gt;" in text
    assert "<l>" not in text
    assert "<pre>trustcache train --loss ss --seed 0,1,2</pre>" in text
    assert "takes dropout; <code>trustcache reproduce table2 --frozen</code></li>" in text
    assert f"<pre>{DRAW}</pre>" in text


def test_without_anything_of_the_paper_the_page_has_no_section():
    assert 'id="paper"' not in page([], [], {})


def test_the_files_hold_the_paper_and_figures_of_an_older_report_go(scored, shown, tmp_path):
    write_report(tmp_path, [scored()], [], {}, shown)
    assert {p.name for p in tmp_path.iterdir()} >= {"tables.tex", "paper.csv", "figures"}
    assert (tmp_path / "figures" / "figure2b-1.svg").read_text() == "<svg></svg>"
    assert "Table 1: losses" in (tmp_path / "report.md").read_text()
    write_report(tmp_path, [scored()], [], {}, shown[:1])
    assert not list((tmp_path / "figures").iterdir())
