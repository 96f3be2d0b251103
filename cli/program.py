"""The program: its commands, each imported when it is called, and where errors become one sentence."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from trustcache.errors import TrustcacheError
from trustcache.models.memory import keep_freed_memory
from trustcache.registry import option, option_name

from .from_dataclass import expanded

# Torch's threads otherwise spin while they wait for each other, which makes decoding processes (or anything else on
# the same cores) slow them down several times. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# In the order of work; the module of a command is named as it is.
COMMANDS = (
    "fit-classifier", "extract", "train", "presets", "evaluate", "report", "reproduce", "calibrate", "predict",
    "export", "demo", "data", "cache", "verify", "bound",
)  # fmt: skip


class Program(typer.core.TyperGroup):
    """The commands. Each is imported when it is called, so that none waits for what the others import."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: typer.core.TyperCommand(name) for name in COMMANDS}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first word names, as typer does, and import it."""
        if args[0] in self.commands:
            self.commands[args[0]] = loaded(args[0])
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, with a line of each command."""
        for name, listed in self.commands.items():
            listed.help = _summary(name)
        super().format_help(ctx, formatter)


def loaded(name: str) -> Any:
    """Import a command, and return it as typer makes it."""
    importlib.import_module("." + name.replace("-", "_"), __package__)
    return typer.main.get_command(_PARTS[name])


def _summary(name: str) -> str:
    """Return the first paragraph about a command, from the function's docstring or its module's; imports neither."""
    path = Path(__file__).with_name(f"{name.replace('-', '_')}.py")
    module = ast.parse(path.read_text(encoding="utf-8"))
    own = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == path.stem]
    return (ast.get_docstring(own[0] if own else module) or "").partition("\n\n")[0]


app = typer.Typer(cls=Program, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
_PARTS: dict[str, typer.Typer] = {}


@app.callback()
def program() -> None:
    """Run a frozen image classifier once; then learn, compare and ship predictors of when to trust it."""


@dataclass(frozen=True)
class Place:
    """The folders a command works in: options that every command takes."""

    workspace: Path = option(
        Path("trustcache-workspace"), "The folder for cache, runs and report.", envvar="TRUSTCACHE_WORKSPACE"
    )
    data_root: Path = option(Path("data"), "The folder with the image data sets.", envvar="TRUSTCACHE_DATA")

    def given(self) -> list[str]:
        """Return the options that make another command work here, where they are not the defaults."""
        chosen = {field: getattr(self, field.name) for field in fields(self)}
        return [w for f, path in chosen.items() if path != f.default for w in (option_name(f.name), str(path))]


_DEBUG = inspect.Parameter(
    "debug",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")],
)


def command(name: str, group: typer.Typer | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command, whose parameters may be dataclasses of options, the first one a `Place`.

    group: what it is part of, for `trustcache data list`. Errors become a sentence and an exit code.
    """
    home = _PARTS.setdefault(name, typer.Typer(add_completion=False)) if group is None else group

    def register(function: Callable[..., None]) -> Callable[..., None]:
        place, *own = inspect.signature(function, eval_str=True).parameters.values()
        parameters, arguments = expanded([*own, place])

        @functools.wraps(function)
        def run(debug: bool, **options: Any) -> None:
            signal.signal(signal.SIGTERM, _terminate)
            keep_freed_memory()
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, io.TextIOWrapper):  # a pipe's encoding may lack what a table or a name holds
                    stream.reconfigure(errors="backslashreplace")
            try:
                function(**arguments(options))
            except (TrustcacheError, OSError, KeyboardInterrupt) as error:
                if debug:
                    traceback.print_exc()
                _say_and_exit(error)

        parameters = [*parameters, _DEBUG]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        del run.__wrapped__
        home.command(name)(run)
        return function

    return register


def command_group(name: str, help: str | None) -> typer.Typer:
    """Register commands of one subject, as `trustcache data`."""
    return _PARTS.setdefault(name, typer.Typer(no_args_is_help=True, add_completion=False, help=help))


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
