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
BEGINNING = "beginning"
"""The folder beside the bench that stays as both are before the command."""


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
    went_on = again.code == whole.code and contents(Path()) == last
    differing = [file for file in now.keys() | last.keys() if now.get(file) != last.get(file)]
    told = _tells(heard, name)
    # Neither as it was nor as it shall be. A report and stores of figures may say what they leave
    # out, and are completed the next time.
    stores = tuple(f"{WORKSPACE}/{store}/" for store in ("report", "bootstrap", "figures"))
    passing = ("checkpoint", *(stores if told else ()))
    half = [file for file in differing if file in now and now[file] != first.get(file)]
    half = [file for file in half if not any(place in file for place in passing)]
    if heard.code and not is_sentence(heard):
        return TRACEBACK, heard.text
    if half:
        return LOST, f"neither old nor new: {half}"
    if left:
        return LOST, f"left behind: {left}"
    if not went_on:
        return LOST, f"the same command does not go on: {again.text}"
    if heard.code == whole.code and (differing or heard.out != whole.out):
        return (TOLD if told else SILENT), f"{differing[:5]} {heard.text}"
    if heard.code == whole.code:
        return HARMLESS, ""
    named = any(word in heard.err for word in (WORKSPACE, WEIGHTS, "photos"))
    return (REFUSED if named else UNNAMED), heard.err


def _tells(heard: Said, name: str) -> bool:
    """Return True if a command that went on says what it could not read."""
    marks = {"predict": (" 1 without an answer",), "report": (" left out: ", "cannot be read")}
    return any(
        mark in heard.text for mark in marks.get(name.partition(" ")[0], ("damaged", "cannot be read", "error:"))
    )


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


@functools.cache
def _beginning() -> dict[str, bytes]:
    return contents(Path("..") / BEGINNING)


def _begin() -> None:
    restore(Path(), _beginning(), contents(Path()))
    for left in unfinished_files(Path()):
        left.unlink()
