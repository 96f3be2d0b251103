"""`trustcache train`: stage two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trustcache.errors import UsageError
from trustcache.progress import console

from . import train_options as o
from .evaluate import say_what_is_lacking
from .program import Place, app, command, say
from .train_refusals import refuse_beside_also, refuse_idle, refuse_without_frozen
from .values import ProtocolName, listed, pairs, seeds

if TYPE_CHECKING:
    from trustcache.cache.index import Index
    from trustcache.cache.workspace import Workspace
    from trustcache.models.classifiers import ModelSpec
    from trustcache.oracles.runs import Run


@command(app, "train")
def train(
    place: Place,
    loss: o.Loss = None,
    alpha_pos: o.AlphaPos = None,
    alpha_neg: o.AlphaNeg = None,
    gamma: o.Gamma = None,
    beta: o.Beta = None,
    base: o.Base = None,
    protocol: o.Protocol = ProtocolName.equations,
    preset: o.PresetName = None,
    classifier: o.Classifier = None,
    data: o.Data = None,
    part: o.Part = None,
    also: o.Also = None,
    frozen: o.Frozen = False,
    seed: o.Seed = None,
    sweep: o.Sweep = False,
    oracle: o.OracleModelName = None,
    oracle_weights: o.OracleWeights = None,
    oracle_arg: o.OracleArg = None,
    oracle_preprocess: o.OraclePreprocess = None,
    signed_distance: o.SignedDistance = None,
    start: o.Start = None,
    head: o.Head = None,
    inputs: o.Inputs = None,
    ensemble: o.Ensemble = None,
    hidden: o.Hidden = None,
    dropout: o.Dropout = None,
    input_dropout: o.InputDropout = None,
    weight_decay: o.WeightDecay = None,
    patience: o.Patience = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    lr: o.LearningRate = None,
    momentum: o.Momentum = None,
    val_fraction: o.ValFraction = None,
    device: o.Device = "auto",
    workers: o.Workers = 2,
    checkpoint_every: o.CheckpointEvery = 60.0,
) -> None:
    """Stage two: train oracles that tell when the classifier is right, then score them on every evaluation cache.

    Without --frozen the backbone is tuned together with the head, on the images. Settings of losses take lists
    (--alpha-neg 1,2,3) and every combination becomes a run. Options given here go before a preset's. What is finished
    already is not trained again.
    """
    from trustcache.cache.workspace import Workspace

    if part and data is None:
        raise UsageError(f"--part {part.value}: is one half of which data? name them with --data")
    workspace = Workspace(place.workspace)
    index = workspace.find_cache(None if part else "train", classifier, data)

    from trustcache.data.splits import VAL_FRACTION
    from trustcache.evaluate.scoring import evaluate
    from trustcache.oracles.backbones import cached_oracle, tuned_oracle
    from trustcache.oracles.optim import Machine
    from trustcache.oracles.plan import TrainSettings, also_asked, loss_grid, plan, starting_from
    from trustcache.oracles.plan import train as run
    from trustcache.oracles.presets.asked import head_asked, optimiser_asked
    from trustcache.oracles.presets.preset import Preset, read_preset

    chosen = read_preset(preset) if preset else Preset()
    frozen = frozen or chosen.head is not None
    own = {"--oracle-weights": oracle_weights, "--oracle-arg": oracle_arg, "--oracle-preprocess": oracle_preprocess}
    refuse_idle(frozen, oracle, own, {"--momentum": momentum, "--start": start})
    of_mlp = {"hidden": hidden, "members": ensemble, "dropout": dropout, "input_dropout": input_dropout}
    of_mlp |= {"weight_decay": weight_decay, "patience": patience}
    spec = head_asked(chosen, head and head.value, inputs and listed("--inputs", inputs, str), of_mlp)
    refuse_without_frozen(frozen, spec, {"--part": part, "--also": also})
    refuse_beside_also(also, {"--oracle": oracle, "--part": part})
    names = listed("--loss", loss, str) if loss else list(chosen.losses)
    if not names:
        raise UsageError("--loss: is missing; name one, several, or all, or take a --preset")
    numbers = {"alpha_pos": alpha_pos, "alpha_neg": alpha_neg, "gamma": gamma, "beta": beta}
    losses = loss_grid(names, _loss_settings(numbers, base), protocol.value, chosen.settings, sweep)
    by_hand: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "momentum": momentum}
    settings = TrainSettings(
        frozen,
        optimiser_asked(chosen, spec, frozen, protocol.value, index.samples, by_hand),
        tuple(seeds(seed)) if seed else chosen.seeds or (0,),
        next(fraction for fraction in (val_fraction, chosen.val_fraction, VAL_FRACTION) if fraction is not None),
        signed_distance,
        protocol.value,
        spec,
        part.value if part else "",
        also_asked(workspace, index, listed("--also", also, str)) if also else (),
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
    runs = run(workspace, index, model, configs, place.data_root, machine, console, settings.also)
    if sweep:
        _choose(workspace, index, runs)
    else:
        _show(runs)
    made = evaluate(workspace, runs, place.data_root, machine, console)
    say_what_is_lacking(workspace, runs)
    say(f"{made} scores made; see them with trustcache report" if made else "nothing new to score")


def _loss_settings(numbers: dict[str, str | None], base: str | None) -> dict[str, list[float | str]]:
    settings: dict[str, list[float | str]] = {
        key: [*listed(f"--{key.replace('_', '-')}", text, float)] for key, text in numbers.items() if text is not None
    }
    return settings if base is None else settings | {"base": [*listed("--base", base, str)]}


def _spec(oracle: str | None, weights: str | None, arguments: list[str], preprocessing: list[str]) -> ModelSpec | None:
    """The model that is asked for, None where it is the classifier itself."""
    from trustcache.models.classifiers import ModelSpec
    from trustcache.models.preprocessing import parse_preprocessing

    if oracle is None:
        return None
    replaced = parse_preprocessing(preprocessing, "--oracle-preprocess")
    return ModelSpec(oracle, weights, pairs("--oracle-arg", arguments), replaced)


def _note_preprocessing(index: Index, protocol: str) -> None:
    """Say where a cache's classifier saw images otherwise than the protocol shows them to it."""
    from trustcache.protocols import PROTOCOLS

    if not PROTOCOLS[protocol].preprocessing.items() <= vars(index.identity.preprocessing).items():
        say(
            f"note: {index.classifier} saw {index.data} with its own preprocessing, not with that of protocol "
            f"{protocol}; trustcache extract --protocol {protocol} makes such a cache"
        )


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
