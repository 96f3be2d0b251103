"""The program: its commands, and where errors become one sentence."""

from __future__ import annotations

import functools
import inspect
import os
import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from trustcache.errors import UsageError
from trustcache.models.memory import keep_freed_memory
from trustcache.registry import CodePermission, code_permission, is_import_path, option, option_name

from .from_dataclass import expanded
from .process import EXPECTED, Program, begin, end, print_line, say
from .signals import received

# Torch's threads otherwise spin while they wait for each other, which makes decoding processes (or anything else on
# the same cores) slow them down several times. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = ["Place", "app", "command", "print_line", "say"]

app = typer.Typer(
    cls=Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Run a frozen image classifier once; then learn, compare and ship predictors of when to trust it.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from trustcache.cache.versions import trustcache_version

        print(f"trustcache {trustcache_version()}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@dataclass(frozen=True)
class Place:
    """The folders a command works in: options that every command takes."""

    workspace: Path = option(
        Path("trustcache-workspace"), "The folder for cache, runs and report.", envvar="TRUSTCACHE_WORKSPACE"
    )
    data_root: Path = option(Path("data"), "The folder with the image data sets.", envvar="TRUSTCACHE_DATA")
    allow_code: list[str] = option(
        [], "Let code run that a file names, package.module:function; kept for this workspace. May be repeated."
    )

    def given(self) -> list[str]:
        """Return the options that make another command work in these folders, where they are not the defaults."""
        chosen = {field: getattr(self, field.name) for field in fields(self) if isinstance(field.default, Path)}
        return [w for f, path in chosen.items() if path != f.default for w in (option_name(f.name), str(path))]

    def code_permission(self, typed: set[str]) -> CodePermission:
        """Return the permission of the code that the user named: in --allow-code, or typed as another option's value.

        Raises UsageError for an --allow-code that names none.
        """
        if wrong := [name for name in self.allow_code if not is_import_path(name)]:
            raise UsageError(f"--allow-code {wrong[0]}: expected package.module:function")
        kept = Path(typer.get_app_dir("trustcache")) / "allowed-code.jsonl"
        permission = CodePermission({*typed, *self.allow_code}, self.workspace, kept)
        permission.remember(*self.allow_code)
        return permission


# Options and arguments whose values name code, if they are package.module:function.
_NAME_CODE = ("classifier", "oracle", "loss", "score", "run")


def _typed_code(options: Mapping[str, Any]) -> set[str]:
    """Return the code that the user names as the value of an option or argument, by itself or in a list."""
    values = [options.get(name) or () for name in _NAME_CODE]
    texts = [text for value in values for text in ([value] if isinstance(value, str) else value)]
    return {word for text in texts for word in re.split(r"[,\s]+", text) if is_import_path(word)}


_DEBUG = inspect.Parameter(
    "debug",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")],
)


def command(group: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command, whose parameters may be dataclasses of options, the first one a `Place`.

    Errors become a sentence and an exit code.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        place, *own = inspect.signature(function, eval_str=True).parameters.values()
        parameters, arguments = expanded([*own, place])

        @functools.wraps(function)
        def run(debug: bool, **options: Any) -> None:
            begin()
            keep_freed_memory()
            typed = _typed_code(options)
            try:
                given = arguments(options)
                with code_permission(given[place.name].code_permission(typed)):
                    function(**given)
            except (Exception, KeyboardInterrupt) as error:
                if isinstance(error, typer.Exit) or not (isinstance(error, EXPECTED) or received()):
                    raise
                if debug:
                    traceback.print_exc()
                end(error)

        parameters = [*parameters, _DEBUG]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        del run.__wrapped__
        group.command(name)(run)
        return function

    return register
