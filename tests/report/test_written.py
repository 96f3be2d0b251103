"""`report`: one page of methods that Python code has, with nothing left behind."""

from __future__ import annotations

import json
import re
import tempfile
import zlib
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest

from tests.caches_in_memory import cache_of
from tests.refusals import refusal_of, tells
from trustcache.cache import CacheView
from trustcache.deploy.calibrate import calibrate_on
from trustcache.oracles.estimator import Oracle
from trustcache.registry.permission import CodePermission, code_permission
from trustcache.report.compared import compare
from trustcache.report.written import write_page

TRAINING, TEST = cache_of(400, 1), cache_of(200, 2)  # of one name, as arrays are unless told otherwise


def gap(logits: np.ndarray) -> np.ndarray:
    return np.ptp(logits, axis=1)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that temporary files go to."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path / "temporary"


def test_the_page_shows_the_methods_with_the_numbers_of_compare(tmp_path: Path, temporary: Path) -> None:
    oracles = [Oracle("ss", seed=seed, epochs=3).fit(TRAINING) for seed in (0, 1)]
    page = write_page([*oracles, gap], TEST, tmp_path / "pages" / "report.html")
    text = page.read_text(encoding="utf-8")
    for name in ("data", "gap", "delta-knn", "temperature"):
        assert name in text
    table = compare([*oracles, gap, "mcp", "delta-knn"], TEST, intervals=False)
    for row in table.comparison.rows:
        assert f"{100 * row.value('auc'):.1f}" in text
    assert not [path for path in temporary.iterdir() if (path / "cache").exists()]  # torch leaves a folder of its own
    assert str(temporary) not in text
    assert "trustcache calibrate" not in text  # there is no workspace that a command could work in


def test_rows_of_a_cache_are_reported_as_a_cache_in_the_order_given(tmp_path: Path, temporary: Path) -> None:
    more = cache_of(150, 3, name="another")
    page = write_page([gap], [TEST[50:120], more], tmp_path / "report.html", training=TRAINING[:200])
    text = page.read_text(encoding="utf-8")
    assert "mean over seeds and over <bdi>data</bdi> and <bdi>another</bdi>;" in text
    assert re.findall(r'<tr><th scope="row"><bdi>(data|another)</bdi>', text)[:2] == ["data", "another"]


def test_the_page_shows_the_thresholds_that_calibrate_found_of_scores_of_ones_own_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "myscore.py").write_text("def gap_share(logits):\n    return logits.max(axis=1)\n")
    few, test, held_out = (cache_of(150, n, features=False, name=f"{n}") for n in (1, 2, 3))
    oracle = Oracle("ce", epochs=1, inputs=["log-probs"]).fit(few)
    with code_permission(CodePermission({"myscore:gap_share"})):
        methods = [oracle, gap, "myscore:gap_share", {"mine": test.logits[:, 0]}]
        keys = [oracle, gap, "myscore:gap_share", "mine", "margin"]
        thresholds = {key: calibrate_on(gap, held_out, coverage=0.1 * n) for n, key in enumerate(keys, 1)}
        text = write_page(methods, test, tmp_path / "with.html", thresholds=thresholds).read_text(encoding="utf-8")
    assert "calibrated on 3" in text
    assert tells(text, "<bdi>myscore:gap_share</bdi>")
    numbers = text.partition('id="numbers">')[2].partition("<")[0]
    (unit,) = json.loads(zlib.decompress(b64decode(numbers)))["units"]
    shown = {method["key"]: method["calibrated"] for method in unit["methods"] if method["calibrated"] is not None}
    assert {*shown.values()} == {float(threshold) for threshold in thresholds.values()}
    assert {key: shown[key] for key in shown if key in thresholds} == {
        key: float(one) for key, one in thresholds.items() if isinstance(key, str)
    }


@pytest.mark.parametrize("key", [np.ptp, Oracle("ss"), "nothing", "mc-dropout"])  # mc-dropout: not of these caches
def test_a_threshold_of_what_is_not_reported_on_is_refused_with_what_is(key: object, tmp_path: Path) -> None:
    name = key if isinstance(key, str) else getattr(key, "__name__", repr(key))
    found = calibrate_on(gap, TEST, coverage=0.6)
    message = refusal_of(lambda: write_page([gap], TEST, tmp_path / "r.html", thresholds={key: found}))
    assert tells(message, "thresholds", name, "gap", "mcp", "margin")
    assert "trustcache" not in message
    message = refusal_of(lambda: write_page([gap], TEST, tmp_path / "r.html", thresholds={gap: 0.5}))  # type: ignore[dict-item]
    assert tells(message, "thresholds", "0.5", "calibrate")


def test_the_answer_is_one_of_the_methods_that_are_passed_or_mcp(tmp_path: Path) -> None:
    def answered(*methods) -> str:
        text = write_page([*methods], TEST, tmp_path / "report.md", training=TRAINING).read_text(encoding="utf-8")
        return next(line for line in text.splitlines() if "Trust " in line or "Accept" in line)

    assert "delta-knn" in answered("delta-knn", gap)
    assert "mcp" in answered(gap).partition(" above ")[0]


def test_the_answer_is_stated_on_the_first_cache_that_is_given(tmp_path: Path) -> None:
    shifted, test = cache_of(80, 3, name="a-shifted", features=False), cache_of(60, 4, name="test", features=False)
    text = write_page(["mcp"], [test, shifted], tmp_path / "report.md").read_text(encoding="utf-8")
    accept = next(line for line in text.splitlines() if line.startswith("Accept"))
    assert "of test:" in accept
    assert "--data" not in text
    assert [line for line in text.splitlines() if line in ("## test", "## a-shifted")] == ["## test", "## a-shifted"]
    against = re.findall(r"(?m)^## (\S+): against", text)
    assert against == ["test", "a-shifted"]


def test_markdown_is_written_where_the_path_asks_for_it_and_nothing_else_is(tmp_path: Path) -> None:
    text = write_page([gap], TEST, tmp_path / "report.md", training=TRAINING).read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "| gap " in text
    assert "<html" not in text
    assert tells(refusal_of(lambda: write_page([gap], TEST, tmp_path / "report.pdf")), "report.pdf", ".html", ".md")
    assert not (tmp_path / "report.pdf").exists()


def test_markdown_from_python_names_no_command_as_there_is_no_workspace(tmp_path: Path, temporary: Path) -> None:
    class Mine:
        def decision_function(self, cache: CacheView) -> np.ndarray:
            return cache.logits[:, 0]

    test = cache_of(60, 2, features=False)
    text = write_page([Mine()], test, tmp_path / "report.md").read_text(encoding="utf-8")
    assert tells(text, "chosen by default", "knn", "training=", "fitted in this process")
    for wrong in ("```", "trustcache train", "trustcache import", "no oracle is trained", str(temporary)):
        assert wrong not in text
    text = write_page([Mine()], test, tmp_path / "report.md", training=test).read_text(encoding="utf-8")
    assert tells(text, "knn", "data has no features")
    assert str(temporary) not in text


def test_caches_of_one_name_are_refused(tmp_path: Path) -> None:
    assert tells(refusal_of(lambda: write_page([gap], [TEST, TEST], tmp_path / "report.html")), "name='photos'")
    assert not (tmp_path / "report.html").exists()
