"""A training as it is asked for, and the runs it becomes: options given, else the preset's, else the defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trustcache.cache.index import Index, judged_fingerprint
from trustcache.cache.workspace import Workspace
from trustcache.command_lines import command_line, training_line
from trustcache.data.splits import HALVES, VAL_FRACTION, seed_list
from trustcache.errors import UsageError
from trustcache.losses import LOSSES
from trustcache.models.precision import TUNING
from trustcache.models.preprocessing import PREPROCESS_HELP
from trustcache.oracles.head_inputs import parse_inputs
from trustcache.oracles.heads import HEADS, LINEAR, HeadSpec
from trustcache.oracles.presets.preset import Preset, read_preset
from trustcache.protocols import MLP_OPTIMISER, PROTOCOLS, Optimiser, default_optimiser
from trustcache.registry import key_values, option, option_name

if TYPE_CHECKING:
    from trustcache.losses import LossChoice
    from trustcache.models.building import ModelSpec
    from trustcache.oracles.plan import Training, TrainSettings
    from trustcache.oracles.runs import RunConfig

_LOSSES, _ORACLE, _TRAINING = "Losses", "Oracle", "Training"


@dataclass(frozen=True)
class TrainRequest:
    """The options of a training, but for those of the head and the optimiser."""

    loss: tuple[str, ...] = option(
        (), f"{', '.join(LOSSES.built_in)}, or package.module:function; a list of them, or all.", panel=_LOSSES
    )
    setting: list[str] = option(
        [], "KEY=VALUES: a setting of the losses by name, as in gamma=1,2; may be repeated.", panel=_LOSSES
    )
    protocol: str = option(
        "equations",
        "Definitions of losses, metrics and thresholds: equations, as the paper writes them, for work of your own; "
        "released, as its authors' code computes them, to compare with its tables.",
        choices=tuple(PROTOCOLS),
        panel=_LOSSES,
    )
    preset: str | None = option(None, "Hyperparameters: one of trustcache presets, or your .toml file.", panel=_LOSSES)
    classifier: str | None = option(None, "Whose cache to learn from, where there are several.")
    data: str | None = option(None, "Which cache to learn from, where there are several.")
    part: str | None = option(
        None,
        "--frozen: learn from one half of --data and be scored on the other only. For a classifier that is nearly "
        "always right on its training images: take images that it has not learnt from.",
        choices=HALVES,
    )
    also: tuple[str, ...] = option(
        (),
        "--frozen: a list of further training caches of the classifier to learn from, as of the same images blurred; "
        "an image set aside for validation is set aside in them too.",
    )
    also_features: str | None = option(
        None,
        "--frozen: read what a second network says of the same images too, by the name of its caches, which "
        "extract --as LABEL makes of the same data.",
        panel=_ORACLE,
    )
    frozen: bool = option(False, "Fast: only heads, all at once, on cached outputs.")
    seed: tuple[int, ...] = option((), "Seed, or a list of them (0).")
    sweep: bool = option(False, "Try a small grid of what the losses leave open, rank by validation and name a winner.")
    oracle: str | None = option(
        None,
        "Build the oracle on another model than the classifier: by its name in the workspace, or any that "
        "extract takes.",
        panel=_ORACLE,
    )
    oracle_weights: str | None = option(None, "Its weights: a safetensors or torch file.", panel=_ORACLE)
    oracle_arg: list[str] = option(
        [], "KEY=VALUE: a keyword argument of the function that builds it; may be repeated.", panel=_ORACLE
    )
    oracle_preprocess: list[str] = option([], PREPROCESS_HELP, panel=_ORACLE)
    signed_distance: bool | None = option(
        None, "Head gives (w·x + b)/|w| rather than w·x + b (by default for ss only).", panel=_ORACLE
    )
    start: str | None = option(
        None,
        "Begin fine-tuning with the weights of the finished oracles of this loss and the same seeds instead of the "
        "classifier's, as in --start tcp.",
        panel=_ORACLE,
    )
    val_fraction: float | None = option(
        None, f"Part set aside for validation ({VAL_FRACTION}).", min=0, max=0.9, panel=_TRAINING
    )
    together: bool = option(
        False,
        "Fine-tune the runs of each seed in one pass over the images, decoded once for all of them; takes the memory "
        "of as many networks.",
        panel=_TRAINING,
    )
    precision: str = option(
        "auto",
        "Of a fine-tuned oracle's network; auto: as of the cache it learns from, where one can train in it.",
        choices=("auto", *TUNING),
        panel=_TRAINING,
    )
    accumulate: int = option(
        1,
        "Forward passes of a fine-tuning's step, each of its part of the batch, so that it takes the memory of a part; "
        "batch norm sees a part at a time.",
        min=1,
        panel=_TRAINING,
    )

    log: tuple[str, ...] = option(
        (),
        "Report each epoch to tensorboard or wandb too, or a list of both; into the workspace's folder tracking. wandb "
        "sends nothing unless WANDB_MODE=online.",
        panel=_TRAINING,
    )

    def settings(self) -> dict[str, Sequence[Any]]:
        """Return the values of each `setting` by name. Raises UsageError for one that is not KEY=VALUES."""
        given = key_values("--setting", self.setting)
        return {
            key.replace("-", "_"): values if isinstance(values, tuple) else str(values).split(",")
            for key, values in given.items()
        }


def resolve(
    workspace: Workspace,
    request: TrainRequest,
    settings: Mapping[str, Sequence[str]],
    head: Mapping[str, Any],
    optimiser: Mapping[str, Any],
) -> Training:
    """Fill a request's gaps from its preset and the defaults.

    settings: values by a loss's setting. head, optimiser: the fields given of `HeadSpec` and `Optimiser`. Raises
    UsageError for what is missing, unknown, or would do nothing.
    """
    from trustcache.oracles.backbones import cached_oracle, second_network, tuned_oracle
    from trustcache.oracles.plan import plan

    if request.part and request.data is None:
        raise UsageError(f"--part {request.part}: is one half of which data? name them with --data")
    index = _learnt_from(workspace, request)
    preset = read_preset(request.preset) if request.preset else Preset()
    losses, chosen = settle(request, preset, settings, head, optimiser, index.samples)
    if chosen.frozen:
        also = _also_asked(workspace, index, request.also)
        label = request.also_features
        chosen = replace(chosen, also=also, second=second_network(workspace, (index, *also), label) if label else ())
        model = cached_oracle(workspace, index, request.oracle)
    else:
        model = tuned_oracle(workspace, index, _spec(request), request.protocol)
    training = plan(index, model, losses, chosen)
    if not chosen.frozen:
        precision, passes = _precision(request, index), request.accumulate
        configs = [replace(config, precision=precision, accumulate=passes) for config in training.configs]
        training = replace(training, configs=configs, together=request.together)
    if (start := request.start or preset.start) and not chosen.frozen:
        return replace(training, configs=_starting_from(workspace, start, training.configs))
    return training


def _learnt_from(workspace: Workspace, request: TrainRequest) -> Index:
    """Return the cache that oracles learn from. Raises UsageError where there is none, or several."""
    if not request.part:
        others = [i for i in workspace.caches() if request.classifier in (None, i.classifier) and not i.imported]
        if others and all(index.role != "train" for index in others):
            first = next((index for index in others if "train" in index.data), others[0])
            there = ", ".join(f"{index.name} ({index.role})" for index in others)
            raise UsageError(
                f"no train cache in {workspace.root / 'cache'} (there is: {there}); name what oracles learn from with "
                f":train behind it: {training_line(first, *workspace.words)}"
            )
    return workspace.find_cache(None if request.part else "train", request.classifier, request.data)


def settle(
    request: TrainRequest,
    preset: Preset,
    settings: Mapping[str, Sequence[Any]],
    head: Mapping[str, Any],
    optimiser: Mapping[str, Any],
    samples: int,
) -> tuple[list[LossChoice], TrainSettings]:
    """Return the losses and the settings of a training on so many samples; other arguments as `resolve` takes them.

    Raises UsageError for what is missing, unknown, or would do nothing.
    """
    from trustcache.oracles.loss_grid import loss_grid
    from trustcache.oracles.plan import TrainSettings

    frozen = request.frozen or preset.head is not None
    spec = head_asked(preset, head)
    _refuse_idle(request, frozen, spec, optimiser)
    if not (names := request.loss or preset.losses):
        raise UsageError("--loss: is missing; name one, several, or all, or take a --preset")
    fractions = request.val_fraction, preset.val_fraction, VAL_FRACTION
    chosen = TrainSettings(
        frozen,
        optimiser_asked(preset, spec, frozen, request.protocol, samples, optimiser),
        seed_list(request.seed) or preset.seeds or (0,),
        next(fraction for fraction in fractions if fraction is not None),
        request.signed_distance,
        request.protocol,
        spec,
        request.part or "",
    )
    if request.sweep and not chosen.val_fraction:
        raise UsageError("--val-fraction 0: sets no rows aside, and --sweep chooses by those; give a part, as in 0.1")
    by_name = request.settings()
    if twice := sorted(settings.keys() & by_name.keys()):
        raise UsageError(f"--setting {twice[0]}: is given by {option_name(twice[0])} too; leave one of them out")
    return loss_grid(names, {**settings, **by_name}, request.protocol, preset.settings, request.sweep), chosen


def head_asked(preset: Preset, given: Mapping[str, Any]) -> HeadSpec:
    """Return the head of the kind given, by default the preset's, with the other fields given.

    Raises UsageError where one of these would do nothing.
    """
    changed = dict(given)
    usual = preset.head or LINEAR
    kind = changed.pop("kind", usual.kind)
    base = usual if kind == usual.kind else HEADS[kind]
    if "inputs" in changed:
        changed["inputs"] = parse_inputs(changed["inputs"])
    if base.kind != "mlp" and (idle := next((key for key in changed if key != "inputs"), None)):
        raise UsageError(f"{option_name(idle, HeadSpec)}: means nothing to a {base.kind} head; add --head mlp")
    return replace(base, **changed)


def optimiser_asked(
    preset: Preset, head: HeadSpec, frozen: bool, protocol: str, samples: int, given: Mapping[str, Any]
) -> Optimiser:
    """Return the optimiser for so many samples: the preset's, else the head's or the protocol's, with the fields given.

    Raises UsageError for a momentum that the optimiser would not use.
    """
    if head.kind == "mlp":
        usual = preset.heads or default_optimiser(True, samples, MLP_OPTIMISER)
    else:
        usual = PROTOCOLS[protocol].optimiser(frozen, samples)
    optimiser = preset.fine_tuning if preset.fine_tuning and not frozen else usual
    if "momentum" not in given:
        return replace(optimiser, **given)
    if optimiser.name == "adam":
        raise UsageError(f"--momentum: means nothing to Adam, which preset '{preset.title}' takes")
    # OneCycle would put its own momentum in place of the one given.
    return replace(optimiser, **given, cycle_momentum=False)


def _refuse_idle(request: TrainRequest, frozen: bool, head: HeadSpec, optimiser: Mapping[str, Any]) -> None:
    """Raise UsageError for the first option that would do nothing, or not together with another."""
    of_model = _first(request, "oracle_weights", "oracle_arg", "oracle_preprocess")
    other = _first(request, "oracle", "part")
    of_heads = "of heads on cached outputs; add --frozen"
    refused = (
        (
            frozen and of_model,
            "means nothing to --frozen, which reads cached features: extract the oracle with those options",
        ),
        (frozen and optimiser.get("momentum") and "--momentum", "means nothing to --frozen, which uses Adam"),
        (frozen and request.together and "--together", "means nothing to --frozen, which trains all heads at once"),
        (frozen and request.start and "--start", "means nothing to --frozen, which tunes nothing"),
        (frozen and request.precision != "auto" and "--precision", "means nothing to --frozen, which tunes nothing"),
        (frozen and request.accumulate > 1 and "--accumulate", "means nothing to --frozen, which tunes nothing"),
        (request.oracle is None and of_model, "says something of an oracle's model; name that with --oracle"),
        (not frozen and head != LINEAR and "--head and --inputs", f"are {of_heads}"),
        (not frozen and _first(request, "part", "also", "also_features"), f"is {of_heads}"),
        (
            request.oracle and _first(request, "also_features"),
            "cannot be combined with --oracle; leave one of them out",
        ),
        (request.also and other and "--also", f"cannot be combined with {other}; leave one of them out"),
    )
    for idle, reason in refused:
        if idle:
            raise UsageError(f"{idle}: {reason}")


def _first(request: TrainRequest, *names: str) -> str | None:
    return next((option_name(name) for name in names if getattr(request, name)), None)


def _spec(request: TrainRequest) -> ModelSpec | None:
    """Return the oracle's model, None where it is the classifier itself."""
    from trustcache.models.building import ModelSpec
    from trustcache.models.preprocessing import parse_preprocessing

    if request.oracle is None:
        return None
    replaced = parse_preprocessing(request.oracle_preprocess, "--oracle-preprocess")
    arguments = key_values("--oracle-arg", request.oracle_arg)
    return ModelSpec(request.oracle, request.oracle_weights, arguments, replaced)


