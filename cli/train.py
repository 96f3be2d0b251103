"""`trustcache train`: stage two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trustcache.progress import console

from .program import Place, app, command, say
from .values import listed

if TYPE_CHECKING:
    from trustcache.runs import Run


@command(app, "train")
def train(
    place: Place,
    loss: Annotated[str, typer.Option(help="ce, focal, tcp, ss, class-balanced; a list of them, or all.")],
    alpha_pos: Annotated[str | None, typer.Option(help="ss: steepness for right answers (1).")] = None,
    alpha_neg: Annotated[str | None, typer.Option(help="ss: steepness for wrong answers (3).")] = None,
    gamma: Annotated[str | None, typer.Option(help="focal: how much easy samples fade (2).")] = None,
    beta: Annotated[
        str | None, typer.Option(help="class-balanced: of the effective number of samples (0.9999).")
    ] = None,
    base: Annotated[str | None, typer.Option(help="class-balanced: the loss it weights: ce, focal or ss (ce).")] = None,
    signed_distance: Annotated[
        bool | None,
        typer.Option(
            "--signed-distance/--no-signed-distance",
            help="Head gives (w·x + b)/|w| rather than w·x + b (by default for ss only).",
        ),
    ] = None,
    seed: Annotated[str, typer.Option(help="Seed, or a list of them.")] = "0",
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Fast: only heads, all at once, on cached features.")
    ] = False,
    classifier: Annotated[str | None, typer.Option(help="Whose cache to learn from, where there are several.")] = None,
    data: Annotated[str | None, typer.Option(help="Which cache to learn from, where there are several.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the data (1; frozen: 20; small data: more).")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Samples a step (128; frozen: 512).")] = None,
    lr: Annotated[
        float | None, typer.Option(min=0, help="Highest rate of OneCycle SGD (0.02); frozen: Adam's (0.001).")
    ] = None,
    momentum: Annotated[
        float | None, typer.Option(min=0, max=1, help="SGD's momentum (0.9); not for --frozen.")
    ] = None,
    val_fraction: Annotated[float, typer.Option(min=0, max=0.9, help="Part set aside for validation.")] = 0.1,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …; auto takes the GPU where there is one.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Decoding processes; 0 decodes in this one.")] = 2,
    checkpoint_every: Annotated[float, typer.Option(min=0, help="Seconds between a fine-tuning's checkpoints.")] = 60.0,
) -> None:
    """Stage two: train oracles that tell when the classifier is right, then score them on every evaluation cache.

    Without --frozen the backbone is tuned together with the head, on the images. Settings of losses take lists
    (--alpha-neg 1,2,3) and every combination becomes a run. What is finished already is not trained again.
    """
    from trustcache.errors import UsageError
    from trustcache.workspace import Workspace

    workspace = Workspace(place.workspace)
    index = workspace.find_cache("train", classifier, data)
    if frozen and momentum is not None:
        raise UsageError("--momentum: means nothing to --frozen, which uses Adam")

    from dataclasses import replace

    from trustcache.evaluate import evaluate
    from trustcache.finetune import Machine
    from trustcache.oracles import default_optimiser
    from trustcache.train import TrainSettings, loss_grid, plan
    from trustcache.train import train as run

    given: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "momentum": momentum}
    optimiser = replace(default_optimiser(frozen, index.samples), **{k: v for k, v in given.items() if v is not None})
    numbers = {"alpha_pos": alpha_pos, "alpha_neg": alpha_neg, "gamma": gamma, "beta": beta}
    settings: dict[str, list] = {
        key: listed(f"--{key.replace('_', '-')}", text, float) for key, text in numbers.items() if text is not None
    }
    if base is not None:
        settings["base"] = listed("--base", base, str)
    seeds = tuple(listed("--seed", seed, int))
    choices = loss_grid(listed("--loss", loss, str), settings)
    configs = plan(index, choices, TrainSettings(frozen, optimiser, seeds, val_fraction, signed_distance))
    machine = Machine(device, workers, checkpoint_every)
    runs = run(workspace, index, configs, place.data_root, machine, console)
    _show(runs)
    made = evaluate(workspace, runs, place.data_root, machine, console)
    say(f"{made} scores made; see them with trustcache report" if made else "nothing new to score")


def _show(runs: list[Run]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    run_column = Column("run", overflow="fold")  # a name cut short could not be given to another command
    table = Table(
        run_column, "loss", "AUC", "TPR", "TNR", box=None, title="on the validation part", title_justify="left"
    )
    for run in runs:
        last = run.log()[-1]
        metrics = last.get("validation") or {}
        shown = [f"{100 * v:.2f}" if (v := metrics.get(key)) is not None else "–" for key in ("auc", "tpr", "tnr")]
        table.add_row(run.name, f"{last['loss']:.4f}", *shown)
    Console().print(table)
