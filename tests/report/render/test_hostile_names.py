"""Names from files reach every format without control characters, and as text, never as markup."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from tests.page_contents import make_contents
from trustcache.command_lines import command_line
from trustcache.errors import visible
from trustcache.report.contents import Contents
from trustcache.report.records import Scored
from trustcache.report.render.html import page, tables_page
from trustcache.report.render.latex import tables_latex
from trustcache.report.render.markdown import report_markdown
from trustcache.report.render.terminal import print_report

ROOT = Path(__file__).parents[3]
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
NAMES = {
    "colours and a cleared screen": "\x1b[31;1mred\x1b[2J",
    "a title of the terminal": "\x1b]0;title\x07",
    "one byte that begins a sequence": "\x9b2Jx",
    "text turned round": "\u202egpj.exe\u2066",
    "lines": "a\nerror: all is lost\r\u2028b",
    "not UTF-8": "caf\udce9",
    "a page's markup": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "attributes": '" onmouseover="alert(1)" x=\'',
    "Markdown's markup": "[x](javascript:alert(1)) ![y](z) | `c` **b** <b>",
    "LaTeX's commands": r"\input{/etc/passwd}\write18{id} %$#&_{}~^",
    "the terminal's markup": "[red]x[/red][link=http://x]y[/link]",
    "templates": "{{ 7 * 7 }}{% raw %}<< 7 * 7 >><% raw %>",
}


class Tags(HTMLParser):
    """The names of tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(name for name, _ in attrs)}


def on_terminal(contents: Contents) -> str:
    file = io.StringIO()
    print_report(contents, Console(file=file, width=400, color_system=None, force_terminal=True, legacy_windows=False))
    return file.getvalue()


FORMATS: dict[str, Callable[[Contents], str]] = {
    "terminal": on_terminal, "Markdown": report_markdown, "HTML": page, "tables": tables_page, "LaTeX": tables_latex,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("format", FORMATS)
def test_a_name_is_shown_as_text(scored: Callable[..., Scored], format: str, name: str) -> None:
    given = [
        scored("mcp", dataset=name, classifier=name),
        scored(name, dataset=name, classifier=name, oracle=name, settings={"k": name}),
    ]
    made = make_contents if format == "HTML" else Contents
    text = FORMATS[format](made(given, notes=[f"{name}: run `{command_line('extract', '--data', name)}`"]))
    assert not UNSEEN.search(text)
    if format in ("HTML", "tables"):
        parser = Tags()
        parser.feed(text)
        assert not parser.found & {"img", "onerror", "onmouseover", "b", "link"}
        assert text.count("<script>") == 1
    else:
        assert "\nerror:" not in text
    if format == "Markdown":
        assert not re.search(r"(?<!\\)<(script|img|b)>|(?<!\\)\[x(?<!\\)\]\(", re.sub(r"`[^`\n]*`", "", text))
    if format == "LaTeX":
        body = "\n".join(line for line in text.splitlines() if not line.startswith("% "))
        assert not re.search(r"\\(input|write18)\b", re.sub(r"^%.*", "", body, flags=re.M))
        assert r"\x" not in body
    if format == "terminal":
        assert visible(name).split()[0] in text
    if "{{" in name:
        assert re.search(r"7 \\?\* 7", text)


def test_only_one_function_prints_and_only_one_makes_text_for_the_terminal() -> None:
    places = {
        (path.relative_to(ROOT).as_posix(), ast.unparse(node.func))
        for folder in ("cli", "trustcache")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "Text", "rich.print", "sys.stdout.write")
    }
    assert places == {
        ("cli/process.py", "print"),  # what each command says and prints
        ("cli/signals.py", "print"),  # a fixed line
        ("trustcache/data/progress.py", "print"),
        ("trustcache/report/render/terminal.py", "Text"),
    }
