"""A TOML file for a whole run: `--config` takes options from it, and `--print-config` prints one.

The file has a table for each command, whose keys are the names of its options; keys above the tables are those that
every command takes. What is typed goes before the file, and the file before the environment. Code that a file names
runs only if the user has allowed it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from trustcache.errors import TrustcacheError, UsageError, did_you_mean

from .process import begin, end

CONFIGURABLE = ("fit-classifier", "extract", "import", "train", "evaluate", "calibrate", "reproduce")
"""The commands that take their options from a file."""
# Options that are of one call, or must be typed.
_NOT_IN_FILES = ("config", "print-config", "quiet", "verbose", "debug", "json", "help", "allow-code")
_SHARED = ("workspace", "data-root")
_GIVEN = "trustcache.config"


def config_options(panel: str) -> list[inspect.Parameter]:
    """Return the parameters of `--config` and `--print-config`."""

    def option(name: str, kind: Any, default: Any, **about: Any) -> inspect.Parameter:
        typed = typer.Option(f"--{name}", rich_help_panel=panel, **about)
        word = name.replace("-", "_")
        return inspect.Parameter(
            word, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, typed]
        )

    file_help = "A TOML file with a table of options for each command; those typed go before it."
    print_help = "Print the options in effect, as such a file, and do nothing else."
    return [
        option("config", Path | None, None, help=file_help, callback=_take, is_eager=True),
        option("print-config", bool, False, help=print_help),
    ]


def _take(context: typer.Context, path: Path | None) -> Path | None:
    """Make the file's values for the command the defaults of its parameters."""
    if path is not None and not context.resilient_parsing:
        begin()
        try:
            context.default_map = context.meta[_GIVEN] = dict(_values(context, path))
        except TrustcacheError as error:
            end(error)
    return path


def _values(context: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield what a file says of a command's parameters. Raises UsageError naming the file and the key at fault."""
    from trustcache.data.toml_tables import read_table

    parameters = {_key(parameter): parameter for parameter in context.command.params}
    known = [key for key in parameters if key not in _NOT_IN_FILES]
    try:
        tables = read_table(str(path), str(path))
    except OSError as error:
        raise UsageError(f"--config {path}: cannot be read ({error.strerror or error})") from None
    for name, value in tables.items():
        if not isinstance(value, dict):
            _require(path, "", name, _SHARED)
        else:
            _require(path, "table ", name, CONFIGURABLE)
    own = tables.get(context.command.name, {})
    shared = {key: value for key, value in tables.items() if not isinstance(value, dict)}
    for key, value in {**shared, **own}.items():
        _require(path, f"[{context.command.name}] ", key, known)
        parameter = parameters[key]
        try:
            yield parameter.name, _taken(context, parameter, value)
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            raise UsageError(f"{path}: [{context.command.name}] {key} = {value!r}: {error.format_message()}") from None


def _require(path: Path, what: str, name: str, known: Any) -> None:
    if name not in known:
        near = did_you_mean(name, known)
        raise UsageError(f"{path}: {what}{name}: no such key here; one of {', '.join(known)}{near}")


def _taken(context: Any, parameter: Any, value: Any) -> Any:
    """Return a value of the file as the command line would give it."""
    flag, given = getattr(parameter, "is_flag", False), value if isinstance(value, list) else [value]
    if flag != isinstance(value, bool):
        raise typer.BadParameter("expected true or false" if flag else "true and false are for flags only")
    if not all(isinstance(each, str | int | float) for each in given):
        raise typer.BadParameter("expected text, a number, or a list of them")
    several = getattr(parameter, "multiple", False) or parameter.nargs == -1
    if isinstance(value, list):
        texts = [each if isinstance(each, str) else str(each) for each in value]
        value = texts if several else ",".join(texts)
    elif several:
        value = [str(value)]
    elif not isinstance(value, bool):
        value = str(value)
    parameter.type_cast_value(context, value)
    return value


def _key(parameter: Any) -> str:
    """Return the name of a parameter in a file: its option's, or the argument's own."""
    return next((name[2:] for name in parameter.opts if name.startswith("--")), str(parameter.name))


def from_file(context: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of parameters, with those of the file in place of the environment's."""
    options = dict(options)
    for parameter in context.command.params:
        name, file = parameter.name, context.meta.get(_GIVEN, {})
        if name in file and _source(context, name) == "ENVIRONMENT":
            value = parameter.process_value(context, file[name])
            options[name] = Path(value) if isinstance(options[name], Path) else value
    return options


def typed(context: Any, name: str) -> bool:
    """Return True if the user typed a parameter's value."""
    return _source(context, name) == "COMMANDLINE"


def _source(context: Any, name: str) -> str:
    source = context.get_parameter_source(name)
    return source.name if source else ""


def config_text(context: Any, options: Mapping[str, Any]) -> str:
    """Return the options of a command as a file for `--config`."""
    from trustcache.data.toml_tables import table_text

    table = {}
    for parameter in context.command.params:
        value = options.get(parameter.name)
        if (key := _key(parameter)) not in _NOT_IN_FILES and value is not None and value not in ((), []):
            plain = isinstance(value, bool | int | float | str | list | tuple)
            table[key] = value if plain else str(value)
    return table_text({context.command.name: table})
