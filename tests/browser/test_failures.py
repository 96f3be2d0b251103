"""Where the answer's oracle fails, in a browser: counts of the images of the tiles, at the slider's threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.running import call
from trustcache.cache.workspace import Workspace
from trustcache.data.splits import HALVES, half_rows
from trustcache.metrics.calibration import wilson
from trustcache.metrics.selective import working_point
from trustcache.report.build import answer, report
from trustcache.report.samples import ScoreReader


@pytest.fixture(scope="session")
def halved(runs_workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace whose answer has a threshold of one half of its data set, with its report."""
    import shutil

    root = tmp_path_factory.mktemp("halved") / "workspace"
    shutil.copytree(runs_workspace.root, root)
    workspace = Workspace(root)
    (found,) = answer(workspace)
    name = found.record.run or found.record.method
    which = () if found.record.run else ("--classifier", found.classifier)
    call(workspace, "calibrate", name, *which, "--data", found.dataset, "--part", HALVES[0], "--coverage", "0.6")
    report(workspace, data_root=Path())
    return workspace


@pytest.fixture
def stated(halved: Workspace):
    """The answer, and z, correctness, labels and predictions of the half that did not set its threshold."""
    (found,) = answer(halved)
    samples = ScoreReader(halved).read(found.record)
    rows = half_rows(len(samples.z), HALVES[1], 0)
    columns = samples.cache.labels[rows], samples.cache.predictions[rows]
    return found, samples.z[rows], samples.correct[rows], *columns


def tables(tab):
    """The threshold, the false positives, and the rows of classes and pairs as they are shown."""
    return tab.evaluate("""() => {
        const text = cell => cell.textContent.trim().replaceAll(',', '').replace('\\u2212', '-');
        const rows = name => [...document.querySelectorAll(`#failures .unit:not([hidden]) [data-${name}]`)]
            .map(row => [...row.cells].map(text));
        return {
            threshold: method().t[state.step], shown: text(document.querySelector('#failures [data-shows=at]')),
            counts: ['tp', 'fp', 'fn', 'tn'].map(id => +text(document.getElementById(id))),
            classes: rows('class'), pairs: rows('pair'),
        };
    }""")


def agree_on_share(shown, part, whole):
    """Assert that a cell is a share in percent with its interval; a tie may be rounded up or down."""
    found = [float(word) for word in shown.split() if word not in ("–", "to")]
    expected = [part / whole, *wilson(part, whole)] if whole else []
    assert found == pytest.approx([100 * value for value in expected], abs=0.0501)


def agree(shown, stated):
    """Assert that the tables are what the metrics say of the stated images, class by class, pair by pair."""
    _, z, correct, labels, predictions = stated
    at = shown["threshold"]
    for name, n, accuracy, trusted, wrong, risk in shown["classes"]:
        mine = labels == int(name)
        point = working_point(z[mine], correct[mine], at)
        assert [int(n), int(trusted), int(wrong)] == [mine.sum(), point.trusted, point.wrong]
        agree_on_share(accuracy, int(correct[mine].sum()), int(mine.sum()))
        agree_on_share(risk, point.wrong, point.trusted)
    assert {int(row[0]) for row in shown["classes"]} == set(labels.tolist())
    for label, prediction, n, trusted in shown["pairs"]:
        mine = (labels == int(label)) & (predictions == int(prediction))
        assert [int(n), int(trusted)] == [mine.sum(), (z[mine] > at).sum()]
    whole = working_point(z, correct, at)
    assert shown["counts"][:2] == [whole.trusted - whole.wrong, whole.wrong]
    assert sum(shown["counts"]) == len(z)
    assert sum(int(row[4]) for row in shown["classes"]) == whole.wrong


def test_tiles_slider_classes_and_pairs_are_of_the_half_that_did_not_calibrate(tab, halved, stated):
    found, z, correct, *_ = stated
    assert found.other_half
    opened = tab(halved.report / "index.html")
    shown = tables(opened)
    assert shown["threshold"] == found.threshold
    agree(shown, stated)
    point = working_point(z, correct, found.threshold)
    tiles = opened.locator("#answer dd").all_inner_texts()
    assert [tiles[0], tiles[2]] == [f"{100 * share:.1f}\xa0%" for share in (point.coverage, point.risk)]
    assert opened.locator("#figures tbody td").first.inner_text().startswith(f"{100 * point.coverage:.1f} %")
    assert opened.locator("#half").is_visible()


def test_classes_and_pairs_follow_the_slider_and_keep_their_order(tab, halved, stated):
    opened = tab(halved.report / "index.html")
    opened.locator("#failures th", has_text="wrong but trusted").locator("button").click()
    slider = opened.locator("#slider")
    for k in np.linspace(0, int(slider.get_attribute("max")), 9).astype(int).tolist():
        slider.evaluate("(slider, k) => { slider.value = k; slider.dispatchEvent(new Event('input')); }", k)
        shown = tables(opened)
        agree(shown, stated)
        wrong = [int(row[4]) for row in shown["classes"]]
        assert wrong == sorted(wrong, reverse=True)
    assert shown["shown"].startswith("none")


def test_while_another_oracle_is_shown_classes_and_pairs_stay_at_the_answers_threshold(tab, halved, stated):
    opened = tab(halved.report / "index.html", "#oracle=entropy&threshold=100")
    shown = tables(opened)
    assert shown["threshold"] != stated[0].threshold
    assert float(shown["shown"]) == pytest.approx(stated[0].threshold, rel=1e-3)
    point = working_point(*stated[1:3], stated[0].threshold)
    assert sum(int(row[4]) for row in shown["classes"]) == point.wrong


def test_without_a_script_they_are_of_the_answers_threshold(tab, halved, stated):
    opened = tab(halved.report / "index.html", java_script_enabled=False)
    rows = opened.locator("#failures [data-class]").all()
    point = working_point(*stated[1:3], stated[0].threshold)
    assert sum(int(row.locator("td").nth(3).inner_text()) for row in rows) == point.wrong
