"""The options of `trustcache train`, by the groups that its help shows."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from trustcache.losses import loss_settings

from .options import DEVICE_HELP, WORKERS_HELP, Half
from .values import ProtocolName

_LOSSES, _ORACLE, _HEAD, _TRAINING, _MACHINE = "Losses", "Oracle", "Heads on cached outputs", "Training", "Machine"


class HeadKind(StrEnum):
    """What a head is."""

    linear = "linear"
    mlp = "mlp"


def _explained(name: str) -> str:
    setting = loss_settings()[name]
    return f"{setting.meaning[0].upper()}{setting.meaning[1:]} ({setting.default:g})."


Loss = Annotated[
    str | None,
    typer.Option(help="ce, focal, tcp, ss, class-balanced; a list of them, or all.", rich_help_panel=_LOSSES),
]
AlphaPos = Annotated[str | None, typer.Option(help=_explained("alpha_pos"), rich_help_panel=_LOSSES)]
AlphaNeg = Annotated[str | None, typer.Option(help=_explained("alpha_neg"), rich_help_panel=_LOSSES)]
Gamma = Annotated[str | None, typer.Option(help=_explained("gamma"), rich_help_panel=_LOSSES)]
Beta = Annotated[str | None, typer.Option(help=_explained("beta"), rich_help_panel=_LOSSES)]
Base = Annotated[
    str | None,
    typer.Option(help="class-balanced: the loss it weights: ce, focal or ss (ce).", rich_help_panel=_LOSSES),
]
Protocol = Annotated[
    ProtocolName,
    typer.Option(help="The paper's equations, or what its authors' released code does.", rich_help_panel=_LOSSES),
]
PresetName = Annotated[
    str | None,
    typer.Option(help="Hyperparameters: one of trustcache presets, or your .toml file.", rich_help_panel=_LOSSES),
]
Classifier = Annotated[str | None, typer.Option(help="Whose cache to learn from, where there are several.")]
Data = Annotated[str | None, typer.Option(help="Which cache to learn from, where there are several.")]
Part = Annotated[
    Half | None,
    typer.Option(help="--frozen: learn from one half of --data, of any role, and be scored on the other only."),
]
Also = Annotated[
    str | None,
    typer.Option(
        help="--frozen: learn from these training caches too, as of the same images changed; what is set aside for "
        "validation is so in them as well."
    ),
]
Frozen = Annotated[bool, typer.Option("--frozen", help="Fast: only heads, all at once, on cached outputs.")]
Seed = Annotated[str | None, typer.Option(help="Seed, or a list of them (0).")]
Sweep = Annotated[
    bool,
    typer.Option(
        "--sweep", help="Try a small grid of what the losses leave open, rank by validation and name a winner."
    ),
]
OracleModelName = Annotated[
    str | None,
    typer.Option(
        help="Build the oracle on another model than the classifier: by its name in the workspace, or any that "
        "extract takes.",
        rich_help_panel=_ORACLE,
    ),
]
OracleWeights = Annotated[
    str | None, typer.Option(help="Its weights: a safetensors or torch file.", rich_help_panel=_ORACLE)
]
OracleArg = Annotated[
    list[str] | None,
    typer.Option(help="KEY=VALUE for its builder; may be repeated.", rich_help_panel=_ORACLE),
]
OraclePreprocess = Annotated[
    list[str] | None,
    typer.Option(
        help="Replace part of its preprocessing, as in input_size=224; may be repeated.", rich_help_panel=_ORACLE
    ),
]
SignedDistance = Annotated[
    bool | None,
    typer.Option(
        "--signed-distance/--no-signed-distance",
        help="Head gives (w·x + b)/|w| rather than w·x + b (by default for ss only).",
        rich_help_panel=_ORACLE,
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        help="Tune on from the finished oracles of this loss with the same seeds, as in tcp.",
        rich_help_panel=_ORACLE,
    ),
]
Head = Annotated[
    HeadKind | None,
    typer.Option(help="A linear head, or one with a hidden layer (linear).", rich_help_panel=_HEAD),
]
Inputs = Annotated[
    str | None,
    typer.Option(
        help="What it looks at: last, all, or a list of features, stages, log-probs, sorted-log-probs, prediction, "
        "mirrored (last).",
        rich_help_panel=_HEAD,
    ),
]
Ensemble = Annotated[
    int | None,
    typer.Option(min=1, help="mlp: so many networks, their scores averaged (1).", rich_help_panel=_HEAD),
]
Hidden = Annotated[int | None, typer.Option(min=1, help="mlp: units of the hidden layer.", rich_help_panel=_HEAD)]
Dropout = Annotated[
    float | None,
    typer.Option(min=0, max=0.95, help="mlp: share of them left out at each step.", rich_help_panel=_HEAD),
]
InputDropout = Annotated[
    float | None,
    typer.Option(min=0, max=0.95, help="mlp: share of the inputs left out at each step.", rich_help_panel=_HEAD),
]
WeightDecay = Annotated[float | None, typer.Option(min=0, help="mlp: AdamW's.", rich_help_panel=_HEAD)]
Patience = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="mlp: keep the epoch of best validation AUC, sought until so many are no better; 0: the last one.",
        rich_help_panel=_HEAD,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=1, help="Passes over the data (1; frozen: 20; small data: more); mlp: at most.", rich_help_panel=_TRAINING
    ),
]
BatchSize = Annotated[
    int | None, typer.Option(min=2, help="Samples a step (128; frozen: 512).", rich_help_panel=_TRAINING)
]
LearningRate = Annotated[
    float | None,
    typer.Option(min=0, help="Highest rate of OneCycle SGD (0.02); frozen: Adam's (0.001).", rich_help_panel=_TRAINING),
]
Momentum = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="SGD's momentum (0.9); not for --frozen.", rich_help_panel=_TRAINING),
]
ValFraction = Annotated[
    float | None,
    typer.Option(min=0, max=0.9, help="Part set aside for validation (0.1).", rich_help_panel=_TRAINING),
]
Device = Annotated[
    str,
    typer.Option(help=DEVICE_HELP, rich_help_panel=_MACHINE),
]
Workers = Annotated[int, typer.Option(min=0, help=WORKERS_HELP, rich_help_panel=_MACHINE)]
CheckpointEvery = Annotated[
    float,
    typer.Option(min=0, help="Seconds between a fine-tuning's checkpoints.", rich_help_panel=_MACHINE),
]
