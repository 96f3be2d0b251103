"""The HTML page: whole, offline, honest about gaps, and safe with whatever names the data brings."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.page_contents import make_contents
from trustcache.metrics.ranking import METRICS
from trustcache.protocols import PROTOCOLS
from trustcache.report.comparison import COLUMNS
from trustcache.report.contents import Contents
from trustcache.report.failures import ClassFailures, Example, Examples, Failures
from trustcache.report.render.html import page, tables_page

BIRD = ClassFailures("bird", 9, 5, np.array([4, 9]), np.array([1, 4]))
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
        end = next(i for i, e in enumerate(self.elements) if i > start and e["tag"] in ("section", "footer"))
        rows = []
        for element in self.elements[start:end]:
            if element["tag"] == "tr":
                rows.append([])
            elif element["tag"] == "td":
                rows[-1].append(element["text"])
        return [row for row in rows if row]


def document(scored, notes=(), made=None):
    return Document(tables_page(Contents(scored, notes, made=made or {"date": "2025-01-02"})))


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


def test_notes_are_visible_gaps_with_commands_as_code(scored):
    shown = document([scored()], ["3 runs: run `trustcache evaluate`"])
    (gap,) = shown.all("div", "notes")
    assert "3 runs: run trustcache evaluate" in gap["text"]
    assert [code["text"] for code in shown.all("code")] == ["trustcache evaluate"]


def test_without_gaps_none_are_shown(scored):
    assert not document([scored()]).all("div", "notes")


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
    assert "No oracle has been trained" in shown.all("div", "notes")[0]["text"]


# --- many data sets and rows -----------------------------------------------------------------------------------


def test_many_data_sets_are_listed_with_a_link_to_each(scored):
    names = [f"imagenet-c/fog/{i}" for i in range(20)]
    shown = document([scored("mcp", dataset=name) for name in names])
    links = [link for link in shown.all("a") if link["href"].startswith("#")]
    assert sorted(link["text"] for link in links) == sorted(names)
    assert [link["href"] for link in links] == [f"#{section['id']}" for section in shown.all("section")]


def test_data_sets_whose_names_look_alike_have_anchors_of_their_own(scored):
    sections = document([scored(dataset="a/b"), scored(dataset="a b"), scored(dataset="a b", classifier="c")])
    assert len({section["id"] for section in sections.all("section")}) == 3


def test_one_data_set_needs_no_contents(scored):
    assert not document([scored()]).all("nav")


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


@pytest.mark.parametrize("made", [page, tables_page])
def test_the_page_asks_nothing_of_the_network(scored, made):
    contents = make_contents([scored("mcp"), scored("ce")], notes=["see `trustcache evaluate`"], made={"date": "today"})
    text = made(contents)
    style_and_markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"https?:|//\w|url\((?!#)|@import|src=", style_and_markup)
    shown = Document(text)
    assert not any(shown.all(tag) for tag in ("link", "img", "iframe", "object", "embed"))
    assert all(re.match(r"#|(index|paper)\.html$", link["href"]) for link in shown.all("a"))
    (policy,) = [meta["content"] for meta in shown.all("meta") if "http-equiv" in meta]
    assert "default-src 'none'" in policy
    assert not re.search(r"unsafe-eval|https?:|\*|'self'", policy)


def test_no_folder_of_the_machine_is_on_the_page(scored):
    home = "/home/ann/my-data"
    command = f"trustcache train --workspace {home}/ws --weights='{home}/a b/n.pth'"
    notes = [f"{home}/ws/runs/x: remove it", f"run `{command}`"]
    contents = make_contents([scored("mcp"), scored("ce")], notes=notes, made={"data": f"{home}/images"})
    for made in (page, tables_page):
        text = made(contents)
        assert home not in text
        assert "--workspace ws --weights=" in text
        assert "n.pth" in text


def test_names_notes_and_versions_that_hold_markup_are_shown_as_text(scored):
    nasty = scored(NASTY, dataset=NASTY, classifier=NASTY, oracle=NASTY)
    rival = scored("ce", dataset=NASTY, classifier=NASTY, auc=0.1)
    other = scored(NASTY, dataset="other", settings={NASTY: NASTY})
    shown = document([nasty, rival, other], [f"note {NASTY}"], {NASTY: NASTY})
    assert any(p["text"].startswith(f"Highest AUC: 50.00, by {NASTY}") for p in shown.all("p"))
    assert not any("alert" in script["text"] for script in shown.all("script"))
    for kind in ("h2", "div", "dt", "dd", "td", "p"):
        assert any(NASTY in element["text"] for element in shown.all(kind)), kind
    assert all(set(cell) <= {"tag", "text", "class", "data-value"} for cell in shown.all("td"))


def test_names_are_isolated_from_the_words_around_them(scored):
    turned = "\u05d0\u05d1 12"
    of = {"dataset": turned, "classifier": turned}
    for made in (page, tables_page):
        shown = Document(made(make_contents([scored("mcp", **of), scored("ce", **of)], made={})))
        assert any(element["text"] == turned for element in shown.all("bdi"))
        loose = [e for kind in ("h2", "th", "td", "p", "li") for e in shown.all(kind) if turned in e["text"]]
        isolated = [e for e in shown.all("bdi") if turned in e["text"]]
        assert len(isolated) >= len({e["text"] for e in loose if e["tag"] in ("h2", "th", "td")})


def test_the_page_says_how_the_oracle_was_chosen_and_what_it_is_worth(scored):
    shown = Document(page(make_contents([scored("mcp"), scored("ce")], made={})))
    (lead,) = shown.all("p", "lead")
    assert "ce" in lead["text"]
    assert "validation AURC" in lead["text"]
    tiles = [e["text"] for e in shown.all("dt")][:4]
    assert [tile.split()[0] for tile in tiles] == ["Coverage", "Risk", "Against", "Threshold"]
    (commands,) = [e["text"] for e in shown.all("pre")]
    assert "trustcache calibrate x\ntrustcache predict x PATH" in commands


def test_the_page_says_which_data_set_the_answer_is_on_and_how_to_see_the_others(scored):
    def lead(*data):
        contents = make_contents([scored("ce", run="r", dataset=name) for name in data])
        (found,) = Document(page(contents)).all("p", "lead")
        return found["text"]

    assert "Stated on" not in lead("digits")
    assert "Stated on digits; Images, below, shows the 2 other data sets" in lead("digits", "noisy", "b")


def test_columns_of_changed_images_are_there_where_some_are_scored(scored):
    plain = [scored("mcp"), scored("ce")]
    fog = [scored(m, dataset="digits-c/fog/1", variant_of="digits", shows="fog/1") for m in ("mcp", "ce")]
    for methods, there in ((plain, False), (plain + fog, True)):
        shown = Document(page(make_contents(methods, made={})))
        assert any("changed" in head["text"] for head in shown.all("th")) == there


def test_examples_are_pictures_inside_the_page_with_what_they_are(scored):
    contents = make_contents([scored("mcp"), scored("ce")], made={})
    one = Example("bird/1.png", "bird", "<cat>", False, True, 2.5, 0.9, b"RIFF")
    gone = Example("bird/2.png", "bird", "bird", True, False, -2.5, 0.4, b"")
    failing = Failures(contents.answers[0], 0, [BIRD], [], Examples([one], [gone]))
    shown = Document(page(replace(contents, failures=[failing])))
    (picture,) = shown.all("img")
    assert picture["src"] == "data:image/webp;base64,UklGRg=="
    assert picture["alt"] == "bird/1.png"
    texts = [" ".join(e["text"].replace("\xa0", " ").split()) for e in shown.all("li")]
    listed = [text for text in texts if "doubted;" in text or "trusted;" in text]
    assert listed == ["✗ bird taken for <cat> 2.5 trusted; mcp 90.0 %", "bird/2.png✓ bird −2.5 doubted; mcp 40.0 %"]


def test_without_images_there_is_no_part_for_them(scored):
    contents = make_contents([scored("mcp"), scored("ce")], made={})
    failing = Failures(contents.answers[0], 0, [BIRD], [], Examples())
    text = page(replace(contents, failures=[failing]))
    assert 'id="pictures"' not in text
    assert "44.4" not in text  # risk is of the trusted
    assert "25.0 <small>" in text


def test_both_colour_schemes_are_served(scored):
    text = page(Contents([scored()]))
    assert "prefers-color-scheme: dark" in text
    assert "color-scheme: light dark" in text
