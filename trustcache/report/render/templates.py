"""The jinja2 templates of the page and of the documents; in the page all text is escaped."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustcache.errors import visible
from trustcache.report.comparison import READING
from trustcache.report.contents import TO_DRAW
from trustcache.report.names import BASELINE
from trustcache.report.table import LEGEND, UNDEFINED

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).parent.parent / "templates"


def render(template: str, filters: Mapping[str, Callable[..., Any]], **context: Any) -> str:
    """Return a template filled with `context`. The delimiters of statements are `<%` and `%>` in LaTeX."""
    environment = _environment(template.rpartition(".")[2])
    environment.filters |= filters
    words = {"baseline": BASELINE, "reading": READING, "legend": LEGEND, "to_draw": TO_DRAW, "undefined": UNDEFINED}
    return environment.get_template(template).render(words, **context)


@functools.cache
def _environment(suffix: str) -> Environment:
    """Return the environment of templates with a suffix, one for all, since it keeps them compiled."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    marks: dict[str, Any] = {}
    if suffix == "tex":
        marks = {"block_start_string": "<%", "block_end_string": "%>", "comment_start_string": "<#"}
        marks |= {"variable_start_string": "<<", "variable_end_string": ">>"}
    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_on_page if suffix == "html" else _shown,
        **marks,
    )


def without_folders(text: str) -> str:
    """Return text with absolute paths as the names at their ends: a page is for people on other machines.

    >>> without_folders("trustcache report --workspace '/home/ann/my work/ws' --weights=/data/net.pth, see a/b/3")
    "trustcache report --workspace 'ws' --weights=net.pth, see a/b/3"
    """
    return _FOLDERS.sub("", text)


_FOLDERS = re.compile(r"""(?<=')/(?:[^/'\n]+/)+(?=[^/'])|(?<![^\s"=(\[`])(?:/|[A-Za-z]:\\)(?:[^\s/\\'"`]+[/\\])+""")


def _on_page(value: Any) -> Any:
    shown = _shown(value)
    return without_folders(shown) if isinstance(shown, str) and not hasattr(shown, "__html__") else shown


def _shown(value: Any) -> Any:
    """Return what a template shows for a value: names from files without the characters that hide or turn text."""
    if not isinstance(value, str):
        return value
    text = visible(value, "\n\t")
    return type(value)(text) if hasattr(value, "__html__") else text