def _precision(request: TrainRequest, index: Index) -> str:
    """Return the precision of a fine-tuning: the cache's where none is asked for, as far as one can train in it."""
    cached = index.meaning.precision
    return (cached if cached in TUNING else "float32") if request.precision == "auto" else request.precision


def _also_asked(workspace: Workspace, index: Index, names: Sequence[str]) -> tuple[Index, ...]:
    """Return the training caches that heads learn from beside the first.

    Raises UsageError for one of another classifier, and for the first again.
    """
    others = tuple(workspace.find_cache("train", index.classifier, name, "--also") for name in names)
    for other in others:
        if other.folder == index.folder or judged_fingerprint(other) != judged_fingerprint(index):
            what = "the same as --data" if other.folder == index.folder else "of another classifier than --data"
            raise UsageError(f"--also {other.data}: is {what} {index.data}; name another")
    return others


def _starting_from(workspace: Workspace, start: str, configs: Sequence[RunConfig]) -> list[RunConfig]:
    """Return the same fine-tunings, each to continue from the finished one of the loss `start` with its seed.

    Raises UsageError naming the command where there is none, and the runs where there are several.
    """
    from trustcache.oracles.runs import finished_runs

    runs = [run for run in finished_runs(workspace) if run.config.loss.name == start]
    shared = ("judged", "data", "backbone", "training", "protocol", "seed")
    started = []
    for config in configs:
        fitting = [r.name for r in runs if all(getattr(r.config, key) == getattr(config, key) for key in shared)]
        if not fitting:
            again = command_line("train", "--loss", start, "--seed", f"{config.seed}", "--protocol", config.protocol)
            raise UsageError(
                f"--start {start}: no fine-tuned {start} oracle {config.oracle} of {config.classifier} with seed "
                f"{config.seed} is finished; train it with {again}"
            )
        if len(fitting) > 1:
            raise UsageError(
                f"--start {start}: several runs fit: {', '.join(fitting)}; remove all but one of their folders"
            )
        started.append(replace(config, start=fitting[0]))
    return started
