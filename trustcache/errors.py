"""The errors a user can mend: each is one sentence naming the thing at fault and the remedy.

TrustcacheError     what went wrong while working          exit code 1
├── DamagedError    a file is not as it was written        exit code 1
└── UsageError      what was asked for cannot be done      exit code 2
"""

import unicodedata


class TrustcacheError(Exception):
    """A failure the user can mend; its text is what the command line prints."""

    exit_code = 1


class DamagedError(TrustcacheError):
    """A file of the workspace that is not as this version of trustcache wrote it."""


class UsageError(TrustcacheError):
    """A request that cannot be carried out as given: a missing input, a wrong name, settings at odds."""

    exit_code = 2


def visible(text: str, kept: str = "") -> str:
    r"""Return text as a terminal or page may show it: what moves the cursor, ends or turns the line is written out.

    Names of files may hold such characters. kept: those that stay. The joiners of scripts and emoji stay too.

    >>> print(visible("\x1b[2J\u202egpj.exe"))
    \x1b[2J\u202egpj.exe
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        mark.encode("unicode_escape").decode()
        if unicodedata.category(mark) in _UNSEEN and mark not in kept + _JOINERS
        else mark
        for mark in text
    )


_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its kind."""
    return (str(error) or type(error).__name__).splitlines()[0]


def kind_and_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of its text."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
