"""`trustcache train`: stage two."""

from __future__ import annotations

from dataclasses import make_dataclass, replace
from typing import Annotated, Any

from trustcache.errors import TrustcacheError
from trustcache.losses import LOSSES, loss_settings
from trustcache.oracles.heads import HeadSpec
from trustcache.oracles.optim import Machine
from trustcache.oracles.request import TrainRequest, resolve
from trustcache.protocols import Optimiser
from trustcache.registry import option

from .evaluate import scored
from .from_dataclass import Given
from .program import Output, Place, command, console, is_quiet, say, terminal

LossSettings = make_dataclass(
    "LossSettings",
    [
        (key, tuple[str, ...], option((), setting.help, panel="Losses"))
        for key, setting in loss_settings(LOSSES.built_in).items()
    ],
)


@command("train")
def train(
    place: Place,
    request: TrainRequest,
    settings: Annotated[dict[str, Any], Given(LossSettings)],
    head: Annotated[dict[str, Any], Given(HeadSpec)],
    optimiser: Annotated[dict[str, Any], Given(Optimiser)],
    machine: Machine,
) -> Output:
    """Stage two: train oracles that tell when the classifier is right, then score them on its evaluation caches.

    Without --frozen the backbone is tuned together with the head, on the images. Settings of losses take lists
    (--alpha-neg 1,2,3) and every combination becomes a run. Options given here go before a preset's. What is finished
    already is not trained again.
    """
    from trustcache.cache.provenance import assumption
    from trustcache.cache.trained_on import trained_on
    from trustcache.cache.workspace import Workspace
    from trustcache.command_lines import command_line
    from trustcache.evaluate.scoring import evaluate, lacking
    from trustcache.evaluate.sweep import choose, fewest_held_out, mean_reference, save
    from trustcache.oracles.tracking import tracking
    from trustcache.report.run_list import summarise

    workspace = Workspace(place.workspace)
    training = resolve(workspace, request, settings, head, optimiser)
    index = training.index
    known = assumption(index), training.note(), training.few_errors(), trained_on(index, workspace.caches())
    for note in filter(None, known):
        say(f"note: {note}")
    with tracking(workspace, request.log) as track:
        runs = training.run(workspace, place.data_root, machine, console, track, lambda text: say(f"note: {text}"))
    sweep = save(workspace, choose(training.index, runs)) if request.sweep else None
    mcp = mean_reference(training.index, runs)
    failures: list[TrustcacheError] = []
    judged = runs[0].config.judged  # other classifiers of the workspace are none of this training's business
    made = evaluate(workspace, runs, place.data_root, machine, console, failed=failures.append, judged=judged)
    document = {"runs": summarise(runs, workspace.caches()), "mcp": mcp, "sweep": sweep}

    def show() -> None:
        from trustcache.report.render.terminal import print_tables
        from trustcache.report.sweeps import sweep_table, validation_table

        few = fewest_held_out(training.index, runs)
        table = sweep_table(sweep, few) if sweep else validation_table(runs, mcp, place.given(), few)
        print_tables([replace(table, notes=()) if is_quiet() else table], terminal())
        seen = command_line("report", *place.given())
        say(f"{made} scores made; see them with {seen}" if made else "nothing new to score")

    return scored(show, made, lacking(workspace, runs, judged), failures, **document)
