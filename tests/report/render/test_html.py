"""The HTML page: whole, offline, honest about gaps, and safe with whatever names the data brings."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import pytest

from trustcache.metrics.ranking import METRICS
from trustcache.protocols import PROTOCOLS
from trustcache.report.comparison import COLUMNS
from trustcache.report.contents import Contents
from trustcache.report.render.html import page

NASTY = "<script>alert('x')</script>&\"'"
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Document(HTMLParser):
    """A page as a flat list of elements with their attributes, classes and text; checks that tags nest."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})
        if tag not in VOID:
            self.open.append((tag, len(self.elements) - 1))

    def handle_endtag(self, tag):
        opened, _ = self.open.pop()
        assert opened == tag, f"<{opened}> closed by </{tag}>"

    def handle_data(self, data):
        self.texts.append(data)
        for _, index in self.open:
            self.elements[index]["text"] += data

    def all(self, tag, kind=""):
        return [e for e in self.elements if e["tag"] == tag and kind in ["", *(e.get("class") or "").split()]]

    def rows(self):
        """The body cells of the first section's table, a list of texts each."""
        start = next(i for i, e in enumerate(self.elements) if e["tag"] == "section")
        end = next(i for i, e in enumerate(self.elements) if i > start and e["tag"] == "figure")
        rows = []
        for element in self.elements[start:end]:
            if element["tag"] == "tr":
                rows.append([])
            elif element["tag"] == "td":
                rows[-1].append(element["text"])
        return [row for row in rows if row]


def document(scored, notes=(), made=None):
    return Document(page(Contents(scored, notes, made=made or {"date": "2025-01-02"})))


# --- what it holds ---------------------------------------------------------------------------------------------


def test_every_row_of_the_table_shows_what_the_records_say(scored):
    several = [scored("ss", s, settings={"alpha_pos": 1.0, "alpha_neg": 3.0}, auc=0.73 + s / 100) for s in (0, 1)]
    rows = document([scored("mcp", auc=0.8596, tpr=math.nan), *several]).rows()
    assert rows[0][:5] == ["mcp", "none", "none", "1", "85.96"]
    assert rows[0][4 + COLUMNS.index("tpr")] == "–"
    assert rows[1][:5] == ["ss α⁻3", "mlp", "frozen", "2", "73.50 ± 0.71"]


def test_the_best_value_is_marked_and_only_it(scored):
    same = {key: 0.5 for key in COLUMNS if key != "aurc"}
    shown = document([scored("ce", **same, aurc=0.04), scored("ss", **same, aurc=0.05)])
    marked = [cell["text"] for cell in shown.all("td", "best")]
    assert marked.count("4.00") == 1
    assert "5.00" not in marked


def test_the_classifiers_own_confidence_stands_out_as_what_others_must_beat(scored):
    shown = document([scored("mcp"), scored("ce"), scored("ss")])
    (baseline,) = shown.all("tr", "baseline")
    assert baseline["text"].startswith("mcp")


def test_the_section_says_which_method_ranks_best_and_what_costs_nothing(scored):
    text = document([scored("mcp", auc=0.86), scored("ce", auc=0.9)]).all("section")[0]["text"]
    assert re.search(r"90.00, by ce, frozen\. .*\(mcp\) reaches 86.00", text)


def test_the_section_names_the_oracle_where_there_are_several(scored):
    shown = document([scored("ce", auc=0.9, oracle="vit"), scored("ce", auc=0.8, oracle="resnet")])
    assert "by ce, frozen, vit." in shown.all("section")[0]["text"]


def test_the_section_says_when_nothing_trained_beats_the_classifiers_own_confidence(scored):
    text = document([scored("mcp", auc=0.86), scored("ce", auc=0.73)]).all("section")[0]["text"]
    assert "No trained method" in text


def test_each_section_has_a_curve_figure_and_a_histogram_a_method_of_its_first_seed(scored):
    methods = [scored("ss", seed, run=f"r{seed}") for seed in (2, 1)]
    methods[1].histogram["TP"][:] = 1234
    shown = document([*methods, scored("mcp")])
    assert len(shown.all("svg")) == 2 + 2  # a clip within the chart is an svg as well
    assert any("TP 4,936" in text for text in shown.texts)


def test_histograms_stay_with_their_own_data_set(scored):
    one, other = scored(dataset="a"), scored(dataset="b")
    other.histogram["TP"][:] = 1234
    first, second = (section["text"] for section in document([one, other]).all("section"))
    assert "TP 4,936" not in first
    assert "TP 4,936" in second


def test_notes_are_visible_gaps_with_commands_as_code(scored):
    shown = document([scored()], ["3 runs: run `trustcache evaluate`"])
    (gap,) = shown.all("aside")
    assert "3 runs: run trustcache evaluate" in gap["text"]
    assert [code["text"] for code in shown.all("code")] == ["trustcache evaluate"]


def test_without_gaps_none_are_shown(scored):
    assert not document([scored()]).all("aside")


def test_the_glossary_explains_every_column_and_the_protocol(scored):
    (footer,) = document([scored()]).all("footer")
    for key in COLUMNS:
        assert METRICS[key].meaning in footer["text"]
    assert PROTOCOLS["equations"].meaning in footer["text"]


