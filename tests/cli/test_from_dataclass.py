"""A dataclass's fields as options: types, defaults, limits, names, and what is left out."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from cli.from_dataclass import Given, Without
from cli.program import Place, command
from trustcache.registry import REQUIRED, option


@dataclass(frozen=True)
class Brewing:
    """A group of options of every kind."""

    bean: str = option(REQUIRED, "The bean.")
    grams: int = option(18, "Of beans.", min=1, max=30)
    kind: str = option("filter", "How.", choices=("filter", "mocha"))
    shots: tuple[int, ...] = option((), "One or several.")
    note: list[str] = option([], "May be repeated.")
    sweet: bool = option(False, "With sugar.")
    iced: bool | None = option(None, "With ice.")
    seconds: float | None = option(None, "How long.", name="--time")
    secret: str = "not an option"


def run(annotation: Any, *words: str) -> tuple[Any, str]:
    """What a command with one such parameter is called with, and what it printed."""
    app, seen = typer.Typer(), []

    def brew(place: Place, given: annotation) -> None:  # type: ignore[valid-type]
        seen.append(given)

    brew.__annotations__ = {"place": Place, "given": annotation, "return": None}
    command("brew", app)(brew)
    done = CliRunner().invoke(app, list(words))
    return (seen or [None])[0], done.output


def test_what_is_not_given_has_the_fields_defaults() -> None:
    assert run(Brewing, "--bean", "arabica")[0] == Brewing("arabica")


def test_every_kind_of_option_fills_its_field() -> None:
    words = "--bean a --grams 20 --kind mocha --shots 1,2 --note x --note y --sweet --no-iced --time 2.5"
    assert run(Brewing, *shlex.split(words))[0] == Brewing("a", 20, "mocha", (1, 2), ["x", "y"], True, False, 2.5)


@pytest.mark.parametrize(
    "words",
    [(), ("--grams", "0"), ("--grams", "31"), ("--kind", "instant"), ("--secret", "x"), ("--shots", "1,two")],
)
def test_what_a_field_does_not_allow_is_refused(words: tuple[str, ...]) -> None:
    given, output = run(Brewing, *words, *(("--bean", "a") if words else ()))
    assert given is None
    assert (words[0] if words else "--bean") in output


def test_a_dictionary_of_given_options_has_nothing_else() -> None:
    annotation = Annotated[dict[str, Any], Given(Brewing)]
    assert run(annotation)[0] == {}
    words = ("--grams", "18", "--no-sweet", "--time", "0", "--shots", "3")
    assert run(annotation, *words)[0] == {"grams": 18, "sweet": False, "seconds": 0.0, "shots": (3,)}


def test_fields_left_out_are_no_options() -> None:
    annotation = Annotated[Brewing, Without("grams", "kind")]
    assert run(annotation, "--bean", "a")[0] == Brewing("a")
    assert run(annotation, "--bean", "a", "--grams", "9")[0] is None
