"""The program: its commands, each imported when it is called, and where errors become one sentence."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import os
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from keyword import iskeyword
from pathlib import Path
from typing import Annotated, Any

import typer

from trustcache.errors import UsageError
from trustcache.models.memory import keep_freed_memory
from trustcache.registry import option, option_name
from trustcache.registry.options import WORKSPACE
from trustcache.registry.permission import CodePermission, code_permission, is_code_name

from .config import CONFIGURABLE, config_options, config_text, from_file, typed
from .from_dataclass import expanded
from .output import Output, print_table, terminal
from .process import (
    EXPECTED,
    Process,
    begin,
    console,
    end,
    is_quiet,
    is_verbose,
    loudness,
    print_line,
    print_note,
    say,
    say_error,
    unknown_option,
)
from .signals import name_command, received

# typer's help has no escape codes at all then, as our tables have none.
if os.environ.get("NO_COLOR"):
    os.environ.setdefault("_TYPER_FORCE_DISABLE_TERMINAL", "1")

__all__ = [
    "Output", "Place", "app", "command", "command_group", "console", "is_quiet", "is_verbose", "loaded", "print_line",
    "print_note", "print_table", "say", "say_error", "terminal", "unknown_option",
]  # fmt: skip

# In the order of use, by the headings of the help; the module of a command is named as it is.
PANELS = {
    "Start": ("demo", "data"),
    "Stage one: run the classifier once": ("fit-classifier", "extract", "import"),
    "Stage two: learn and compare": ("train", "presets", "evaluate", "report"),
    "Use": ("calibrate", "sets", "predict", "export"),
    "Look after": ("cache", "runs", "verify"),
    "The paper": ("reproduce", "bound"),
}
COMMANDS = tuple(name for names in PANELS.values() for name in names)


class Program(Process):
    """The commands. Each is imported when it is called, so that none waits for what the others import."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {
            name: typer.core.TyperCommand(name, rich_help_panel=panel)
            for panel, names in PANELS.items()
            for name in names
        }

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the options before the command, which has all but a few of its own."""
        with unknown_option(lambda name: name and f"give it after the command, as in trustcache report {name} …"):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first word names, as typer does, and import it."""
        name_command(args[0])
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
    importlib.import_module(f".{_module(name)}", __package__)
    return typer.main.get_command(_PARTS[name])


def _module(name: str) -> str:
    """Return the name of a command's module, with an underscore where Python keeps the word to itself."""
    word = name.replace("-", "_")
    return f"{word}_" if iskeyword(word) else word


def _summary(name: str) -> str:
    """Return the first paragraph about a command, from the function's docstring or its module's; imports neither."""
    path = Path(__file__).with_name(f"{_module(name)}.py")
    module = ast.parse(path.read_text(encoding="utf-8"))
    own = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == path.stem]
    return (ast.get_docstring(own[0] if own else module) or "").partition("\n\n")[0]


_BOTH_NAMES = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    cls=Program, invoke_without_command=True, pretty_exceptions_enable=False, context_settings=_BOTH_NAMES
)
_PARTS: dict[str, typer.Typer] = {}


