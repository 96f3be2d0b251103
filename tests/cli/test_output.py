"""Tables of the commands: a column of figures stands at its right end, its heading with it."""

from __future__ import annotations

import pytest

from cli.output import print_table


def test_a_heading_stands_over_the_figures_of_its_column(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    print_table(("name", "images trusted", "state"), [("a", "1,644", "whole"), ("b", "5", "3 of 4"), ("c", "", "")])
    head, *rows = capsys.readouterr().out.splitlines()
    end = head.index("trusted") + len("trusted")
    assert [row[:end].split()[-1] for row in rows[:2]] == ["1,644", "5"]
    assert rows[1][end - 1] == "5"
    assert rows[1].index("3 of 4") == head.index("state")
