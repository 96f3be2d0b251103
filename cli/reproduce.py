"""`trustcache reproduce`: the commands behind the paper's tables and figures, printed or run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
import typer.core

from trustcache.data.splits import seed_list
from trustcache.errors import UsageError
from trustcache.oracles.optim import Machine
from trustcache.registry import option_name

from .from_dataclass import listed
from .options import ScoringMachine, Subset
from .program import Place, app, command, loaded, print_line, print_table, say, unknown_option

if TYPE_CHECKING:
    from trustcache.paper.recipes import Model


# The options of `extract` that a recipe gives itself.
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


class _Reproduce(typer.core.TyperCommand):
    """The command, which tells where an option of `extract` belongs that is given to it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with unknown_option(_of_extract):
            return super().parse_args(ctx, args)


def _of_extract(option: str) -> str:
    """Return where an option of `extract` is given, "" for others."""
    known = option and any(option in each.opts for each in loaded("extract").params)
    return f"give it inside --classifier, as in --classifier 'cifar-resnet32 {option} …'" if known else ""


@command("reproduce", cls=_Reproduce)
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
    protocol: Annotated[
        Literal["released", "equations", "both"],
        typer.Option(
            help="By whose definitions: released, the paper's code, of which its ImageNet tables are; equations, what "
            "the paper writes; both, a table each. Tables 2 and H are by the equations."
        ),
    ] = "released",
    frozen: Annotated[bool, typer.Option("--frozen", help="Heads on cached features instead of fine-tuning.")] = False,
    seed: Annotated[str, typer.Option(help="Seed, or a list of them.")] = "0,1,2",
    subset: Subset = None,
) -> None:
    """Make the paper's tables and figures: run the commands that each needs, then print them.

    By default with the paper's models on ImageNet (table2: MNIST and CIFAR-10). What has been done is not done again,
    and what was stopped goes on where it was.
    """
    from trustcache.cache.workspace import Workspace
    from trustcache.paper.artefacts import ARTEFACTS, RECIPES, SECTION
    from trustcache.paper.recipes import Request, plan
    from trustcache.paper.step_log import carry_out

    if not names:
        print_table(("name", "what it shows"), [(name, artefact.title) for name, artefact in ARTEFACTS.items()])
        return
    request = Request(
        place.workspace,
        place.data_root,
        data or "",
        tuple(_model(text) for text in classifier or []),
        ("released", "equations") if protocol == "both" else (protocol,),
        frozen,
        ",".join(map(str, seed_list(listed("--seed", seed, int)))),
        subset,
        _machine_options(machine),
        tuple(place.given()),
    )
    steps = plan(RECIPES, names, request)
    if dry_run:
        for step in steps:
            print_line(step)
        return
    if stopped := carry_out(steps, Workspace(place.workspace), _run, say):
        raise typer.Exit(stopped)
    anchor = f"#{SECTION}-{names[0]}" if len(names) == 1 and names != ["all"] else ""
    say(f"the page: {place.workspace / 'report' / 'paper.html'}{anchor}")


def _run(words: Sequence[str]) -> int:
    """Run a command in this process, and return its exit code."""
    return app(list(words), prog_name="trustcache", standalone_mode=False) or 0


def _model(text: str) -> Model:
    """Return a model as it is named to `extract`, checked with the options of `extract`."""
    from trustcache.paper.recipes import Model

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--classifier {text}: {error}; write it as one would after trustcache extract") from None
    own = next((word for word in words if word.split("=")[0] in _OWN), None)
    if not words or words[0].startswith("-") or own:
        what = f"{own} is the recipe's to say" if own else "it begins with the model's name"
        raise UsageError(f"--classifier '{text}': {what}; as in 'cifar-resnet32 --weights resnet32.safetensors'")
    try:
        given = loaded("extract").make_context("extract", ["--classifier", *words]).params
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise UsageError(f"--classifier '{text}': {error.format_message()}") from None
    if given["as_"] is None:
        return Model(words[0], tuple(words))
    at = next(i for i, word in enumerate(words) if word.split("=")[0] == "--as")
    del words[at : at + (1 if "=" in words[at] else 2)]
    return Model(given["as_"], tuple(words))


def _machine_options(machine: Machine) -> tuple[str, ...]:
    """Return the options of the machine that are not the defaults."""
    given = {key: getattr(machine, key) for key in ("workers", "device")}
    return tuple(w for k, v in given.items() if v != getattr(Machine, k) for w in (option_name(k), str(v)))
