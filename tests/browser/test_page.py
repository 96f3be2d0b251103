"""The page in a browser: what a slider, a click or a link moves, and that every number is the metrics' own."""

from __future__ import annotations

import math
import re

import pytest

from tests.page_contents import CALIBRATED, Reader, make_contents
from trustcache.metrics.calibration import wilson
from trustcache.metrics.ranking import trust_metrics
from trustcache.metrics.selective import at_target, working_point
from trustcache.report.render.html import page

PHONE = {"viewport": {"width": 390, "height": 844}}
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\u202e'\"{{7*7}}"


def record_of(two, method="ss", dataset="digits", seed=0, classifier="net"):
    return next(
        one.record
        for one in two
        if (one.record.method, one.record.dataset, one.record.classifier) == (method, dataset, classifier)
        and one.record.seed in (seed, None)
    )


def step(tab):
    """The threshold and the figures shown: by row the counts of each share, and the four counts."""
    return tab.evaluate("""() => ({
        threshold: method().t[state.step],
        shown: [...document.querySelectorAll('#figures tbody tr:not([hidden])')].map(row =>
            [...row.querySelectorAll('td')].map(cell => cell.textContent.trim())),
        counts: ['tp', 'fp', 'fn', 'tn'].map(id => +document.getElementById(id).textContent.replace(',', '')),
        spoken: document.getElementById('slider').getAttribute('aria-valuetext'),
    })""")


def shares(point, samples):
    right, bad = int(samples.correct.sum()), int((~samples.correct).sum())
    pairs = (point.trusted, len(samples.z)), (point.wrong, point.trusted)
    return [*pairs, (point.trusted - point.wrong, right), (bad - point.wrong, bad)]


def text(part, whole):
    if not whole:
        return "–"
    low, high = wilson(part, whole)
    return f"{100 * part / whole:.1f} % {100 * low:.1f} to {100 * high:.1f}"


def agree(shown, record, two):
    """Assert that what is shown is what the metrics say of these very scores at the threshold shown."""
    samples = Reader().read(record)
    point = working_point(samples.z, samples.correct, shown["threshold"])
    assert shown["shown"][0] == [text(*pair) for pair in shares(point, samples)]
    right, bad = int(samples.correct.sum()), int((~samples.correct).sum())
    tp = point.trusted - point.wrong
    assert shown["counts"] == [tp, point.wrong, right - tp, bad - point.wrong]
    mcp = Reader().read(record_of(two, "mcp", record.dataset, classifier=record.classifier))
    if point.trusted and record.method != "mcp":
        same = at_target(mcp.z, mcp.correct, "coverage", point.coverage)
        assert shown["shown"][1] == [text(*pair) for pair in shares(same, mcp)]
    assert f"coverage {100 * point.coverage:.1f} %" in shown["spoken"]
    return point


def lines_now(tab):
    """Where the line of the threshold stands in each chart that shows it."""
    until(tab, "['risk', 'roc', 'histogram'].every(name => charts[name]?.view)")
    return tab.evaluate("""async () => {
        const found = [];
        for (const name of ['risk', 'roc', 'histogram']) {
            await charts[name].view.runAsync();
            found.push(Object.values(charts[name].view.data('now')[0]).map(value => Math.round(1000 * value)).join());
        }
        return found;
    }""")


def until(tab, holds):
    """Wait for an expression; the page's policy forbids Playwright's own way."""
    for _ in range(200):
        if tab.evaluate(holds):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(holds)


def scroll_to_charts(tab):
    tab.locator("#chart-histogram").scroll_into_view_if_needed()
    tab.wait_for_selector("#chart-histogram svg.marks")


def test_the_page_begins_with_the_answers_oracle_data_and_threshold(tab, files, two):
    opened = tab(files[0])
    shown = step(opened)
    assert shown["threshold"] == CALIBRATED
    agree(shown, record_of(two), two)
    assert opened.locator("#presets [aria-pressed=true]").inner_text() == "calibrated"


