"""`trustcache reproduce`: the commands behind the paper's tables and figures, printed or run."""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from trustcache.data.splits import seed_list
from trustcache.errors import TrustcacheError, UsageError
from trustcache.oracles.optim import Machine
from trustcache.registry import option_name

from .options import ScoringMachine, Subset
from .program import Place, app, command, say
from .values import listed

if TYPE_CHECKING:
    from trustcache.paper.recipes import Model, Setting, Step


class Protocols(StrEnum):
    """Whose definitions."""

    released = "released"
    equations = "equations"
    both = "both"


# What the recipes themselves say to extract.
_OWN = (
    "--classifier",
    "--data",
    "--protocol",
    "--subset",
    "--role",
    "--device",
    "--workers",
    "--workspace",
    "--data-root",
)


@command(app, "reproduce")
def reproduce(
    place: Place,
    machine: ScoringMachine,
    names: Annotated[
        list[str] | None, typer.Argument(help="Tables and figures by name, or all; without one they are listed.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the commands instead of running them.")] = False,
    data: Annotated[
        str | None, typer.Option(help="Another family of data sets than the paper's: cifar10, mnist, digits, imagenet.")
    ] = None,
    classifier: Annotated[
        list[str] | None,
        typer.Option(
            help="Another model than the paper's: in one text, what follows --classifier in trustcache extract; may be "
            "repeated."
        ),
    ] = None,
    protocol: Annotated[Protocols, typer.Option(help="By whose definitions, where a recipe leaves it open.")] = (
        Protocols.released
    ),
    frozen: Annotated[bool, typer.Option("--frozen", help="Heads on cached features instead of fine-tuning.")] = False,
    seed: Annotated[str, typer.Option(help="Seed, or a list of them.")] = "0,1,2",
    subset: Subset = None,
) -> None:
    """Make the paper's tables and figures: run the commands that each needs, then the report.

    By default with the paper's models on ImageNet (table2: MNIST and CIFAR-10). What has been done is not done again,
    and what was stopped goes on where it was.
    """
    from trustcache.paper.recipes import RECIPES, Setting, plan

    if not names:
        for name, recipe in RECIPES.items():
            print(f"{name}\t{recipe.title}")
        return
    models = tuple(_model(text) for text in classifier or [])
    if twice := next((m.name for i, m in enumerate(models) if m.name in {o.name for o in models[:i]}), None):
        raise UsageError(f"--classifier: two of them are called {twice}; tell them apart with --as NAME")
    setting = Setting(
        place.workspace,
        place.data_root,
        data or "",
        models,
        ("released", "equations") if protocol is Protocols.both else (protocol.value,),
        frozen,
        ",".join(map(str, seed_list(listed("--seed", seed, int)))),
        subset,
        _machine_options(machine),
        tuple(place.given()),
    )
    steps = plan(list(RECIPES) if "all" in names else names, setting)
    if dry_run:
        for step in steps:
            print(step)
    else:
        _run(steps, setting)
        say(f"{', '.join(names)}: in {place.workspace / 'report' / 'index.html'}")


def _model(text: str) -> Model:
    """A model as it is named to extract, checked with extract's own options."""
    from trustcache.cache.workspace import plain_name
    from trustcache.paper.recipes import Model

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--classifier {text}: {error}; write it as one would after trustcache extract") from None
    own = next((word for word in words if word.split("=")[0] in _OWN), None)
    if not words or words[0].startswith("-") or own:
        what = f"{own} is the recipe's to say" if own else "it begins with the model's name"
        raise UsageError(f"--classifier '{text}': {what}; as in 'cifar-resnet32 --weights resnet32.safetensors'")
    program = typer.main.get_command(app)
    extract = program.commands["extract"]  # type: ignore[attr-defined]
    try:
        given = extract.make_context("extract", ["--classifier", *words]).params
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise UsageError(f"--classifier '{text}': {error.format_message()}") from None
    if given["name"] is None:
        return Model(plain_name(words[0]), tuple(words))
    at = next(i for i, word in enumerate(words) if word.split("=")[0] == "--as")
    del words[at : at + (1 if "=" in words[at] else 2)]
    return Model(plain_name(given["name"]), tuple(words))


def _machine_options(machine: Machine) -> tuple[str, ...]:
    """Return the options of the machine that are not the defaults."""
    given = {key: getattr(machine, key) for key in ("workers", "device")}
    return tuple(w for k, v in given.items() if v != getattr(Machine, k) for w in (option_name(k), str(v)))


def _run(steps: list[Step], setting: Setting) -> None:
    """Run the steps in this process. Raises UsageError or TrustcacheError, as the step that failed did."""
    from trustcache.cache.workspace import Workspace
    from trustcache.paper.step_log import Ledger

    ledger = Ledger(Workspace(setting.workspace))
    for number, step in enumerate(steps, 1):
        if ledger.done(step):
            say(f"[{number}/{len(steps)}] done already: {step}")
            continue
        say(f"[{number}/{len(steps)}] {step}")
        code = app(list(step.words), prog_name="trustcache", standalone_mode=False)
        if code == 130:  # it has said so
            raise typer.Exit(code)
        if code:
            kind = UsageError if code == 2 else TrustcacheError
            raise kind(
                f"step {number} of {len(steps)} failed: {step}; when that is mended, the same command goes on there"
            )
        ledger.note(step)
