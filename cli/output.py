"""Printing of a command's result: a table for people, lines with tabs for a pipe, or one JSON document."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from trustcache.errors import TrustcacheError, UsageError, visible

from .process import print_line, say

if TYPE_CHECKING:
    from rich.console import Console

    from trustcache.evaluate.removal import Removal


@dataclass(frozen=True)
class Output:
    """A command's result, whose command has a `--json`.

    document: the fields of its JSON document. show: prints it for people. failure: what the command ends with once
    the result is printed.
    """

    document: dict[str, Any]
    show: Callable[[], None]
    failure: TrustcacheError | None = None

    def print(self, command: str, as_json: bool) -> None:
        """Print the result. Raises its failure, if any."""
        if as_json:
            from trustcache.cache.records import result_json

            print_line(result_json(command, self.document), kept="\n")
        else:
            self.show()
        if self.failure:
            raise self.failure


_FIGURE = re.compile(r"[+−-]?\d[\d,.]*(e[+-]?\d+)?( %)?|nothing|everything|undefined")
"""A cell of a column that is aligned at its right end, with its heading: a number, or what stands for one."""


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their heads: aligned within the terminal's width, or for a pipe with tabs between the cells."""
    texts = [[visible(str(cell)) for cell in row] for row in rows]
    # In a pipe rich is not needed, whose import takes as long as the rest of a listing.
    forced = any(os.environ.get(name) for name in ("FORCE_COLOR", "TTY_COMPATIBLE"))
    console = terminal() if forced or sys.stdout.isatty() else None
    if console is None or not console.is_terminal:
        for row in [heads, *texts]:
            print_line("\t".join(row))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, head in enumerate(heads):
        figures = [row[place] for row in texts if row[place]]
        right = bool(figures) and all(map(_FIGURE.fullmatch, figures))
        table.add_column(head, justify="right" if right else "left")
    for row in texts:
        table.add_row(*map(Text, row))
    console.print(table)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print what is known of one thing, a line a fact; those of a table within are named as in `meaning.store`."""
    from trustcache.cache.records import flat_facts

    print_table(("what", "value"), flat_facts(facts))


def confirm(removal: Removal, yes: bool) -> Output:
    """Ask whether to remove what a removal names, unless `yes`, and remove it.

    Raises UsageError where nobody can answer, and typer.Abort for a no.
    """
    for line in removal.stays:
        say(f"note: {line}")
    if not yes:
        question = f"remove {', '.join(removal.names)} ({len(removal.paths)} files and folders)?"
        if not sys.stdin.isatty():
            raise UsageError(f"{question} nobody is there to answer; add --yes")
        if not typer.confirm(visible(question), err=True):
            raise TrustcacheError("nothing was removed")
    removal.carry_out()
    document = {"removed": removal.names, "paths": removal.paths, "stays": removal.stays}
    return Output(document, lambda: print_line(f"removed {', '.join(removal.names)}"))


def terminal() -> Console:
    """Return standard output as rich writes to it: without any escape codes for NO_COLOR."""
    from rich.console import Console

    return Console(color_system=None if os.environ.get("NO_COLOR") else "auto")
