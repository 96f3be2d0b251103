"""`trustcache train`: stage two."""

from __future__ import annotations

from dataclasses import make_dataclass
from typing import TYPE_CHECKING, Annotated, Any

from trustcache.losses import LOSSES, loss_settings
from trustcache.oracles.heads import HeadSpec
from trustcache.oracles.optim import Machine
from trustcache.oracles.request import TrainRequest, resolve
from trustcache.progress import console
from trustcache.protocols import Optimiser
from trustcache.registry import option

from .evaluate import say_what_is_lacking
from .from_dataclass import Given
from .program import Place, app, command, say

if TYPE_CHECKING:
    from trustcache.cache.index import Index
    from trustcache.cache.workspace import Workspace
    from trustcache.oracles.runs import Run

LossSettings = make_dataclass(
    "LossSettings",
    [
        (key, tuple[str, ...], option((), setting.help, panel="Losses"))
        for key, setting in loss_settings(LOSSES.built_in).items()
    ],
)


@command(app, "train")
def train(
    place: Place,
    request: TrainRequest,
    settings: Annotated[dict[str, Any], Given(LossSettings)],
    head: Annotated[dict[str, Any], Given(HeadSpec)],
    optimiser: Annotated[dict[str, Any], Given(Optimiser)],
    machine: Machine,
) -> None:
    """Stage two: train oracles that tell when the classifier is right, then score them on every evaluation cache.

    Without --frozen the backbone is tuned together with the head, on the images. Settings of losses take lists
    (--alpha-neg 1,2,3) and every combination becomes a run. Options given here go before a preset's. What is finished
    already is not trained again.
    """
    from trustcache.cache.workspace import Workspace
    from trustcache.evaluate.scoring import evaluate

    workspace = Workspace(place.workspace)
    training = resolve(workspace, request, settings, head, optimiser)
    if note := training.note():
        say(f"note: {note}")
    runs = training.run(workspace, place.data_root, machine, console)
    if request.sweep:
        _choose(workspace, training.index, runs)
    else:
        _show(runs)
    made = evaluate(workspace, runs, place.data_root, machine, console)
    say_what_is_lacking(workspace, runs)
    say(f"{made} scores made; see them with trustcache report" if made else "nothing new to score")


def _choose(workspace: Workspace, index: Index, runs: list[Run]) -> None:
    """Rank the candidates by validation, keep that for the report, and show it."""
    from rich.console import Console

    from trustcache.evaluate.sweep import choose, save
    from trustcache.report.render.terminal import print_tables
    from trustcache.report.sweeps import sweep_table

    found = choose(index, runs)
    save(workspace, found)
    print_tables([sweep_table(found)], Console())


def _show(runs: list[Run]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    run_column = Column("run", overflow="fold")  # a name cut short could not be given to another command
    table = Table(
        run_column, "loss", "AUC", "TPR", "TNR", box=None, title="on the validation part", title_justify="left"
    )
    for run in runs:
        last = run.log()[-1]
        metrics = last.validation
        shown = [f"{100 * v:.2f}" if (v := metrics.get(key)) is not None else "–" for key in ("auc", "tpr", "tnr")]
        table.add_row(run.name, f"{last.loss:.4f}", *shown)
    Console().print(table)
