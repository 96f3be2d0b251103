"""`trustcache train`: stage two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trustcache.errors import UsageError
from trustcache.progress import console

from .evaluate import say_what_is_lacking
from .program import Place, app, command, say
from .values import ProtocolName, listed, pairs

if TYPE_CHECKING:
    from trustcache.cache.index import Index
    from trustcache.classifiers import ModelSpec
    from trustcache.oracles import Optimiser
    from trustcache.presets.preset import Preset
    from trustcache.runs import Run
    from trustcache.workspace import Workspace

_LOSSES, _ORACLE, _TRAINING, _MACHINE = "Losses", "Oracle", "Training", "Machine"


@command(app, "train")
def train(
    place: Place,
    loss: Annotated[
        str | None,
        typer.Option(help="ce, focal, tcp, ss, class-balanced; a list of them, or all.", rich_help_panel=_LOSSES),
    ] = None,
    alpha_pos: Annotated[
        str | None, typer.Option(help="ss: steepness for right answers (1).", rich_help_panel=_LOSSES)
    ] = None,
    alpha_neg: Annotated[
        str | None, typer.Option(help="ss: steepness for wrong answers (3).", rich_help_panel=_LOSSES)
    ] = None,
    gamma: Annotated[
        str | None, typer.Option(help="focal: how much easy samples fade (2).", rich_help_panel=_LOSSES)
    ] = None,
    beta: Annotated[
        str | None,
        typer.Option(help="class-balanced: of the effective number of samples (0.9999).", rich_help_panel=_LOSSES),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="class-balanced: the loss it weights: ce, focal or ss (ce).", rich_help_panel=_LOSSES),
    ] = None,
    protocol: Annotated[
        ProtocolName,
        typer.Option(help="The paper's equations, or what its authors' released code does.", rich_help_panel=_LOSSES),
    ] = ProtocolName.equations,
    preset: Annotated[
        str | None,
        typer.Option(help="Hyperparameters: one of trustcache presets, or your .toml file.", rich_help_panel=_LOSSES),
    ] = None,
    classifier: Annotated[str | None, typer.Option(help="Whose cache to learn from, where there are several.")] = None,
    data: Annotated[str | None, typer.Option(help="Which cache to learn from, where there are several.")] = None,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Fast: only heads, all at once, on cached features.")
    ] = False,
    seed: Annotated[str | None, typer.Option(help="Seed, or a list of them (0).")] = None,
    sweep: Annotated[
        bool,
        typer.Option(
            "--sweep", help="Try a small grid of what the losses leave open, rank by validation and name a winner."
        ),
    ] = False,
    oracle: Annotated[
        str | None,
        typer.Option(
            help="Build the oracle on another model than the classifier: by its name in the workspace, or any that "
            "extract takes.",
            rich_help_panel=_ORACLE,
        ),
    ] = None,
    oracle_weights: Annotated[
        str | None, typer.Option(help="Its weights: a safetensors or torch file.", rich_help_panel=_ORACLE)
    ] = None,
    oracle_arg: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE for its builder; may be repeated.", rich_help_panel=_ORACLE),
    ] = None,
    oracle_preprocess: Annotated[
        list[str] | None,
        typer.Option(
            help="Replace part of its preprocessing, as in input_size=224; may be repeated.", rich_help_panel=_ORACLE
        ),
    ] = None,
    signed_distance: Annotated[
        bool | None,
        typer.Option(
            "--signed-distance/--no-signed-distance",
            help="Head gives (w·x + b)/|w| rather than w·x + b (by default for ss only).",
            rich_help_panel=_ORACLE,
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Tune on from the finished oracles of this loss with the same seeds, as in tcp.",
            rich_help_panel=_ORACLE,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the data (1; frozen: 20; small data: more).", rich_help_panel=_TRAINING),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="Samples a step (128; frozen: 512).", rich_help_panel=_TRAINING)
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            min=0, help="Highest rate of OneCycle SGD (0.02); frozen: Adam's (0.001).", rich_help_panel=_TRAINING
        ),
    ] = None,
    momentum: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="SGD's momentum (0.9); not for --frozen.", rich_help_panel=_TRAINING),
    ] = None,
    val_fraction: Annotated[
        float | None,
        typer.Option(min=0, max=0.9, help="Part set aside for validation (0.1).", rich_help_panel=_TRAINING),
    ] = None,
    device: Annotated[
        str,
        typer.Option(help="cpu, cuda, cuda:1 …; auto takes the GPU where there is one.", rich_help_panel=_MACHINE),
    ] = "auto",
    workers: Annotated[
        int, typer.Option(min=0, help="Decoding processes; 0 decodes in this one.", rich_help_panel=_MACHINE)
    ] = 2,
    checkpoint_every: Annotated[
        float,
        typer.Option(min=0, help="Seconds between a fine-tuning's checkpoints.", rich_help_panel=_MACHINE),
    ] = 60.0,
) -> None:
    """Stage two: train oracles that tell when the classifier is right, then score them on every evaluation cache.

    Without --frozen the backbone is tuned together with the head, on the images. Settings of losses take lists
    (--alpha-neg 1,2,3) and every combination becomes a run. Options given here go before a preset's. What is finished
    already is not trained again.
    """
    from trustcache.workspace import Workspace

    workspace = Workspace(place.workspace)
    index = workspace.find_cache("train", classifier, data)
    own = {"--oracle-weights": oracle_weights, "--oracle-arg": oracle_arg, "--oracle-preprocess": oracle_preprocess}
    _refuse_idle(frozen, oracle, own, {"--momentum": momentum, "--start": start})

    from trustcache.choice import SWEEP
    from trustcache.evaluate import evaluate
    from trustcache.finetune import Machine
    from trustcache.pairs import cached_oracle, tuned_oracle
    from trustcache.presets.preset import Preset, read_preset
    from trustcache.train import TrainSettings, loss_grid, plan, starting_from
    from trustcache.train import train as run

    chosen = read_preset(preset) if preset else Preset()
    names = listed("--loss", loss, str) if loss else list(chosen.losses)
    if not names:
        raise UsageError("--loss: is missing; name one, several, or all, or take a --preset")
    numbers = {"alpha_pos": alpha_pos, "alpha_neg": alpha_neg, "gamma": gamma, "beta": beta}
    losses = loss_grid(names, _loss_settings(numbers, base), protocol.value, (SWEEP if sweep else {}) | chosen.settings)
    by_hand: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "momentum": momentum}
    settings = TrainSettings(
        frozen,
        _optimiser(index, frozen, protocol.value, chosen, by_hand),
        tuple(listed("--seed", seed, int)) if seed else chosen.seeds or (0,),
        next(fraction for fraction in (val_fraction, chosen.val_fraction, 0.1) if fraction is not None),
        signed_distance,
        protocol.value,
    )
    if sweep and not settings.val_fraction:
        raise UsageError("--val-fraction 0: sets no rows aside, and --sweep chooses by those; give a part, as in 0.1")
    if frozen:
        model = cached_oracle(workspace, index, oracle)
    else:
        asked = _spec(oracle, oracle_weights, oracle_arg or [], oracle_preprocess or [])
        model = tuned_oracle(workspace, index, asked, protocol.value)
    _note_preprocessing(index, protocol.value)
    configs = plan(index, model, losses, settings)
    if (start or chosen.start) and not frozen:
        configs = starting_from(workspace, start or chosen.start, configs)
    machine = Machine(device, workers, checkpoint_every)
    runs = run(workspace, index, model, configs, place.data_root, machine, console)
    if sweep:
        _choose(workspace, index, runs)
    else:
        _show(runs)
    made = evaluate(workspace, runs, place.data_root, machine, console)
    say_what_is_lacking(workspace, runs)
    say(f"{made} scores made; see them with trustcache report" if made else "nothing new to score")


def _refuse_idle(frozen: bool, oracle: str | None, own: dict[str, Any], tuning: dict[str, Any]) -> None:
    """Refuse options that would do nothing: an oracle's own without an oracle, those of fine-tuning for heads."""
    if frozen and (idle := next((name for name, value in (own | tuning).items() if value), None)):
        reason = "reads cached features: extract the oracle with those options" if idle in own else "uses Adam"
        raise UsageError(f"{idle}: means nothing to --frozen, which {reason if idle != '--start' else 'tunes nothing'}")
    if oracle is None and (idle := next((name for name, value in own.items() if value), None)):
        raise UsageError(f"{idle}: says something of an oracle's model; name that with --oracle")


