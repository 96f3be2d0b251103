"""Vega-Lite's script as one piece, from vl-convert, which needs no network and no browser."""

from __future__ import annotations

import contextlib
from importlib.metadata import version
from pathlib import Path

from trustcache.cache.publish import publish
from trustcache.data.kept_looks import user_cache
from trustcache.report.render.engine import engine
from trustcache.report.render.page_data import packed

_SNIPPET = "window.vegaEmbed = vegaEmbed;"


def charts_script(folder: Path | None = None) -> str:
    """Return the script that defines `vegaEmbed`, `packed`.

    Bundling it takes two seconds, so it is kept in the user's cache folder, never in a workspace, which another person
    may have sent.
    """
    kept = (folder or user_cache()) / f"charts-{version('vl-convert-python')}.txt"
    with contextlib.suppress(OSError):
        return kept.read_text(encoding="utf-8")
    # The names at its top level would be the page's, too.
    script = packed(f"(() => {{\n{engine().javascript_bundle(_SNIPPET)}\n}})();")
    with contextlib.suppress(OSError):
        publish(kept, script.encode())
    return script