def _print_version(asked: bool) -> None:
    if asked:
        from trustcache.cache.versions import trustcache_version

        print_line(f"trustcache {trustcache_version()}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Run a frozen image classifier once; then learn, compare and ship predictors of when to trust it.

    New here? Start with: trustcache demo
    """
    if context.invoked_subcommand is None:
        context.command.format_help(context, context.make_formatter())


_PANEL = "Every command"


Function = Callable[..., Output | None]


@dataclass(frozen=True)
class Place:
    """The folders a command works in: options that every command takes."""

    workspace: Path = option(
        WORKSPACE,
        "The folder for cache, runs and report.",
        envvar="TRUSTCACHE_WORKSPACE",
        panel=_PANEL,
    )
    data_root: Path = option(
        Path("data"), "The folder with the image data sets.", envvar="TRUSTCACHE_DATA", panel=_PANEL
    )
    allow_code: list[str] = option(
        [],
        "Let code run that a file names, package.module:function or a file; kept for this workspace. May be repeated.",
        panel=_PANEL,
    )

    def given(self) -> list[str]:
        """Return the options that make another command work in these folders, where they are not the defaults."""
        chosen = {field: getattr(self, field.name) for field in fields(self) if isinstance(field.default, Path)}
        return [w for f, path in chosen.items() if path != f.default for w in (option_name(f.name), str(path))]

    def code_permission(self, typed: set[str]) -> CodePermission:
        """Return the permission of the code that the user named: in --allow-code, or typed as another option's value.

        Raises UsageError for an --allow-code that names none.
        """
        if wrong := [name for name in self.allow_code if not is_code_name(name)]:
            raise UsageError(f"--allow-code {wrong[0]}: expected package.module:function, file.py:function or a file")
        kept = Path(typer.get_app_dir("trustcache")) / "allowed-code.jsonl"
        permission = CodePermission({*typed, *self.allow_code}, self.workspace, kept)
        permission.remember(*self.allow_code)
        return permission


# Options and arguments whose values name code, if they are import paths or files of programs; behind data's is a role.
_NAME_CODE = ("classifier", "oracle", "loss", "score", "run")
_NAME_DATA = ("data", "request")


def _typed_code(options: Mapping[str, Any]) -> set[str]:
    """Return the code that the user names as the value of an option or argument, by itself or in a list."""
    texts = _texts(options, _NAME_CODE)
    words = {*texts, *(word for text in texts for word in re.split(r"[,\s]+", text))}  # a file's name may have spaces
    names = {word for word in words if is_code_name(word)}
    if data := [text for text in _texts(options, _NAME_DATA) if ":" in text]:
        from trustcache.data.known_data import named_code

        names |= {named_code(text) for text in data} - {""}
    return names


def _texts(options: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    values = [options.get(name) or () for name in names]
    return [text for value in values for text in ([value] if isinstance(value, str) else value)]


def _flag(name: str, help: str, *short: str) -> inspect.Parameter:
    kind = Annotated[bool, typer.Option(f"--{name}", *short, help=help, rich_help_panel=_PANEL)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)


_CONTEXT = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
_JSON = _flag("json", "Print the result as one JSON document: docs/json.md.")
_FLAGS = (
    _flag(
        "quiet", "Print results and errors only: no progress, no notes but those that explain a report's tables.", "-q"
    ),
    _flag("verbose", "Print how long each part took, and all of a report's tables.", "-v"),
    _flag("debug", "Show the traceback of an error."),
)


def command(
    name: str, group: typer.Typer | None = None, cls: type[typer.core.TyperCommand] = typer.core.TyperCommand
) -> Callable[[Function], Function]:
    """Register a command, whose parameters may be dataclasses of options, the first one a `Place`.

    group: what it is part of, for `trustcache data list`. cls: of the command, where its options need more than
    typer. A command that returns an `Output` has a `--json`. Errors become a sentence and an exit code.
    """
    home = _PARTS.setdefault(name, _part()) if group is None else group
    path = " ".join([*(key for key, part in _PARTS.items() if part is group), name])

    def register(function: Function) -> Function:
        signature = inspect.signature(function, eval_str=True)
        place, *own = signature.parameters.values()
        parameters, arguments = expanded([*own, place])

        @functools.wraps(function)
        def run(
            context: typer.Context,
            quiet: bool,
            verbose: bool,
            debug: bool,
            json: bool = False,
            print_config: bool = False,
            config: Path | None = None,
            **options: Any,
        ) -> None:
            begin()
            keep_freed_memory()
            typed_code = _typed_code({name: value for name, value in options.items() if typed(context, name)})
            try:
                options = from_file(context, options)
                if print_config:
                    print_line(config_text(context, options).removesuffix("\n"), kept="\n")
                    return
                given = arguments(options)
                with code_permission(given[place.name].code_permission(typed_code)), loudness(quiet, verbose):
                    made = function(**given)
                    if made is not None:
                        made.print(path, json)
            except (Exception, KeyboardInterrupt) as error:
                if isinstance(error, typer.Exit) or not (isinstance(error, EXPECTED) or received()):
                    raise
                if debug:
                    traceback.print_exc()
                end(error)

        run.__doc__ = "\n\n".join(" ".join(text.split()) for text in (function.__doc__ or "").split("\n\n"))
        if signature.return_annotation is Output:
            parameters.append(_JSON)
        if path in CONFIGURABLE:
            parameters += config_options(_PANEL)
        parameters = [_CONTEXT, *parameters, *_FLAGS]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        del run.__wrapped__
        home.command(name, cls=cls)(run)
        return function

    return register


def command_group(name: str, help: str | None) -> typer.Typer:
    """Register commands of one subject, as `trustcache data`."""
    return _PARTS.setdefault(name, _part(no_args_is_help=True, help=help))


def _part(**settings: Any) -> typer.Typer:
    return typer.Typer(add_completion=False, context_settings=_BOTH_NAMES, **settings)
