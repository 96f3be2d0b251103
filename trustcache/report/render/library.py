"""Vega-Lite's script as one piece, from vl-convert, which needs no network and no browser."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from trustcache.cache.publish import publish
from trustcache.report.render.page_data import packed


def charts_script(folder: Path | None = None) -> str:
    """Return the script that defines `vegaEmbed`, `packed`.

    Bundling it takes two seconds, so it is kept in the user's cache folder, never in a workspace, which another person
    may have sent.
    """
    import vl_convert

    folder = folder or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trustcache"
    kept = folder / f"charts-{vl_convert.__version__}.txt"
    with contextlib.suppress(OSError):
        return kept.read_text(encoding="utf-8")
    # The names at its top level would be the page's, too.
    script = packed(f"(() => {{\n{vl_convert.javascript_bundle()}\n}})();")
    with contextlib.suppress(OSError):
        publish(kept, script.encode())
    return script
