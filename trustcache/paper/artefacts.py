"""The registry of the paper's tables and figures: what each is, what it takes, and how it is laid out.

A table is laid out by a `Comparison` or its like, a figure by a function; both are given the evidence and return what
there is. `trustcache reproduce` and `trustcache report --only` know them by the same keys.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from trustcache.cache.index import Index
from trustcache.data.manifest import Manifest
from trustcache.paper.alpha_sweep import sweep_charts, sweep_grids
from trustcache.paper.bounds import bound_grids
from trustcache.paper.comparisons import DISTANCES, Comparison
from trustcache.paper.corruptions import Corruptions
from trustcache.paper.drawn import FOUR, Drawn, Figure, histograms, loss_charts, loss_grids, risks
from trustcache.paper.evidence import Evidence, Method, Stage, known_manifests
from trustcache.paper.needs import reproduction
from trustcache.paper.shown import Chart, PaperGrid, Shown
from trustcache.report.records import Scored

CE, FOCAL, TCP, SS = FOUR
SMALL_SCALE = (
    Method("mcp", score="mcp"),
    Method("mc-dropout", score="mc-dropout"),
    Method("trust-score", score="trust-score"),
    TCP,
    Method("ss", loss="ss", start="tcp"),
)
SHIFTS = ("stylized", "adversarial", "defocus_blur/5")
"""What Table 3's images went through."""
TWO_HEADS = (Method("ss", loss="ss", signed_distance=True), Method("ss", loss="ss", signed_distance=False))
BALANCED = tuple(
    method
    for base in (CE, FOCAL, SS)
    for method in (base, Method(f"class-balanced {base.loss}", loss="class-balanced", settings={"base": base.loss}))
)


def clean(evidence: Evidence, stage: Stage, classifier: str) -> list[tuple[str, str]]:
    """The stage's own data set."""
    return [("clean", stage.data)]


def shifted(evidence: Evidence, stage: Stage, classifier: str) -> list[tuple[str, str]]:
    """Table 3's: stylized, adversarial, and one corruption; of each all that are here, or the one to extract."""
    here = evidence.variants(stage.data)
    sets = []
    for condition in SHIFTS:
        names = [manifest.name for manifest in here if manifest.condition == condition]
        known = [m for m in known_manifests() if m.variant_of == stage.data and m.condition == condition]
        sets += [(condition, name) for name in names or [m.name for m in sorted(known, key=_easily_had)[:1]]]
    return sets


def _easily_had(manifest: Manifest) -> tuple[bool, ...]:
    """What is made on the fly from images alone first; of attacks the paper's, weakened where there is such a one.

    At the paper's settings it leaves a small classifier nothing right, and so nothing to tell apart.
    """
    variant = manifest.variant
    if variant is None:
        return (True,)
    return False, variant.kind == "attack" and variant.name != "recolor", bool(variant.vgg), not variant.settings


def _any_shifted(evidence: Evidence, stage: Stage) -> bool:
    return any(m.condition in SHIFTS for m in evidence.variants(stage.data))


def _several(evidence: Evidence, stage: Stage) -> bool:
    return len(evidence.pairs(stage)) > 1


def _small_scale(evidence: Evidence, stage: Stage) -> bool:
    """Whether a stage is Table 2's: something there has MC dropout, or goes on from a tcp oracle."""
    there = (one for one in evidence.scored if one.record.dataset == stage.data)
    return stage.protocol == "equations" and any(
        one.record.method == "mc-dropout" or evidence.began_with(one) == "tcp" for one in there
    )


def _with_balanced(evidence: Evidence, stage: Stage) -> bool:
    return stage.protocol == "equations" and _has(evidence, stage, BALANCED[1::2])


def _with_both_heads(evidence: Evidence, stage: Stage) -> bool:
    return _has(evidence, stage, TWO_HEADS[1:])


def _has(evidence: Evidence, stage: Stage, methods: Sequence[Method]) -> bool:
    found = (evidence.find(stage, stage.data, pair, m) for pair in evidence.pairs(stage) for m in methods)
    return any(found)


def _first(evidence: Evidence, stage: Stage) -> list[Drawn]:
    return [(evidence.first_pair(stage), stage.data)]


def _other_pairs(evidence: Evidence, stage: Stage) -> list[Drawn]:
    return [(pair, stage.data) for pair in evidence.pairs(stage) if pair != evidence.first_pair(stage)]


def _all_else(evidence: Evidence, stage: Stage) -> list[Drawn]:
    sets = [stage.data, *(m.name for m in evidence.variants(stage.data) if m.condition in SHIFTS)]
    every = [(pair, data) for data in sets for pair in evidence.pairs(stage)]
    return [drawn for drawn in every if drawn not in _first(evidence, stage)]


def _none(evidence: Evidence) -> tuple[()]:
    return ()