def test_every_step_of_the_slider_shows_what_the_metrics_say(tab, files, two):
    opened = tab(files[0])
    slider = opened.locator("#slider")
    last = int(slider.get_attribute("max"))
    coverages = []
    for k in range(0, last + 1, 7):
        slider.evaluate("(slider, k) => { slider.value = k; slider.dispatchEvent(new Event('input')); }", k)
        coverages.append(agree(step(opened), record_of(two), two).coverage)
    assert coverages == sorted(coverages)
    slider.press("End")
    assert agree(step(opened), record_of(two), two).coverage == 1


def test_at_zero_the_shares_are_the_tables_own_tpr_and_tnr(tab, files, two):
    opened = tab(files[0])
    opened.get_by_role("button", name="z > 0").click()
    samples = Reader().read(record_of(two))
    found = trust_metrics(samples.z, samples.correct)
    cells = step(opened)["shown"][0]
    assert cells[2].startswith(f"{100 * found['tpr']:.1f} %")
    assert cells[3].startswith(f"{100 * found['tnr']:.1f} %")


@pytest.mark.parametrize(
    ("preset", "kind", "target"),
    [("risk ≤ 5 %", "precision", 0.95), ("coverage 90 %", "coverage", 0.9), ("TPR 95 %", "tpr", 0.95)],
)
def test_presets_are_the_working_points_of_these_targets(tab, files, two, preset, kind, target):
    opened = tab(files[0])
    opened.get_by_role("button", name=preset).click()
    point = agree(step(opened), record_of(two), two)
    samples = Reader().read(record_of(two))
    wanted = at_target(samples.z, samples.correct, kind, target)
    assert (point.trusted, point.wrong) == (wanted.trusted, wanted.wrong)


def test_the_script_rounds_as_the_page_does_of_which_python_wrote_the_rest(tab, files):
    opened = tab(files[0])
    shares = [41 / 400, 0.1025, 0.0075, 0.3575, 1 / 3, 0.9975, 0.99951, 1.0, 0.0, 0.10250000000000002]
    assert opened.evaluate("list => list.map(percent)", shares) == [f"{100 * share:.1f} %" for share in shares]
    thresholds = [1.0625, 12.125, 12.375, -12.125, 0.03125, 1 / 3, 2.0**20 + 0.5, 9.9995, 2.0**-30, 0.0]
    shown = opened.evaluate("list => list.map(threshold)", thresholds)
    assert [float(text.replace("−", "-")) for text in shown] == [float(f"{t:.4g}") for t in thresholds]


def test_arrow_keys_move_the_line_through_every_chart(tab, files):
    opened = tab(files[0])
    scroll_to_charts(opened)
    before, spoken = lines_now(opened), step(opened)["spoken"]
    opened.locator("#slider").press("ArrowRight")
    after = lines_now(opened)
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert step(opened)["spoken"] != spoken


def test_a_tick_adds_a_curve_to_both_charts_and_takes_it_away(tab, files):
    opened = tab(files[0])
    scroll_to_charts(opened)
    names = "() => ['risk', 'roc'].map(n => new Set(specs[n]().rows.map(row => row.m)).has('knn'))"
    assert opened.evaluate(names) == [True, True]  # the best of its family
    opened.get_by_role("checkbox", name="Draw the curve of knn").uncheck()
    assert opened.evaluate(names) == [False, False]
    until(opened, "!document.querySelector('#chart-risk').textContent.includes('knn')")


def test_at_first_the_best_of_every_family_is_drawn_with_mcp_and_the_ideal(tab, files):
    opened = tab(files[0])
    drawn = opened.evaluate("[...new Set(specs.risk().rows.map(row => row.m))]")
    assert {name.partition(",")[0] for name in drawn} == {"mcp", "knn", "ss", "ce", "ideal"}


