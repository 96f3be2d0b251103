"""Tables of docs/ whose every row has a test: a row that is added or removed there alone fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., Any])
DOCS = Path(__file__).parents[1] / "docs"


class DocumentedTable:
    """A table of a page, by its heading and its number below that, and the tests of its rows.

    rows: the first cells, in order. tests: by first cell.
    """

    def __init__(self, page: str, heading: str, number: int = 0) -> None:
        text = (DOCS / page).read_text(encoding="utf-8")
        _, found, section = text.partition(f"\n## {heading}\n")
        assert found, f"{page} has no heading '{heading}'"
        tables = re.findall(r"(?:^\|.*\n)+", section.partition("\n## ")[0], re.M)
        self.rows = [line.split(" | ")[0].removeprefix("| ") for line in tables[number].splitlines()[2:]]
        self.tests: dict[str, list[Callable[..., Any]]] = {}

    def row(self, *names: str) -> Callable[[Test], Test]:
        """Register a test of rows, by their first cells."""

        def register(test: Test) -> Test:
            for name in names:
                self.tests.setdefault(name, []).append(test)
            return test

        return register

    def require_tests(self) -> None:
        assert sorted(self.tests) == sorted(self.rows)
