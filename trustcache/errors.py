"""The errors a user can mend: each is one sentence naming the thing at fault and the remedy.

TrustcacheError     what went wrong while working          exit code 1
├── DamagedError    a file is not as it was written        exit code 1
└── UsageError      what was asked for cannot be done      exit code 2
"""


class TrustcacheError(Exception):
    """A failure the user can mend; its text is what the command line prints."""

    exit_code = 1


class DamagedError(TrustcacheError):
    """A file of the workspace that is not as this version of trustcache wrote it."""


class UsageError(TrustcacheError):
    """A request that cannot be carried out as given: a missing input, a wrong name, settings at odds."""

    exit_code = 2


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its kind."""
    return (str(error) or type(error).__name__).splitlines()[0]


def kind_and_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of its text."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
