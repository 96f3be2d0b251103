"""Text as Markdown that shows it as it is."""

from __future__ import annotations

import re


def escaped(text: str, kept: str = "") -> str:
    """Text that Markdown shows as it is, on one line; underscores within words need no escape."""
    one_line = " ".join(text.split())
    special = "".join(mark for mark in r"\`*|<>[]&~#" if mark not in kept)
    return re.sub(rf"[{re.escape(special)}]|\b_|_\b", r"\\\g<0>", one_line)
