"""A flipped bit or a cut in any file is refused by name, told, or mended; no command takes it for what was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import damage
from tests.faults.cases import Tally, each
from tests.faults.laboratory import COMMANDS, Laboratory, sound

pytestmark = pytest.mark.faults

PARTS = 4  # so that an interrupted long run repeats little


@pytest.mark.parametrize("part", range(PARTS))
def test_a_damaged_file_is_never_taken_for_what_was_written(
    laboratory: Laboratory, tmp_path: Path, full: bool, tally: Callable[..., Tally], part: int
) -> None:
    counts = tally("one flipped bit or a cut")
    bench = laboratory.bench(tmp_path / "bench")
    for name in ("extract train", "extract"):  # notes in the index that the classifier's weights lie here
        sound(laboratory.forks.command(bench, *COMMANDS[name]))
    planned = damage.plan(bench, 800 if full else 20, seed=part)
    for case, answer in each(laboratory.forks, bench, "tests.faults.damage:judge", planned):
        if isinstance(answer[0], str):  # the process died, or the case itself failed
            counts.add(answer[0], case, answer[1])
            continue
        bad = [(command, verdict, detail) for command, verdict, detail in answer if verdict.isupper()]
        command, verdict, detail = (bad or answer)[0]
        counts.add(verdict, [*case, command], detail)