def test_how_it_was_made_is_told_with_date_versions_and_protocol(scored):
    shown = document([scored()], made={"date": "2025-01-02", "torch": "2.9.1"})
    terms = dict(zip((e["text"] for e in shown.all("dt")), (e["text"] for e in shown.all("dd")), strict=True))
    assert terms["date"] == "2025-01-02"
    assert terms["torch"] == "2.9.1"
    assert terms["protocol"] == "equations"


def test_two_protocols_get_two_sections_that_each_name_theirs(scored):
    sections = document([scored(), scored(protocol="released")]).all("section")
    assert ["protocol equations" in s["text"] for s in sections] == [True, False]
    assert ["protocol released" in s["text"] for s in sections] == [False, True]


def test_the_contents_tell_apart_what_shares_a_name_and_compare_at_a_glance(scored):
    released = scored("ce", protocol="released", n=5000, auc=0.7)
    shown = document([scored("mcp", auc=0.6), scored("ss", auc=0.9), released])
    (contents,) = shown.all("nav")
    assert "digits\nmlp\nequations\n1,000\n80.00\n60.00\n90.00" in contents["text"]
    assert "digits\nmlp\nreleased\n5,000\n80.00\n–\n70.00" in contents["text"]


def test_with_nothing_scored_the_page_says_so_and_still_shows_the_gaps():
    shown = document([], ["No oracle has been trained"])
    assert "Nothing is scored yet." in "".join(shown.texts)
    assert "No oracle has been trained" in shown.all("aside")[0]["text"]


# --- many data sets and rows -----------------------------------------------------------------------------------


def test_many_data_sets_are_listed_with_a_link_to_each(scored):
    names = [f"imagenet-c/fog/{i}" for i in range(20)]
    shown = document([scored("mcp", dataset=name) for name in names])
    links = shown.all("a")
    assert sorted(link["text"] for link in links) == sorted(names)
    assert [link["href"] for link in links] == [f"#{section['id']}" for section in shown.all("section")]


def test_data_sets_whose_names_look_alike_have_anchors_of_their_own(scored):
    sections = document([scored(dataset="a/b"), scored(dataset="a b"), scored(dataset="a b", classifier="c")])
    assert len({section["id"] for section in sections.all("section")}) == 3


def test_one_data_set_needs_no_contents(scored):
    assert not document([scored()]).all("nav")


@pytest.mark.parametrize(("count", "is_open"), [(1, True), (20, False)])
def test_histograms_start_folded_only_where_there_are_many_data_sets(scored, count, is_open):
    details = document([scored(dataset=f"d{i}") for i in range(count)]).all("details")
    assert {"open" in element for element in details} == {is_open}


def test_sixty_rows_are_sixty_rows(scored):
    assert len(document([scored(settings={"depth": i}) for i in range(60)]).rows()) == 60


def test_columns_sort_by_full_precision_from_the_good_end(scored):
    shown = document([scored(auc=1 / 3, fpr_at_95_tpr=math.nan)])
    heads = {head["text"]: head.get("data-good") for head in shown.all("th")}
    assert heads["AUC\xa0↑"] == "high"
    assert heads["FPR@95\xa0↓"] == "low"
    assert heads["Method"] is None
    values = [cell.get("data-value") for cell in shown.all("td")]
    assert values[4] == repr(1 / 3)
    assert values[4 + COLUMNS.index("fpr_at_95_tpr")] == ""


# --- safety ----------------------------------------------------------------------------------------------------


def test_the_page_asks_nothing_of_the_network(scored):
    text = page(Contents([scored("mcp"), scored("ce")], ["see `trustcache evaluate`"], made={"date": "today"}))
    assert not re.search(r"https?:|//\w|url\(|@import|src=", text)
    shown = Document(text)
    assert not any(shown.all(tag) for tag in ("link", "img", "iframe", "object", "embed"))
    assert all(link["href"].startswith("#") for link in shown.all("a"))
    policy = [meta["content"] for meta in shown.all("meta") if "http-equiv" in meta]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"]


def test_names_notes_and_versions_that_hold_markup_are_shown_as_text(scored):
    nasty = scored(NASTY, dataset=NASTY, classifier=NASTY, oracle=NASTY, training=NASTY, protocol=NASTY)
    rival = scored("ce", dataset=NASTY, classifier=NASTY, protocol=NASTY, auc=0.1)
    other = scored(NASTY, dataset="other", settings={NASTY: NASTY})
    shown = document([nasty, rival, other], [f"note {NASTY}"], {NASTY: NASTY})
    assert any(p["text"].startswith(f"Highest AUC: 50.00, by {NASTY}") for p in shown.all("p"))
    scripts = shown.all("script")
    assert len(scripts) == 1
    assert "alert" not in scripts[0]["text"]
    for kind in ("h2", "aside", "dt", "dd", "td", "p", "title"):
        assert any(NASTY in element["text"] for element in shown.all(kind)), kind
    assert all(set(cell) <= {"tag", "text", "class", "data-value"} for cell in shown.all("td"))


def test_both_colour_schemes_are_served(scored):
    text = page(Contents([scored()]))
    assert "prefers-color-scheme: dark" in text
    assert "color-scheme: light dark" in text
