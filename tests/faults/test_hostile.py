"""What strangers made to do harm: nothing of it runs, and nothing outside is read or written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import hostile_inputs, hostile_workspace
from tests.faults.cases import CRASH, HANG, HARMLESS, REFUSED, SILENT, TRACEBACK, Tally, is_sentence
from tests.faults.forks import Job, Outcome
from tests.faults.hostile import KINDS, RAN, SECRET, control_characters, plant
from tests.faults.laboratory import WORKSPACE, Laboratory, files

pytestmark = pytest.mark.faults

PARTS = ("index", "record", "run", "sweep", "checkpoint", "HDF5", "manifest", "tar", "image", "name", "")
assert hostile_workspace.hostile is hostile_inputs.hostile  # both have registered their kinds
EVERY = 3  # of a short run
# Of data: V8, which draws the charts, reserves hundreds of gigabytes of addresses.
MEMORY = 16 << 30
LIMIT_S = 20.0


@pytest.mark.parametrize("part", PARTS)
def test_a_hostile_file_runs_nothing_and_reaches_nothing_outside(
    laboratory: Laboratory, tmp_path: Path, full: bool, tally: Callable[..., Tally], part: str
) -> None:
    counts = tally("hostile workspace, checkpoint, manifest, tar, HDF5, image or name", part or "files of other kinds")
    own = [name for name in KINDS if (name.partition(":")[0] if name.partition(":")[0] in PARTS else "") == part]
    for name in own if full else own[::EVERY]:
        bench = laboratory.bench(tmp_path / "bench")
        plant(name, bench)
        outside = bench.parent / "outside"
        before = {path.name: path.read_bytes() for path in outside.iterdir()}
        verdicts = []
        for words in KINDS[name][1]:
            job = Job(words, str(bench), limits={"DATA": MEMORY}, timeout=LIMIT_S)
            (outcome,) = laboratory.forks.run(job)
            verdicts.append((*_verdict(outcome), words[:2]))
        if {path.name: path.read_bytes() for path in outside.iterdir()} != before:
            verdicts.append((SILENT, "it wrote outside", ()))
        if any(bench.rglob(RAN)):
            verdicts.append((SILENT, "it ran", ()))
        # Names that keep a secret file's place in the workspace are links, which no command follows to write.
        if any(SECRET.encode() in path.read_bytes() for path in files(bench / WORKSPACE) if not path.is_symlink()):
            verdicts.append((SILENT, "it read outside", ()))
        if any("<script>alert" in path.read_text(encoding="utf-8") for path in bench.rglob("*.html")):
            verdicts.append((SILENT, "its markup is in the page", ()))
        verdict, detail, words = min(verdicts, key=lambda one: not one[0].isupper())
        counts.add(verdict, f"{name}: {' '.join(words)}", detail)


def _verdict(outcome: Outcome) -> tuple[str, str]:
    if outcome.hung:
        return HANG, outcome.text
    if outcome.code < 0:
        return CRASH, f"{outcome.code}: {outcome.text}"
    if (outcome.code and not is_sentence(outcome)) or "Traceback" in outcome.text:
        return TRACEBACK, outcome.text
    if found := control_characters(outcome.text):
        return SILENT, f"control characters {found[:4]} on the terminal: {outcome.text[-300:]!a}"
    if SECRET in outcome.text:
        return SILENT, "it tells what lies outside"
    return (REFUSED if outcome.code else HARMLESS), ""
