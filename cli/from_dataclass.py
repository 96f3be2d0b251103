"""Options from dataclasses: a parameter of a command that is a dataclass stands for the options of its fields.

A field declared by `trustcache.registry.option` becomes an option; others keep their defaults. `tuple[T, ...]` is one
text with commas, `list[str]` is an option that may be repeated, and `choices` are the only values allowed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from keyword import iskeyword
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import typer

from trustcache.errors import UsageError
from trustcache.registry import option_name

T = TypeVar("T")


@dataclass(frozen=True)
class Given:
    """Mark of a dictionary that holds those options of a dataclass which are given: `Annotated[dict, Given(cls)]`."""

    cls: type


class Without:
    """Mark of a dataclass some of whose fields are no options here: `Annotated[cls, Without("field", "other")]`."""

    def __init__(self, *fields: str) -> None:
        self.fields = fields


@dataclass(frozen=True)
class _Option:
    """One option: the field it fills, the parameter typer is given, and the function from its value to the field's."""

    field: str
    parameter: inspect.Parameter
    convert: Callable[[Any], Any]


@dataclass(frozen=True)
class _Group:
    """The options of one dataclass."""

    make: Callable[..., Any]
    options: list[_Option]

    def take(self, values: dict[str, Any]) -> Any:
        """Take the options' values out of `values`, and make the command's argument of them."""
        return self.make(**{each.field: each.convert(values.pop(each.parameter.name)) for each in self.options})


def expanded(
    parameters: Iterable[inspect.Parameter],
) -> tuple[list[inspect.Parameter], Callable[[dict[str, Any]], dict[str, Any]]]:
    """Return a command's parameters as typer takes them, and the function from their values to its arguments."""
    groups: dict[str, _Group] = {}
    flat: list[inspect.Parameter] = []
    for parameter in parameters:
        if group := _group(parameter.annotation):
            groups[parameter.name] = group
            flat += [each.parameter for each in group.options]
        else:
            flat.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    def arguments(values: dict[str, Any]) -> dict[str, Any]:
        return {name: group.take(values) for name, group in groups.items()} | values

    return flat, arguments


def listed(option: str, text: str, kind: Callable[[str], T]) -> list[T]:
    """Return `1,2,3` as a list. Raises UsageError naming the option."""
    try:
        return [kind(part.strip()) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} {text}: expected a value or a list such as 1,2,3") from None


def _group(annotation: Any) -> _Group | None:
    cls, *marks = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    given = next((mark.cls for mark in marks if isinstance(mark, Given)), None)
    if not (given or is_dataclass(cls)):
        return None
    hints = get_type_hints(given or cls)
    left_out = {name for mark in marks if isinstance(mark, Without) for name in mark.fields}
    shown = [field for field in fields(given or cls) if "help" in field.metadata and field.name not in left_out]
    options = [_option(field, hints[field.name], optional=given is not None) for field in shown]
    return _Group(_those_given if given else cls, options)


def _those_given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, (), [])}


def _option(field: Field[Any], hint: Any, optional: bool) -> _Option:
    """Return a field's option; an optional one has no default."""
    about, default = field.metadata, None if optional else field.default
    convert: Callable[[Any], Any] = _unchanged
    kind: Any = next(part for part in get_args(hint) if part is not NoneType) if get_origin(hint) is UnionType else hint
    name = about.get("name") or option_name(field.name)
    names = [name] if "name" in about or kind is bool else []
    if kind is bool and default is not False:
        names = [f"{name}/--no-{name.removeprefix('--').removeprefix('use-')}"]
    elif choices := about.get("choices"):
        kind = Literal[choices]
    elif get_origin(kind) is tuple:
        kind, convert = str, _from_text(name, get_args(kind)[0])
        default = ",".join(f"{value}" for value in default) or None if isinstance(default, tuple) else default
    elif get_origin(kind) is list:
        default, convert = None, _repeated
    limits = {key: about[key] for key in ("min", "max", "envvar") if key in about}
    typed = typer.Option(*names, help=about["help"], rich_help_panel=about.get("panel"), **limits)
    word = name.removeprefix("--").replace("-", "_")
    parameter = inspect.Parameter(
        f"{word}_" if iskeyword(word) else word,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is MISSING else default,
        annotation=Annotated[kind | None if default is None else kind, typed],
    )
    return _Option(field.name, parameter, convert)


def _unchanged(value: Any) -> Any:
    return value


def _repeated(values: list[str] | None) -> list[str]:
    return values or []


def _from_text(name: str, kind: Callable[[str], Any]) -> Callable[[str | None], tuple[Any, ...]]:
    return lambda text: () if text is None else tuple(listed(name, text, kind))
