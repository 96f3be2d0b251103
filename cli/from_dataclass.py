"""Options from dataclasses: a parameter of a command that is a dataclass stands for the options of its fields.

A field declared by `trustcache.registry.option` becomes an option; others keep their defaults. `tuple[T, ...]` is one
text with commas, `list[str]` is an option that may be repeated, and `choices` are the only values allowed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from trustcache.registry import option_name

from .values import listed


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
    options: tuple[_Option, ...]

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


def _group(annotation: Any) -> _Group | None:
    cls, *marks = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    given = next((mark.cls for mark in marks if isinstance(mark, Given)), None)
    if not (given or is_dataclass(cls)):
        return None
    hints, left_out = (
        get_type_hints(given or cls),
        {f for mark in marks if isinstance(mark, Without) for f in mark.fields},
    )
    shown = [field for field in fields(given or cls) if "help" in field.metadata and field.name not in left_out]
    return _Group(
        _those_given if given else cls,
        tuple(_option(field, hints[field.name], optional=given is not None) for field in shown),
    )


def _those_given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, (), [])}


def _option(field: Field[Any], hint: Any, optional: bool) -> _Option:
    """Return a field's option; an optional one has no default."""
    about, default = field.metadata, field.default
    convert: Callable[[Any], Any] = _unchanged
    kind: Any = next(part for part in get_args(hint) if part is not NoneType) if get_origin(hint) is UnionType else hint
    name = about.get("name") or option_name(field.name)
    names = [name] if "name" in about or kind is bool else []
    if optional or get_origin(kind) in (tuple, list):
        default = None
    if kind is bool and default is None:
        names = [f"{name}/--no-{name.removeprefix('--')}"]
    elif choices := about.get("choices"):
        kind, convert = StrEnum(field.name, {choice: choice for choice in choices}), _text
        default = kind(default) if isinstance(default, str) else default
    elif get_origin(kind) is tuple:
        kind, convert = str, _listed(name, get_args(kind)[0])
    elif get_origin(kind) is list:
        convert = _repeated
    limits = {key: about[key] for key in ("min", "max", "envvar") if key in about}
    typed = typer.Option(*names, help=about["help"], rich_help_panel=about.get("panel"), **limits)
    parameter = inspect.Parameter(
        name.removeprefix("--").replace("-", "_"),
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is MISSING else default,
        annotation=Annotated[kind | None if default is None else kind, typed],
    )
    return _Option(field.name, parameter, convert)


def _unchanged(value: Any) -> Any:
    return value


def _text(value: StrEnum | None) -> str | None:
    return None if value is None else value.value


def _repeated(values: list[str] | None) -> list[str]:
    return values or []


def _listed(name: str, kind: Callable[[str], Any]) -> Callable[[str | None], tuple[Any, ...]]:
    return lambda text: () if text is None else tuple(listed(name, text, kind))