def _loss_settings(numbers: dict[str, str | None], base: str | None) -> dict[str, list[float | str]]:
    settings: dict[str, list[float | str]] = {
        key: [*listed(f"--{key.replace('_', '-')}", text, float)] for key, text in numbers.items() if text is not None
    }
    return settings if base is None else settings | {"base": [*listed("--base", base, str)]}


def _optimiser(index: Index, frozen: bool, protocol: str, preset: Preset, by_hand: dict[str, Any]) -> Optimiser:
    """The preset's optimiser, else the protocol's, with what is given by hand."""
    from dataclasses import replace

    from trustcache.protocols import PROTOCOLS

    usual = PROTOCOLS[protocol].optimiser(frozen, index.samples)
    optimiser = preset.fine_tuning if preset.fine_tuning and not frozen else usual
    given = {key: value for key, value in by_hand.items() if value is not None}
    if "momentum" in given:
        if optimiser.name == "adam":
            raise UsageError(f"--momentum: means nothing to Adam, which preset '{preset.title}' takes")
        given["cycle_momentum"] = False  # OneCycle would put its own in place of the one given
    return replace(optimiser, **given)


def _spec(oracle: str | None, weights: str | None, arguments: list[str], preprocessing: list[str]) -> ModelSpec | None:
    """The model that is asked for, None where it is the classifier itself."""
    from trustcache.classifiers import ModelSpec
    from trustcache.preprocessing import parse_preprocessing

    if oracle is None:
        return None
    replaced = parse_preprocessing(preprocessing, "--oracle-preprocess")
    return ModelSpec(oracle, weights, pairs("--oracle-arg", arguments), replaced)


def _note_preprocessing(index: Index, protocol: str) -> None:
    """Say where a cache's classifier saw images otherwise than the protocol shows them to it."""
    from trustcache.protocols import PROTOCOLS

    wanted = {key: [*v] if isinstance(v, tuple) else v for key, v in PROTOCOLS[protocol].preprocessing.items()}
    if not wanted.items() <= index.meaning["classifier"]["preprocessing"].items():
        say(
            f"note: {index.classifier} saw {index.data} with its own preprocessing, not with that of protocol "
            f"{protocol}; trustcache extract --protocol {protocol} makes such a cache"
        )


def _choose(workspace: Workspace, index: Index, runs: list[Run]) -> None:
    """Rank the candidates by validation, keep that for the report, and show it."""
    from rich.console import Console

    from trustcache.choice import choose, save
    from trustcache.report.grids import print_grids
    from trustcache.report.sweeps import sweep_grid

    found = choose(index, runs)
    save(workspace, found)
    print_grids([sweep_grid(found)], Console())


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
