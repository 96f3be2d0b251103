"""The program: its commands, and where errors become one sentence."""

from __future__ import annotations

import functools
import inspect
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from trustcache.errors import TrustcacheError
from trustcache.models.memory import keep_freed_memory

# Torch's threads otherwise spin while they wait for each other, which makes decoding processes (or anything else on
# the same cores) slow them down several times. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Run a frozen image classifier once; then learn, compare and ship predictors of when to trust it.",
)


@dataclass(frozen=True)
class Place:
    """Where a command works: the options that every command takes."""

    workspace: Path
    data_root: Path

    def given(self) -> list[str]:
        """The options that make another command work here, where they are not the defaults."""
        chosen = {"--workspace": self.workspace, "--data-root": self.data_root}
        defaults = {"--workspace": _DEFAULTS["workspace"], "--data-root": _DEFAULTS["data_root"]}
        return [word for key, path in chosen.items() if path != defaults[key] for word in (key, str(path))]


_COMMON = {
    "workspace": Annotated[
        Path, typer.Option(envvar="TRUSTCACHE_WORKSPACE", help="The folder for cache, runs and report.")
    ],
    "data_root": Annotated[Path, typer.Option(envvar="TRUSTCACHE_DATA", help="The folder with the image data sets.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")],
}
_DEFAULTS: dict[str, Any] = {"workspace": Path("trustcache-workspace"), "data_root": Path("data"), "debug": False}


def command(group: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command: give it the common options as a `Place`, and turn errors into a sentence and an exit code."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(workspace: Path, data_root: Path, debug: bool, **options: Any) -> None:
            signal.signal(signal.SIGTERM, _terminate)
            keep_freed_memory()
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, io.TextIOWrapper):  # a pipe's encoding may lack what a table or a name holds
                    stream.reconfigure(errors="backslashreplace")
            try:
                function(Place(workspace, data_root), **options)
            except (TrustcacheError, OSError, KeyboardInterrupt) as error:
                if debug:
                    traceback.print_exc()
                _say_and_exit(error)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        common = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS[key], annotation=annotation)
            for key, annotation in _COMMON.items()
        ]
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        run.__signature__ = inspect.Signature([*keyword, *common])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in [*own, *common]}
        del run.__wrapped__
        group.command(name)(run)
        return function

    return register


def say(text: str) -> None:
    """Tell the user something that is no result: on standard error."""
    if sys.stderr is not None:  # print would take standard output then
        print(text, file=sys.stderr)


def _terminate(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _say_and_exit(error: BaseException) -> NoReturn:
    if isinstance(error, KeyboardInterrupt):
        say("interrupted; the same command goes on from here")
        raise typer.Exit(130) from None
    if isinstance(error, BrokenPipeError):  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    if isinstance(error, OSError):
        say(f"error: {error.filename or 'a file'}: {error.strerror or error}; mend that and run the same command again")
        raise typer.Exit(1) from None
    say(f"error: {error}")
    raise typer.Exit(error.exit_code if isinstance(error, TrustcacheError) else 1) from None
