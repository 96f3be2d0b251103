"""The suite of faults in a test run: its options, what it collects, and its table at the end and in the documents.

`python -m tests.faults.table build/faults docs/reliability.md` writes the verdicts that a long run kept there into the
document.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

BEGIN, END = "<!-- table -->\n", "<!-- end -->\n"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-full", action="store_true", help="with -m faults: the long run, tens of minutes")
    parser.addoption("--faults-folder", default="build/faults", help="where the long run keeps its verdicts")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out all other files with `-m faults`: to import them takes a tenth of the short run."""
    other = collection_path.is_file() and collection_path.parent != Path(__file__).parent
    return True if other and config.getoption("markexpr") == "faults" else None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    # One that fails is there twice.
    teardowns = {report.nodeid: report for report in reports if getattr(report, "when", "") == "teardown"}
    found = [
        one
        for report in teardowns.values()
        for key, table in report.user_properties
        if key == "faults"
        for one in table
    ]
    if found:
        terminalreporter.section("faults")
        terminalreporter.write_line("\n".join(lines(found)))


def lines(tallies: Iterable[dict[str, Any]]) -> list[str]:
    """Return a Markdown table of verdicts: a line for each kind of fault, and for what it was tried on."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for one in tallies:
        by_kind.setdefault(one["kind"], []).append(one)
    table = ["| fault | tried | silent, lost, hang or traceback | how it ended |", "|---|---|---|---|"]
    for kind, tried in by_kind.items():
        table.append(_line(f"**{kind}**", tried))
        named: dict[str, list[dict[str, Any]]] = {}
        for one in tried:
            named.setdefault(one["what"], []).append(one)
        table += [_line(what, own) for what, own in named.items() if what and len(named) > 1]
    return table


def _line(name: str, tallies: list[dict[str, Any]]) -> str:
    counts: Counter[str] = sum((Counter(one["counts"]) for one in tallies), Counter())
    bad = sum(len(one["bad"]) for one in tallies)
    ends = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.most_common())
    return f"| {name} | {counts.total():,} | {bad:,} | {ends} |"


def main(folder: Path, document: Path) -> None:
    """Write the verdicts in a folder into the table of a document."""
    kept = [one for path in sorted(folder.glob("*.json")) for one in json.loads(path.read_text(encoding="utf-8"))]
    before, _, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    document.write_text(before + BEGIN + "\n" + "\n".join(lines(kept)) + "\n\n" + END + after, encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
