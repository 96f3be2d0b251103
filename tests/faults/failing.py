"""One call of a command fails: what is left, and what the same command makes of it."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from tests.faults.cases import (
    HARMLESS,
    LOST,
    REFUSED,
    SILENT,
    TOLD,
    TRACEBACK,
    UNNAMED,
    Said,
    is_sentence,
    restore,
    said,
)
from tests.faults.forks import Fault, arm, disarm
from tests.faults.laboratory import COMMANDS, WEIGHTS, WORKSPACE, contents, unfinished_files

FULL_DISK = ("ENOSPC", "EDQUOT", "EIO")
ERRORS = {
    "open": ("EIO",),
    "create": ("ENOSPC", "EDQUOT"),
    "read": ("EIO",),
    "write": FULL_DISK,
    "fsync": FULL_DISK,
    "rename": FULL_DISK,
}
"""The errors that a call of each kind can end with."""
_BEGIN = contents(Path()) if Path(WORKSPACE).exists() or Path("photos").exists() else {}


def count(name: str) -> tuple[str, dict[str, int]]:
    """Return how many calls of each kind a command makes."""
    return "counted", _sound(name)[3]


def judge(case: list[str | int]) -> tuple[str, str]:
    """Let the call of a case [command, kind, n, error] fail, then run the command again."""
    name, kind, nth, error = str(case[0]), str(case[1]), int(case[2]), str(case[3])
    first, last, whole, _ = _sound(name)
    words = COMMANDS[name]
    _begin()
    arm(Fault(os.getcwd(), kind, nth, error))
    try:
        heard = said(*words)
    finally:
        disarm()
    now = contents(Path())
    left = unfinished_files(Path())
    again = said(*words)
    went_on = again.code == 0 and contents(Path()) == last
    if heard.code and not is_sentence(heard):
        return TRACEBACK, heard.text
    if half := [file for file, data in now.items() if data not in (first.get(file), last.get(file))]:
        return LOST, f"neither old nor new: {half}"
    if left:
        return LOST, f"left behind: {left}"
    if heard.code == 0 and (now != last or heard.out != whole.out):
        told = name.startswith("predict") and " 1 without an answer" in heard.err
        return (TOLD if told else SILENT), heard.text
    if not went_on:
        return LOST, f"the same command does not go on: {again.text}"
    if heard.code and not any(word in heard.err for word in (WORKSPACE, WEIGHTS, "photos")):
        return UNNAMED, heard.err
    return (REFUSED if heard.code else HARMLESS), ""


@functools.cache
def _sound(name: str) -> tuple[dict[str, bytes], dict[str, bytes], Said, dict[str, int]]:
    """Return the files before and after a command, what it says, and how many calls it makes."""
    _begin()
    first = contents(Path())
    said(*COMMANDS[name])  # what a first call in a process reads besides
    _begin()
    arm(Fault(os.getcwd()))
    whole = said(*COMMANDS[name])
    return first, contents(Path()), whole, disarm()


def _begin() -> None:
    restore(Path(), _BEGIN, contents(Path()))
    for left in unfinished_files(Path()):
        left.unlink()
