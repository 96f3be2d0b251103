"""Tables of docs/ whose every row has a test: a row that is added or removed there alone fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., Any])
ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


class DocumentedTable:
    """A table of a page, by its heading and its number below that, and the tests of its rows.

    rows: the first cells, in order. tests: by first cell. elsewhere: rows whose tests stand in other files, as
    `tests/models/test_programs.py::test_name`.
    """

    def __init__(
        self, page: str, heading: str, number: int = 0, elsewhere: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    ) -> None:
        text = (DOCS / page).read_text(encoding="utf-8")
        _, found, section = text.partition(f"\n## {heading}\n")
        assert found, f"{page} has no heading '{heading}'"
        tables = re.findall(r"(?:^\|.*\n)+", section.partition("\n## ")[0], re.M)
        self.rows = [line.split(" | ")[0].removeprefix("| ") for line in tables[number].splitlines()[2:]]
        self.tests: dict[str, list[Callable[..., Any]]] = {}
        self.elsewhere = elsewhere

    def row(self, *names: str) -> Callable[[Test], Test]:
        """Register a test of rows, by their first cells."""

        def register(test: Test) -> Test:
            for name in names:
                self.tests.setdefault(name, []).append(test)
            return test

        return register

    def require_tests(self) -> None:
        assert sorted(self.rows) == sorted({*self.tests, *self.elsewhere})
        for place in chain.from_iterable(self.elsewhere.values()):
            file, _, test = place.partition("::")
            assert f"\ndef {test}(" in (ROOT / file).read_text(encoding="utf-8"), place