def test_legends_stay_inside_their_charts_whatever_the_names(tab, files):
    opened = tab(files[0], **PHONE)
    scroll_to_charts(opened)
    opened.evaluate("page.units[0].methods.forEach(m => m.name += ' with settings of many letters and digits')")
    over = opened.evaluate("""async () => {
        const found = {};
        for (const name of ['risk', 'roc', 'reliability']) {
            see(name);
            await draw(name);
            const holder = document.getElementById(`chart-${name}`), edge = holder.getBoundingClientRect().right;
            found[name] = [...holder.querySelectorAll('.role-legend-label text')].map(text =>
                text.getBoundingClientRect().right - edge);
        }
        return found;
    }""")
    assert all(over.values())
    assert max(value for values in over.values() for value in values) <= 0


def test_a_method_without_points_is_not_in_the_legend_of_the_reliability(tab, files):
    opened = tab(files[0])
    names = "specs.reliability().spec.layer.find(one => one.encoding.shape).encoding.shape.scale.domain"
    before = opened.evaluate(names)
    opened.evaluate("Object.values(method().on).forEach(one => one.rel = [])")
    assert opened.evaluate(names) == [name for name in before if name == "mcp"]
    assert len(before) == 2


def test_a_name_in_the_table_chooses_the_oracle_at_the_same_coverage(tab, files, two):
    opened = tab(files[0])
    before = opened.evaluate("on().c[state.step] / on().n")
    opened.get_by_role("button", name=re.compile("^ce")).click()
    shown = step(opened)
    point = agree(shown, record_of(two, "ce"), two)
    assert abs(point.coverage - before) < 0.02
    assert opened.locator("#oracle").evaluate("select => select.selectedOptions[0].text").startswith("ce")
    assert "probability" not in opened.locator("#threshold").inner_text()
    opened.get_by_role("button", name="mcp", exact=True).click()
    odds = step(opened)["threshold"]
    assert opened.locator("#threshold").inner_text().endswith(f"{100 / (1 + math.exp(-odds)):.1f} %")


def test_a_cell_of_the_heat_map_chooses_the_data_for_everything_and_keeps_the_threshold(tab, files, two):
    opened = tab(files[0])
    opened.get_by_role("button", name=re.compile("digits-c.fog.5")).click()
    shown = step(opened)
    assert shown["threshold"] == CALIBRATED
    point = agree(shown, record_of(two, dataset="digits-c/fog/5"), two)
    cell = opened.get_by_role("button", name=re.compile("digits-c.fog.5"))
    assert cell.get_attribute("aria-pressed") == "true"
    assert cell.inner_text() == f"{100 * point.risk:.1f}"
    assert opened.locator("#data").evaluate("select => select.selectedOptions[0].text") == "digits-c/fog/5"
    assert cell.evaluate("cell => cell === document.activeElement")  # so that a keyboard goes on from there


def test_the_heat_map_shows_the_metrics_of_each_data_set(tab, files, two):
    opened = tab(files[0])
    assert opened.locator("#heat thead th").all_inner_texts()[1] == "no severity", "of two data sets one is changed"
    assert opened.evaluate("heatDomain([{ value: .269 }, { value: .274 }])") == pytest.approx([0.2215, 0.3215])
    opened.locator("#measure").select_option("difference")
    fog = record_of(two, dataset="digits-c/fog/1")
    mcp = record_of(two, "mcp", "digits-c/fog/1")
    points = 100 * (fog.metrics["auc"] - mcp.metrics["auc"])
    cell = opened.get_by_role("button", name=re.compile("digits-c.fog.1"))
    assert cell.inner_text() == f"{'−' if points < 0 else '+'}{abs(points):.1f}"


def test_a_link_leads_to_oracle_data_and_threshold(tab, files, two):
    opened = tab(files[0], "#oracle=net-ce-frozen-seed0&data=digits-c/fog/1&threshold=0.5")
    shown = step(opened)
    assert abs(shown["threshold"] - 0.5) < 0.1
    agree(shown, record_of(two, "ce", "digits-c/fog/1"), two)
    first = opened.evaluate("location.hash")
    opened.locator("#slider").press("ArrowLeft")
    until(opened, f"location.hash !== {first!r}")
    link = opened.evaluate("location.hash")
    again = tab(files[0], link)
    assert step(again) == step(opened)


