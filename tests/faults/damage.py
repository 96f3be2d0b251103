"""A flipped bit or a cut in one file of the workspace, and what the commands that read it make of it."""

from __future__ import annotations

import functools
import random
from pathlib import Path

from tests.faults.cases import ANEW, HARMLESS, SILENT, Said, restore, said, verdict_of
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
    "post-hoc score": ("evaluate", "report"),
    "fitted score": ("evaluate again",),
    "bootstrap store": ("report",),
    "sweep": ("predict the winner", "report"),
    "checkpoint.pt": ("unfinished",),
    "classifier": ("predict", "extract"),
}
"""The commands that read a kind of file; `verify` reads all."""
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
    kind, name, how, position = case
    before, sound = _sound()
    path = Path(str(name))
    data = before[str(name)]
    path.write_bytes(_damaged(data, str(how), float(str(position))))
    found = []
    try:
        for command in (*READ_BY.get(str(kind), ()), "verify"):
            if command == "evaluate again":  # fits are read where a score is missing
                for score in Path(WORKSPACE, "scores").glob("*/test/*"):
                    score.unlink()
            heard = said(*WORDS[command])
            now = contents(Path())
            changed = {file for file in now.keys() | before.keys() if now.get(file) != before.get(file)} - {str(name)}
            verdict, detail = verdict_of(path.name, heard, sound[command], changed)
            if verdict == HARMLESS and now.get(str(name)) == data:
                verdict = ANEW
            elif verdict == HARMLESS and command == "verify":
                verdict, detail = SILENT, "verify does not name it"
            found.append((command, verdict, detail))
            if verdict == ANEW or changed:
                restore(Path(), before, now)
                path.write_bytes(_damaged(data, str(how), float(str(position))))
    finally:
        restore(Path(), before, contents(Path()))
    return found


@functools.cache
def _sound() -> tuple[dict[str, bytes], dict[str, Said]]:
    """Return the files without damage, and what each command says then."""
    before, sound = contents(Path()), {}
    for name, words in WORDS.items():
        sound[name] = said(*words)
        restore(Path(), before, contents(Path()))
    return before, sound


def _damaged(data: bytes, how: str, position: float) -> bytes:
    if how == "cut":
        return data[: int(position * len(data))]
    bit = int(position * 8 * len(data))
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
