"""`trustcache train`: stage two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trustcache.errors import UsageError
from trustcache.progress import console

from . import train_options as o
from .evaluate import say_what_is_lacking
from .options import Half
from .program import Place, app, command, say
from .values import ProtocolName, listed, pairs, seeds

if TYPE_CHECKING:
    from trustcache.cache.index import Index
    from trustcache.classifiers import ModelSpec
    from trustcache.heads import HeadSpec
    from trustcache.oracles import Optimiser
    from trustcache.presets.preset import Preset
    from trustcache.runs import Run
    from trustcache.workspace import Workspace


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
    from trustcache.workspace import Workspace

    if part and data is None:
        raise UsageError(f"--part {part.value}: is one half of which data? name them with --data")
    workspace = Workspace(place.workspace)
    index = workspace.find_cache(None if part else "train", classifier, data)

    from trustcache.choice import SWEEP
    from trustcache.evaluate import evaluate
    from trustcache.finetune import Machine
    from trustcache.oracles import VAL_FRACTION
    from trustcache.pairs import cached_oracle, tuned_oracle
    from trustcache.presets.preset import Preset, read_preset
    from trustcache.train import TrainSettings, loss_grid, plan, starting_from
    from trustcache.train import train as run

    chosen = read_preset(preset) if preset else Preset()
    frozen = frozen or chosen.head is not None
    own = {"--oracle-weights": oracle_weights, "--oracle-arg": oracle_arg, "--oracle-preprocess": oracle_preprocess}
    _refuse_idle(frozen, oracle, own, {"--momentum": momentum, "--start": start})
    spec = _head(
        chosen,
        {"kind": head and head.value, "inputs": inputs and listed("--inputs", inputs, str)},
        {"hidden": hidden, "members": ensemble, "dropout": dropout, "input_dropout": input_dropout}
        | {"weight_decay": weight_decay, "patience": patience},
    )
    _refuse_without_frozen(frozen, spec, {"--part": part, "--also": also})
    names = listed("--loss", loss, str) if loss else list(chosen.losses)
    if not names:
        raise UsageError("--loss: is missing; name one, several, or all, or take a --preset")
    numbers = {"alpha_pos": alpha_pos, "alpha_neg": alpha_neg, "gamma": gamma, "beta": beta}
    losses = loss_grid(names, _loss_settings(numbers, base), protocol.value, (SWEEP if sweep else {}) | chosen.settings)
    by_hand: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "momentum": momentum}
    settings = TrainSettings(
        frozen,
        _optimiser(index, frozen, spec, protocol.value, chosen, by_hand),
        tuple(seeds(seed)) if seed else chosen.seeds or (0,),
        next(fraction for fraction in (val_fraction, chosen.val_fraction, VAL_FRACTION) if fraction is not None),
        signed_distance,
        protocol.value,
        spec,
        part.value if part else "",
        _others(workspace, index, also, oracle, part) if also else (),
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


def _head(preset: Preset, given: dict[str, Any], of_mlp: dict[str, Any]) -> HeadSpec:
    """The preset's head, else the usual one of its kind, with what is given by hand. Refuses what would do nothing."""
    from dataclasses import replace

    from trustcache.head_inputs import parse_inputs
    from trustcache.heads import HEADS, LINEAR

    base = HEADS[given["kind"]] if given["kind"] else preset.head or LINEAR
    if preset.head and base.kind == preset.head.kind:
        base = preset.head
    changed = {key: value for key, value in of_mlp.items() if value is not None}
    if base.kind != "mlp" and changed:
        option = "ensemble" if "members" in changed else next(iter(changed)).replace("_", "-")
        raise UsageError(f"--{option}: means nothing to a {base.kind} head; add --head mlp")
    if given["inputs"]:
        changed["inputs"] = parse_inputs(given["inputs"])
    return replace(base, **changed)


def _others(workspace: Workspace, index: Index, also: str, oracle: str | None, part: Half | None) -> tuple[Index, ...]:
    """The caches of --also, which are of the same classifier as the first."""
    from trustcache.runs import judged_fingerprint

    if idle := next((name for name, given in (("--oracle", oracle), ("--part", part)) if given), None):
        raise UsageError(f"--also: cannot be combined with {idle}; leave one of them out")
    others = tuple(workspace.find_cache("train", index.classifier, name) for name in listed("--also", also, str))
    for other in others:
        if other.folder == index.folder or judged_fingerprint(other) != judged_fingerprint(index):
            what = "the same as --data" if other.folder == index.folder else "of another classifier than --data"
            raise UsageError(f"--also {other.data}: is {what} {index.data}; name another")
    return others


def _refuse_without_frozen(frozen: bool, head: HeadSpec, given: dict[str, object]) -> None:
    """Refuse what only heads on cached outputs can do."""
    from trustcache.heads import LINEAR

    if not frozen and head != LINEAR:
        raise UsageError("--head and --inputs: are of heads on cached outputs; add --frozen")
    if not frozen and (idle := next((name for name, value in given.items() if value), None)):
        raise UsageError(f"{idle}: is of heads on cached outputs; add --frozen")


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


def _optimiser(
    index: Index, frozen: bool, head: HeadSpec, protocol: str, preset: Preset, by_hand: dict[str, Any]
) -> Optimiser:
    """The preset's optimiser, else the head's or the protocol's, with what is given by hand."""
    from dataclasses import replace

    from trustcache.oracles import MLP_HEADS, default_optimiser
    from trustcache.protocols import PROTOCOLS

    if head.kind == "mlp":
        usual = preset.heads or default_optimiser(True, index.samples, MLP_HEADS)
    else:
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
    from trustcache.preprocessing import as_recorded
    from trustcache.protocols import PROTOCOLS

    wanted = as_recorded(PROTOCOLS[protocol].preprocessing)
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
