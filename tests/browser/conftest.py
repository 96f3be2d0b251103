"""A headless Chromium of the machine's own, and pages to open in it; without one the tests are skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.page_contents import make_contents
from trustcache.report.charts import Chart, curve_rows, lines
from trustcache.report.records import Scored
from trustcache.report.render.html import page, tables_page
from trustcache.report.table import Cell, Exhibit, Figure, Row, Section, grouped_table

METHODS = ("mcp", 0, None), ("ss", 0, "frozen"), ("ss", 1, "frozen"), ("ce", 0, "frozen")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    root = getattr(os, "geteuid", lambda: 1)() == 0  # its sandbox refuses to start as root
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if root else [])
        yield started
        started.close()


@pytest.fixture(autouse=True)
def figures_left_out() -> None:
    """Draw the charts here."""


@pytest.fixture
def tab(browser: Any) -> Iterator[Callable[..., Any]]:
    """`tab(file, fragment, color_scheme="dark")`: the page, started; what it asks for or complains of is a failure."""
    contexts, wrong = [], []

    def open_file(file: Path, fragment: str = "", **options: Any) -> Any:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        opened = context.new_page()
        opened.on("console", lambda message: wrong.append(f"console: {message.text}"))
        opened.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        opened.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        opened.on("request", lambda request: wrong.append(request.url) if _leaves(request.url) else None)
        opened.goto(f"{file.as_uri()}{fragment}")
        if options.get("java_script_enabled", True):
            opened.wait_for_selector("html.live")
        return opened

    yield open_file
    for context in contexts:
        context.close()
    assert not wrong


def _leaves(url: str) -> bool:
    return not url.startswith(("file:", "blob:", "data:"))


@pytest.fixture(scope="session")
def two(scored: Callable[..., Scored]) -> list[Scored]:
    """Two classifiers, `net` with an oracle of two seeds, another one, and three changed data sets."""
    made = []
    for classifier, data in (("net", ["digits", "digits-c/fog/1", "digits-c/fog/5", "styled"]), ("other", ["digits"])):
        for name in data:
            of = {"classifier": classifier, "dataset": name, "accuracy": 0.8 if name == "digits" else 0.55}
            if name != "digits":
                of |= {"variant_of": "digits", "shows": name.partition("/")[2] or "stylized"}
            for method, seed, training in METHODS:
                own = {"run": f"{classifier}-{method}-{training}-seed{seed}"} if training else {}
                made.append(scored(method, seed, **of, **own))
            made.append(scored("knn", None, training=None, oracle=None, run=None, **of))
    return made


@pytest.fixture(scope="session")
def files(two: list[Scored], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The page and the page of all tables."""
    curve = Chart(lines(["ce"], "z", "loss", bars=True), curve_rows("ce", x=[0, 1], y=[1, 2], low=[0, 1], high=[2, 3]))
    rows = [Row(("a", name), (Cell(value),)) for name, value in (("ce", 0.5), ("ss", 0.6))]
    table = grouped_table("blocks", ("data", "method"), ("AUC ↑",), rows, ["A note."], ["trustcache report"])
    exhibit = Exhibit("figure2b", "Figure 2b", "nothing", (table,), (Figure("curves", curve, "See."),))
    paper = Section("paper", "The paper's tables and figures", "About.", (exhibit,))
    contents = make_contents(two, notes=["run `trustcache evaluate`"], sections=[paper], made={"date": "2025-01-02"})
    folder = tmp_path_factory.mktemp("page")
    first, tables = folder / "index.html", folder / "paper.html"
    first.write_text(page(contents), encoding="utf-8")
    tables.write_text(tables_page(contents), encoding="utf-8")
    return first, tables
