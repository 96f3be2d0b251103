"""The errors a user can mend: each is one sentence naming the thing at fault and the remedy.

TrustcacheError     what went wrong while working          exit code 1
├── DamagedError    a file is not as it was written        exit code 1
└── UsageError      what was asked for cannot be done      exit code 2
"""

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path


class TrustcacheError(Exception):
    """A failure the user can mend; its text is what the command line prints, and a notebook."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback: where it was raised says nothing of what to mend."""
        return [f"{type(self).__name__}: {visible(str(self))}"]


class DamagedError(TrustcacheError):
    """A file of the workspace that is not as this version of trustcache wrote it."""


class UsageError(TrustcacheError):
    """A request that cannot be carried out as given: a missing input, a wrong name, settings at odds."""

    exit_code = 2


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in an OSError of a read or a write, which names none."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextlib.contextmanager
def in_python() -> Iterator[None]:
    """Name parameters in place of options in the errors of a function that Python code calls: `--max-risk` by max_risk.

    Commands to run, such as `trustcache train --preset strong`, stay.

    >>> with in_python():
    ...     raise UsageError("--max-risk 2: too large")
    Traceback (most recent call last):
    trustcache.errors.UsageError: max_risk 2: too large
    """
    try:
        yield
    except TrustcacheError as error:
        error.args = (_OPTION.sub(lambda m: m[1].replace("-", "_") if m[1] else m[0], str(error)),)
        raise


_OPTION = re.compile(r"trustcache [a-z][^;,()]*|(?<![\w-])--([a-z][a-z0-9-]*)")


def visible(text: str, kept: str = "") -> str:
    r"""Return text as a terminal or page may show it: what moves the cursor, ends or turns the line is written out.

    Names of files may hold such characters. kept: those that stay. The joiners of scripts and emoji stay too.

    >>> print(visible("\x1b[2J\u202egpj.exe"))
    \x1b[2J\u202egpj.exe
    """
    return escape_unseen(text, lambda character: character.encode("unicode_escape").decode(), kept)


def escape_unseen(text: str, escape: Callable[[str], str], kept: str = "") -> str:
    """Return text with those of its characters escaped that `visible` writes out."""
    return _UNSEEN.sub(lambda m: m[0] if m[0] in kept else escape(m[0]), text)


_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters, invisible ones, marks of direction, and what is left of names that are not UTF-8."""


def first_few(names: Sequence[str], most: int) -> str:
    """Return names as a list, and of more than so many the first ones with the number of the others.

    >>> first_few(["a", "b", "c"], 2), first_few(["a", "b"], 2)
    ('a, b and 1 more', 'a, b')
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def did_you_mean(name: str, known: Collection[str], beginning: bool = False) -> str:
    """Return the end of a message on an unknown name: up to three known ones that are like it, "" for none.

    Case and signs do not count; names that have it as a part between hyphens come first, and of names equally like it
    those that `known` has first. beginning: the name may be the beginning of one, as of a run's.

    >>> did_you_mean("Table 1", ["table1", "figure3"])
    '; did you mean table1?'
    >>> did_you_mean("birsd-ce", ["birds-ce-frozen-seed0-2ba51c23", "birds-ss-frozen-seed0-43395772"], beginning=True)
    '; did you mean birds-ce-frozen-seed0-2ba51c23?'
    """
    import difflib

    wanted, *others = (re.sub(r"[\W_]", "", one.lower()) for one in (name, *known))
    bare = dict(zip(others, known, strict=True))
    end = len(wanted) if beginning else None
    likeness = {one: difflib.SequenceMatcher(None, one[:end], wanted).ratio() for one in bare}
    near = sorted((one for one in bare if likeness[one] >= _LIKE), key=likeness.__getitem__, reverse=True)
    parts = (one for one in bare.values() if {name, wanted} & {*one.split("-")})
    chosen = dict.fromkeys([*parts, *(bare[one] for one in near)])
    return f"; did you mean {visible(', '.join([*chosen][:3]))}?" if chosen else ""


_LIKE = 0.6


def did_you_mean_path(path: Path) -> str:
    """Return the end of a sentence that names the existing path nearest to a missing one, "" for none."""
    import difflib

    found = Path(path.anchor)
    for part in path.relative_to(path.anchor).parts:
        if not (found / part).exists():
            with contextlib.suppress(OSError), os.scandir(found) as entries:
                names = [entry.name for entry in itertools.islice(entries, _SIBLINGS)]
                part = next(iter(difflib.get_close_matches(part, names, n=1)), part)
        found /= part
    return f"; did you mean {visible(str(found))}?" if found.exists() else ""


_SIBLINGS = 10_000  # of more than these, comparing takes seconds


def percent(share: float, digits: int = 2) -> str:
    """Return a share as every text writes it.

    >>> percent(0.1839)
    '18.39 %'
    """
    return f"{100 * share:.{digits}f} %"


def spreadsheet_cell(value: object) -> object:
    """Return a value for a CSV cell: a spreadsheet would run a text that begins as a formula, so it gets an apostrophe.

    >>> [spreadsheet_cell(value) for value in ("=HYPERLINK(1)", "-0.5", "a=b", -0.5)]
    ["'=HYPERLINK(1)", '-0.5', 'a=b', -0.5]
    """
    formula = isinstance(value, str) and value[:1] in _FORMULA and not _NUMBER.fullmatch(value)
    return f"'{value}" if formula else value


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?[\d.]+(e[+-]?\d+)?|[+-]?inf")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its kind."""
    return (str(error) or type(error).__name__).splitlines()[0]


def kind_and_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of its text."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