def test_a_link_to_what_is_not_there_leads_to_the_answer(tab, files):
    assert step(tab(files[0], "#oracle=nobody&data=%ZZ&threshold=x"))["threshold"] == CALIBRATED


def test_the_picker_changes_the_classifier_everywhere(tab, files, two):
    opened = tab(files[0])
    opened.locator("#classifier").select_option("1")
    agree(step(opened), record_of(two, classifier="other"), two)
    for part in ("answer", "methods"):
        assert opened.locator(f"#{part} .unit:visible").count() == 1
    until(opened, "new URLSearchParams(location.hash.slice(1)).get('classifier') === 'other'")


def test_a_heading_sorts_from_its_good_end_and_back(tab, files):
    opened = tab(files[0])
    opened.locator("#methods .unit:visible .fold:visible").first.click() if opened.locator(
        "#methods .unit:visible .fold:visible"
    ).count() else None
    head = opened.locator("#methods .unit:visible th", has_text="AURC").first
    values = "() => families().map(body => +body.rows[0].cells[5].dataset.value)"
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    found = opened.evaluate(values)
    assert found == sorted(found)
    head.locator("button").press("Enter")
    assert opened.evaluate(values) == found[::-1]


def test_the_search_shows_what_it_finds_and_says_how_many(tab, files):
    opened = tab(files[0])
    opened.locator("#search").fill("knn")
    rows = opened.locator("#methods .unit:visible tbody tr:visible")
    assert [row.split()[0] for row in rows.locator("th").all_inner_texts()] == ["knn"]
    assert opened.locator("#found").inner_text() == "1 found"


def test_figures_are_saved_as_svg_png_and_csv(tab, files, tmp_path):
    opened = tab(files[0])
    starts = {"svg": b"<svg", "png": b"\x89PNG", "csv": b"m,coverage,risk"}
    for kind, start in starts.items():
        with opened.expect_download() as waiting:
            opened.get_by_role("button", name=f"Save risk as {kind.upper()}").click()
        path = tmp_path / f"risk.{kind}"
        waiting.value.save_as(path)
        assert path.read_bytes().startswith(start)
    assert b"currentColor" not in (tmp_path / "risk.svg").read_bytes()


def test_without_a_script_the_answers_figures_and_charts_are_there(tab, files, two):
    opened = tab(files[0], java_script_enabled=False)
    samples = Reader().read(record_of(two))
    point = working_point(samples.z, samples.correct, CALIBRATED)
    cells = opened.locator("#figures tbody tr").first.locator("td").all_inner_texts()
    assert [" ".join(cell.replace("\xa0", " ").split()) for cell in cells] == [text(*p) for p in shares(point, samples)]
    for name in ("risk", "roc", "histogram", "reliability"):
        assert opened.locator(f"#chart-{name} svg").first.is_visible()
    assert not opened.locator("#slider").is_visible()
    assert opened.locator("#methods tbody tr").first.is_visible()


def test_in_print_everything_is_open_and_controls_are_gone(tab, files):
    opened = tab(files[0])
    opened.emulate_media(media="print")
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.locator("details:not([open])").count() == 0
    controls = opened.locator("#measure, #oracle, #data, input, .saves button, .by-hand").all()
    assert [one.get_attribute("id") or one.inner_text() for one in controls if one.is_visible()] == []
    assert opened.locator("#heat-caption").is_visible(), "which says what the select chose"
    whole = opened.locator("table").evaluate_all("all => all.map(one => getComputedStyle(one).breakInside)")
    assert {*whole} == {"avoid"}
    opened.wait_for_selector("#chart-reliability svg.marks")


