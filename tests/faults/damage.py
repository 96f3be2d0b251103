"""A flipped bit or a cut in one file of the workspace, and what the commands that read it make of it."""

from __future__ import annotations

import functools
import random
from pathlib import Path

from tests.faults.cases import ANEW, HARMLESS, SILENT, TOLD, Said, restore, said, verdict_of
from tests.faults.laboratory import COMMANDS, UNFINISHED, WEIGHTS, WORKSPACE, contents, kinds

READ_BY = {
    "index": ("evaluate", "report"),
    "shard": ("extract", "extract train", "report"),
    "shard record": ("extract", "extract train", "report"),
    "run config": ("evaluate", "report"),
    "weights, frozen": ("predict",),
    "weights, fine-tuned": ("predict tuned",),
    "log": ("train", "fine-tune"),
    "scores of a run": ("evaluate", "report"),
    "threshold": ("predict", "predict a score"),
    "thresholds tried": ("calibrate", "calibrate a score"),
    "post-hoc score": ("evaluate", "report"),
    "fitted score": ("evaluate again",),
    "bootstrap store": ("report",),
    "store of figures": ("report",),
    "model card": ("report",),
    "sweep": ("predict the winner", "report"),
    "checkpoint.pt": ("unfinished",),
    "classifier": ("predict", "extract"),
}
"""The commands that read a kind of file; `verify` reads all."""
_ALSO = {"classifier": ("the classifier's weights",)}
"""What else a message may call a file of a kind."""
WORDS = COMMANDS | {
    "predict the winner": ("predict", "winner", *COMMANDS["predict"][2:]),
    "unfinished": UNFINISHED,
    "evaluate again": COMMANDS["evaluate"],
}


def plan(folder: Path, number: int, seed: int) -> list[list[object]]:
    """Return damages [kind, file, "flip" or "cut", position]: half of them by kind, half by size."""
    draw = random.Random(seed)
    found = kinds(folder / WORKSPACE)
    found.pop("report", None)  # written anew by each report, read by none
    found["classifier"] = [folder / WEIGHTS]
    everything = [(kind, path) for kind, paths in found.items() for path in paths]
    sizes = [path.stat().st_size for _, path in everything]
    by_size = draw.choices(everything, sizes, k=number // 2)
    by_kind = [(kind, draw.choice(found[kind])) for kind in draw.choices([*found], k=number - len(by_size))]
    return [
        [kind, str(path.relative_to(folder)), draw.choice(("flip", "flip", "cut")), draw.random()]
        for kind, path in by_size + by_kind
    ]


def judge(case: list[object]) -> list[tuple[str, str, str]]:
    """Damage a file, run what reads it, and return (command, verdict, detail) for each command."""
    kind, name, how, position = str(case[0]), str(case[1]), str(case[2]), float(str(case[3]))
    before, sound = _sound()
    path, data = Path(name), before[name]
    damaged = _damaged(data, how, position)
    # A shard and its record are one; the classifier's weights are compared by their own checksum.
    called = (str(path.with_suffix("")) if "shard" in kind else name, *_ALSO.get(kind, ()))
    found = []
    for command in (*READ_BY[kind], *(("verify",) if kind != "classifier" else ())):
        path.write_bytes(damaged)
        heard = _say(command)
        now = contents(Path())
        restore(Path(), before, now)
        changed = {file for file in now.keys() | before.keys() if now.get(file) != before.get(file)} - {name}
        verdict, detail = verdict_of(called, heard, sound[command], changed)
        if verdict == HARMLESS and command == "verify":
            verdict, detail = SILENT, "verify does not name it"
        elif verdict in (HARMLESS, TOLD) and not changed and now.get(name) == data:
            verdict = ANEW
        found.append((command, verdict, detail))
    return found


@functools.cache
def _sound() -> tuple[dict[str, bytes], dict[str, Said]]:
    """Return the files without damage, and what each command says then."""
    before, sound = contents(Path()), {}
    for name in WORDS:
        sound[name] = _say(name)
        restore(Path(), before, contents(Path()))
    return before, sound


def _say(command: str) -> Said:
    if command == "evaluate again":  # fits are read where a score is missing
        for score in Path(WORKSPACE, "scores").glob("*/photos-test/*"):
            score.unlink()
    return said(*WORDS[command])


def _damaged(data: bytes, how: str, position: float) -> bytes:
    if how == "cut":
        return data[: int(position * len(data))]
    bit = int(position * 8 * len(data))
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
