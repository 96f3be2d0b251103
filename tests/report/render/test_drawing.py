"""Charts as files: at two widths, for print, drawn once."""

from __future__ import annotations

import csv
import re
import xml.etree.ElementTree as ET

import pytest

from trustcache.cache.records import read_record, write_record
from trustcache.report.charts import Chart, curve_rows, heat_map, lines, reliability, roc, score_histogram
from trustcache.report.figures import confidence_histogram, risk_coverage_chart
from trustcache.report.render.drawing import Drawings, draw_figures, inline

pytestmark = pytest.mark.figures

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "\x1b\udce9</script><script>alert(1)</script>&\"'"


@pytest.fixture
def charts(scored):
    bar = {"lo": 0.0, "hi": 1.0, "share": 3.0, "what": "right"}
    rates = [{"m": "ce", "i": i, "fpr": i, "tpr": 2 * i, "dot": False} for i in range(3)]
    point = {"m": "ce", "confidence": 50, "accuracy": 40, "low": 30, "high": 50}
    return {
        "risk": risk_coverage_chart([scored("mcp"), scored(NASTY)]),
        "confidences": confidence_histogram(scored()),
        "roc": Chart(roc(["ce"]), rates, {"fpr": 1.0, "tpr": 2.0}),
        "histogram": Chart(score_histogram(), [bar], {"threshold": 0.5}),
        "reliability": Chart(reliability(["ce"]), [point]),
        "heat": Chart(heat_map("risk"), [{"row": "fog", "column": "1", "value": 3.0}]),
        "lines": Chart(lines(["ce"], "z", "loss"), curve_rows("ce", x=[0.0, 1.0], y=[1.0, 2.0])),
    }


def test_every_chart_is_drawn_at_both_widths_as_svg_and_pdf_with_its_numbers(charts, tmp_path):
    draw_figures(tmp_path, charts)
    for name in charts:
        widths = []
        for suffix in ("", "-wide"):
            root = ET.parse(tmp_path / f"{name}{suffix}.svg").getroot()
            widths.append(float(root.get("width")))
            assert any(True for _ in root.iter(f"{SVG}path"))
            assert (tmp_path / f"{name}{suffix}.pdf").read_bytes().startswith(b"%PDF")
        assert widths == pytest.approx([240, 500], abs=2)


def test_the_same_chart_is_the_same_svg_whatever_was_drawn_before(charts, tmp_path):
    few = {name: charts[name] for name in ("risk", "confidences")}
    for folder in ("one", "two"):
        draw_figures(tmp_path / folder, few)
    drawn = [path.read_bytes() for path in sorted((tmp_path / "one").glob("*.svg"))]
    assert drawn == [path.read_bytes() for path in sorted((tmp_path / "two").glob("*.svg"))]
    assert any(b"url(#d0)" in svg for svg in drawn)


def test_files_for_print_do_not_take_the_colour_of_what_surrounds_them(charts, tmp_path):
    draw_figures(tmp_path, charts)
    assert not [path.name for path in tmp_path.glob("*.svg") if "currentColor" in path.read_text(encoding="utf-8")]
    assert "currentColor" in inline({"risk": charts["risk"].sized(480, 300)})["risk"]


def test_the_numbers_are_those_that_are_drawn(charts, tmp_path):
    draw_figures(tmp_path, charts)
    with (tmp_path / "risk.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["m"] == "mcp"]
    drawn = [row for row in charts["risk"].rows if row["m"] == "mcp"]
    assert [(float(row["coverage"]), float(row["risk"])) for row in rows] == [(r["coverage"], r["risk"]) for r in drawn]


def test_a_name_that_begins_as_a_formula_is_a_text_in_the_numbers(tmp_path):
    chart = Chart(lines(["=SUM(1)"], "z", "loss"), curve_rows("=SUM(1)", x=[0.0, 1.0], y=[1.0, 2.0]))
    draw_figures(tmp_path, {"lines": chart})
    cells = [cell for row in csv.reader((tmp_path / "lines.csv").read_text().splitlines()) for cell in row]
    assert "'=SUM(1)" in cells
    assert not [cell for cell in cells if cell.startswith("=")]


def test_what_is_drawn_already_stays_and_what_changed_is_drawn_anew(charts, tmp_path):
    few = {name: charts[name] for name in ("lines", "roc", "heat")}
    draw_figures(tmp_path, few)
    before = {path.name: path.stat().st_ino for path in tmp_path.glob("*.svg")}
    changed = few | {"heat": Chart(heat_map("risk"), [{"row": "fog", "column": "1", "value": 4.0}])}
    (tmp_path / "roc.pdf").unlink()
    draw_figures(tmp_path, changed)
    drawn = {path.name for path in tmp_path.glob("*.svg") if path.stat().st_ino != before[path.name]}
    assert drawn == {"heat.svg", "heat-wide.svg", "roc.svg", "roc-wide.svg"}
    assert (tmp_path / "roc.pdf").is_file()


def test_figures_that_are_no_more_are_removed(charts, tmp_path):
    draw_figures(tmp_path, {"roc": charts["roc"]})
    draw_figures(tmp_path, {})
    assert not list(tmp_path.iterdir())


def test_a_page_draws_again_only_what_changed(charts, tmp_path):
    kept = tmp_path / "drawings.json"
    specs = {name: charts[name].sized(480, 300) for name in ("risk", "roc")}
    first = inline(specs, kept)
    assert first == inline(specs)
    text = kept.read_text()
    write_record(kept, Drawings(dict.fromkeys(read_record(kept, Drawings, "").svg, "<svg>kept</svg>")))
    changed = inline({"risk": specs["risk"], "roc": charts["heat"].sized(480, 300)}, kept)
    assert changed["risk"] == "<svg>kept</svg>"
    assert changed["roc"] == inline({"roc": charts["heat"].sized(480, 300)})["roc"]
    kept.write_text(text.replace("<svg", "<gvs", 1))  # damaged: all is drawn anew
    assert inline(specs, kept) == first


@pytest.mark.parametrize("damage", ["{", "[]", '{"risk.svg": 3}'])
def test_a_damaged_list_of_what_is_drawn_costs_only_time(charts, tmp_path, damage):
    draw_figures(tmp_path, {"roc": charts["roc"]})
    (tmp_path / "drawn.json").write_text(damage)
    draw_figures(tmp_path, {"roc": charts["roc"]})
    assert (tmp_path / "roc.svg").is_file()


def test_nothing_is_cut_at_the_edge_of_roc_and_scores_whose_curves_end_there(charts):
    drawn = inline({name: charts[name].sized(480, 300) for name in ("risk", "roc", "histogram")})
    assert "clip-path" in drawn["risk"], "a spike reaches beyond its axis"
    assert "clip-path" not in drawn["roc"]
    (top,) = re.findall(r'mark-rect.*?<path[^>]* d="M[\d.]+,([\d.]+)h', drawn["histogram"])
    assert float(top) >= 5, "the highest bar ends below the upper edge"


def test_names_stay_text(charts):
    root = ET.fromstring(
        f'<svg xmlns="http://www.w3.org/2000/svg">{inline({"risk": charts["risk"].sized(480, 300)})["risk"]}</svg>'
    )
    assert not list(root.iter(f"{SVG}script"))
    assert any("</script><" in (text.text or "") for text in root.iter(f"{SVG}text"))