@pytest.mark.parametrize("screen", [{}, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("which", [0, 1], ids=["page", "tables"])
def test_axe_finds_no_barrier_and_nothing_scrolls_sideways(tab, files, screen, which):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    opened = tab(files[which], **screen)
    for details in opened.locator("details").all():
        details.evaluate("one => { one.open = true; }")
    scroll_to_charts(opened) if which == 0 else opened.wait_for_selector("#paper .chart svg.marks")
    for scheme in ("light", "dark"):
        opened.emulate_media(color_scheme=scheme)
        found = axe.Axe().run(opened)
        assert found.violations_count == 0, found.generate_report()
        assert opened.evaluate("document.documentElement.scrollWidth") <= opened.viewport_size["width"]


def test_a_table_of_the_second_page_sorts_and_its_figures_are_drawn_when_opened(tab, files):
    opened = tab(files[1])
    table = opened.locator("section table.sortable, section .wide table").first
    head = table.get_by_role("button", name="AUC ↑")
    values = "table => [...table.tBodies[0].rows].map(row => +row.cells[4].dataset.value)"
    head.click()
    found = table.evaluate(values)
    assert found == sorted(found, reverse=True)
    head.click()
    assert table.evaluate(values) == found[::-1]
    assert opened.locator("#paper .chart svg.marks").count() == 0
    opened.locator("#paper summary").click()
    opened.wait_for_selector("#paper .chart svg.marks")


def test_hostile_names_stay_text(tab, scored, tmp_path):
    of = {"dataset": HOSTILE, "classifier": HOSTILE, "oracle": HOSTILE}
    methods = [scored("mcp", **(of | {"oracle": None})), scored(HOSTILE, run=HOSTILE, **of)]
    file = tmp_path / "index.html"
    file.write_text(page(make_contents(methods, notes=[HOSTILE], made={HOSTILE: HOSTILE})), encoding="utf-8")
    opened = tab(file)
    scroll_to_charts(opened)
    assert opened.locator("img").count() == 0
    assert "\u202e" not in opened.locator("body").inner_text()
    assert "<img src=x" in opened.locator("#answer").inner_text()
    assert opened.locator("#oracle option").all_inner_texts()[1].startswith("<img src=x")


def test_a_link_to_an_exhibit_opens_it(tab, files):
    exhibit = tab(files[1], "#paper-figure2b").locator("#paper-figure2b")
    assert exhibit.evaluate("one => one.open && one.getBoundingClientRect().top < innerHeight")
    for fragment in ("", "#paper", "#%ZZ"):
        assert tab(files[1], fragment).locator("details[open]#paper-figure2b").count() == 0


def test_the_first_screen_of_a_phone_has_the_answer(tab, files):
    opened = tab(files[0], **PHONE)
    for part in (".lead", ".tiles", ".findings"):
        assert opened.locator(f"#answer .unit:visible {part}").bounding_box()["y"] < PHONE["viewport"]["height"]
    bottom = opened.locator("#answer .unit:visible .tiles").bounding_box()
    assert bottom["y"] + bottom["height"] < PHONE["viewport"]["height"]


def test_fifty_runs_on_thirty_data_sets_fit_a_page_that_opens_in_two_seconds(tab, scored, tmp_path):
    runs = [("ce", k % 5, f"r{k}", f"kind {k}") for k in range(50)]
    many = []
    for i in range(30):
        name, shows = f"digits-c/fog{i}/{i % 5 + 1}", f"fog{i}/{i % 5 + 1}"
        of = {"dataset": name, "variant_of": "digits", "shows": shows} if i else {"dataset": "digits"}
        many += [
            scored(m, seed, run=run, training=kind, **of) for m, seed, run, kind in [("mcp", 0, None, None), *runs]
        ]
    file = tmp_path / "index.html"
    file.write_text(page(make_contents(many)), encoding="utf-8")
    assert file.stat().st_size < 3e6
    opened = tab(file)
    scroll_to_charts(opened)
    session = opened.context.new_cdp_session(opened)
    session.send("Performance.enable")
    spent = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    assert spent["TaskDuration"] < 2 * slowness(opened)


def slowness(tab):
    """How much longer work takes than where nothing else runs; other tests may run beside this one."""
    return tab.evaluate("""() => {
        const start = performance.now();
        for (let i = 0, x = 0; i < 3e8; i++) x += i;
        return Math.max(1, (performance.now() - start) / 400);
    }""")