@dataclass(frozen=True)
class Artefact:
    """One of the paper's tables or figures: its title, what it takes to have any of it, and what lays it out.

    to_draw: the commands for the drawings that it lacks; grids have those of their gaps.
    """

    title: str
    needs: str
    grids: Callable[[Evidence], tuple[PaperGrid, ...]] = _none
    charts: Callable[[Evidence], tuple[Chart, ...]] = _none
    to_draw: Callable[[Evidence], tuple[str, ...]] = _none


def _drawn(title: str, needs: str, figure: Figure) -> Artefact:
    return Artefact(title, needs, figure.grids, figure.charts, figure.to_draw)


_SEPARATION = (
    "Both distances are between histograms of the confidences p of right and of wrong answers, in 40 bins, in nats; "
    "every bin starts at half a sample. How the paper estimates them is not known here, so its own are not shown."
)
_BALANCING = "Class-balanced losses weigh right and wrong samples by their effective numbers (β)."

ARTEFACTS: dict[str, Artefact] = {
    "table1": Artefact(
        "Table 1: losses compared on clean data, all pairs",
        "runs of ce, focal, tcp and ss, scored on a clean test set",
        Comparison(FOUR, clean, published="table1").grids,
    ),
    "table2": Artefact(
        "Table 2: small-scale data, beside scores that need no training",
        "a classifier extracted with --mc-dropout, or ss tuned from tcp",
        Comparison(SMALL_SCALE, clean, own=True, published="table2", fits=_small_scale, reference=None).grids,
    ),
    "table3": Artefact(
        "Table 3: stylized, adversarial and corrupted images",
        "the runs of Table 1, scored on a stylized, adversarial or corrupted variant",
        Comparison(FOUR, shifted, own=True, published="table3", fits=_any_shifted).grids,
    ),
    "table-a1": Artefact(
        "Table A1: every corruption at every severity",
        "the runs of Table 1, scored on corrupted variants",
        Corruptions(FOUR).grids,
    ),
    "table-e": Artefact(
        "Table E: all pairs on stylized, adversarial and corrupted images",
        "a second classifier, and the sets of Table 3",
        Comparison(FOUR, shifted, published="table3", fits=lambda e, s: _any_shifted(e, s) and _several(e, s)).grids,
    ),
    "table-f": Artefact(
        "Table F: ss with and without dividing by ‖w‖",
        "ss trained once more with --no-signed-distance",
        Comparison(TWO_HEADS, clean, own=True, fits=_with_both_heads).grids,
    ),
    "table-g": Artefact(
        "Table G: how far apart right and wrong lie",
        "the runs of Table 1",
        Comparison(FOUR, clean, columns=DISTANCES, notes=(_SEPARATION,)).grids,
    ),
    "table-h": Artefact(
        "Table H: class-balanced losses beside their bases",
        "runs of class-balanced under protocol equations",
        Comparison(BALANCED, clean, own=True, fits=_with_balanced, notes=(_BALANCING,)).grids,
    ),
    "figure2b": Artefact("Figure 2b: the losses over z", "nothing", loss_grids, loss_charts),
    "figure3": _drawn(
        "Figure 3: trust confidences of right and wrong answers", "the runs of Table 1", histograms(_first)
    ),
    "figure-d": _drawn(
        "Figure D: the same for the other pairs", "the runs of Table 1, of other pairs", histograms(_other_pairs)
    ),
    "figure4a": _drawn("Figure 4a: risk against coverage", "the runs of Table 1", risks(_first)),
    "figure-e": _drawn(
        "Figure E: the same for the other pairs and data sets",
        "the runs of Table 1, of other pairs or on the sets of Table 3",
        risks(_all_else),
    ),
    "figure4bc": Artefact(
        "Figure 4b-c: loss, TPR and TNR over α⁻",
        "ss trained with three or more values of --alpha-neg",
        sweep_grids,
        sweep_charts,
    ),
    "theorem3.1": Artefact(
        "Theorem 3.1: the bound for the workspace's ss heads", "ss trained with --frozen", bound_grids
    ),
}


def paper(scored: Iterable[Scored], indices: Sequence[Index] = (), place: Sequence[str] = ()) -> tuple[Shown, ...]:
    """Every artefact in the paper's order, as far as what is scored makes it.

    indices: those of all caches. place: the options that make a command work in this workspace.
    """
    evidence = Evidence(tuple(scored), tuple(indices), tuple(place))
    options = reproduction(evidence)
    return tuple(
        Shown(
            key,
            artefact.title,
            artefact.needs,
            artefact.grids(evidence),
            artefact.charts(evidence),
            artefact.to_draw(evidence),
            "" if options is None else shlex.join(["trustcache", "reproduce", key, *options]),
        )
        for key, artefact in ARTEFACTS.items()
    )
