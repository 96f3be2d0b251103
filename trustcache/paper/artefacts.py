"""The registry of the paper's tables and figures: what each requires, how it is made, and how it is laid out.

`trustcache reproduce` and `trustcache report --only` know them by the same keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trustcache.cache.index import Index
from trustcache.command_lines import command_line
from trustcache.data.known_data import packaged_manifests
from trustcache.data.manifest import Manifest
from trustcache.losses import LOSSES
from trustcache.paper.alpha_sweep import sweep_figures, sweep_tables
from trustcache.paper.bounds import bound_tables
from trustcache.paper.comparisons import DISTANCES, Layout
from trustcache.paper.corruptions import corruption_tables
from trustcache.paper.curves import loss_figures, loss_tables
from trustcache.paper.figures import FOUR, FigureLayout, Subject, histograms, risks
from trustcache.paper.gaps import reproduce_options
from trustcache.paper.paper_index import Method, PaperIndex, Setup
from trustcache.paper.published_tables import published_tables
from trustcache.paper.recipes import FOUR_LOSSES, SECOND_MODEL, Recipe
from trustcache.report.build import SectionMaker
from trustcache.report.records import Scored
from trustcache.report.table import Exhibit, Figure, Section, Table

CE, FOCAL, TCP, SS = FOUR
SMALL_SCALE = (
    Method("mcp", score="mcp"),
    Method("mc-dropout", score="mc-dropout"),
    Method("trust-score", score="trust-score"),
    TCP,
    Method("ss", loss="ss", start="tcp"),
)
SHIFTS = ("stylized", "adversarial", "defocus_blur/5")
"""The conditions of Table 3's images."""
TWO_HEADS = (Method("ss", loss="ss", signed_distance=True), Method("ss", loss="ss", signed_distance=False))
WEIGHING = next(name for name in LOSSES if "base" in LOSSES[name].settings)
"""The loss that weighs another one, its base."""
BALANCED = tuple(
    method
    for base in (CE, FOCAL, SS)
    for method in (base, Method(f"{WEIGHING} {base.loss}", loss=WEIGHING, settings={"base": base.loss}))
)


def clean(paper: PaperIndex, setup: Setup) -> list[tuple[str, str]]:
    """Return the setup's own data set."""
    return [("clean", setup.data)]


def shifted(paper: PaperIndex, setup: Setup) -> list[tuple[str, str]]:
    """Return Table 3's data sets: of each condition all that are here, or the one to extract."""
    here = paper.variants(setup.data)
    sets = []
    for condition in SHIFTS:
        names = [manifest.name for manifest in here if manifest.condition == condition]
        known = [m for m in packaged_manifests() if m.variant_of == setup.data and m.condition == condition]
        sets += [(condition, name) for name in names or [m.name for m in sorted(known, key=_easily_had)[:1]]]
    return sets


def _easily_had(manifest: Manifest) -> tuple[bool, ...]:
    """Sort variants made from images alone first; of attacks the paper's, weakened where there is such a one.

    At the paper's settings it leaves a small classifier nothing right, and so nothing to tell apart.
    """
    variant = manifest.variant
    if variant is None:
        return (True,)
    return False, variant.kind == "attack" and variant.name != "recolor", bool(variant.vgg), not variant.settings


def _any_shifted(paper: PaperIndex, setup: Setup) -> bool:
    return any(m.condition in SHIFTS for m in paper.variants(setup.data))


def _small_scale(paper: PaperIndex, setup: Setup) -> bool:
    """Return True if a setup is Table 2's: something there has MC dropout, or was fine-tuned from a tcp oracle."""
    there = (one for one in paper.scored if one.record.dataset == setup.data)
    return setup.protocol == "equations" and any(
        one.record.method == "mc-dropout" or paper.began_with(one) == "tcp" for one in there
    )


def _has(paper: PaperIndex, setup: Setup, methods: Sequence[Method]) -> bool:
    return any(paper.find(setup, setup.data, pair, m) for pair in paper.pairs(setup) for m in methods)


def _first(paper: PaperIndex, setup: Setup) -> list[Subject]:
    return [(paper.first_pair(setup), setup.data)]


def _other_pairs(paper: PaperIndex, setup: Setup) -> list[Subject]:
    return [(pair, setup.data) for pair in paper.pairs(setup) if pair != paper.first_pair(setup)]


def _all_else(paper: PaperIndex, setup: Setup) -> list[Subject]:
    sets = [setup.data, *(m.name for m in paper.variants(setup.data) if m.condition in SHIFTS)]
    every = [(pair, data) for data in sets for pair in paper.pairs(setup)]
    return [subject for subject in every if subject not in _first(paper, setup)]


def _none(paper: PaperIndex) -> tuple[()]:
    return ()


@dataclass(frozen=True)
class Artefact:
    """One of the paper's tables or figures: its title, how it is made, and how it is laid out.

    requires: what it takes to have any of it. to_draw: the commands for what its figures lack.
    """

    title: str
    requires: str
    recipe: Recipe
    tables: Callable[[PaperIndex], tuple[Table, ...]] = _none
    figures: Callable[[PaperIndex], tuple[Figure, ...]] = _none
    to_draw: Callable[[PaperIndex], tuple[str, ...]] = _none


def _drawn(title: str, requires: str, recipe: Recipe, layout: FigureLayout) -> Artefact:
    return Artefact(title, requires, recipe, layout.tables, layout.figures, layout.to_draw)


_UNSEEN = ("stylized", "adversarial", "corrupted")
_SWEPT = ",".join(f"{0.5 * n:g}" for n in range(1, 17))
_SEPARATION = (
    "Both distances are between histograms of the confidences p of right and of wrong answers, in 40 bins, in nats; "
    "every bin starts at half a sample. How the paper estimates them is not known here, so its own are not shown."
)
_BALANCING = "Class-balanced losses weigh right and wrong samples by their effective numbers (β)."

# fmt: off
ARTEFACTS: dict[str, Artefact] = {
    "table1": Artefact(
        "Table 1: losses compared on clean data, all pairs",
        "runs of ce, focal, tcp and ss, scored on a clean test set",
        Recipe(), Layout(FOUR, clean, published="table1", settings=True).tables,
    ),
    "table2": Artefact(
        "Table 2: small-scale data, beside scores that need no training",
        "a classifier extracted with --mc-dropout, or ss tuned from tcp",
        Recipe(small_scale=True),
        Layout(SMALL_SCALE, clean, own=True, published="table2", fits=_small_scale, reference=None).tables,
    ),
    "table3": Artefact(
        "Table 3: stylized, adversarial and corrupted images",
        "the runs of Table 1, scored on a stylized, adversarial or corrupted variant",
        Recipe("first", unseen=_UNSEEN), Layout(FOUR, shifted, own=True, published="table3", fits=_any_shifted).tables,
    ),
    "table-a1": Artefact(
        "Table A1: every corruption at every severity", "the runs of Table 1, scored on corrupted variants",
        Recipe("first", unseen=("every-corruption",)), corruption_tables,
    ),
    "table-e": Artefact(
        "Table E: all pairs on stylized, adversarial and corrupted images",
        "a second classifier, and the sets of Table 3",
        Recipe(unseen=_UNSEEN, two_models=True),
        Layout(FOUR, shifted, published="table3", fits=lambda p, s: _any_shifted(p, s) and len(p.pairs(s)) > 1).tables,
    ),
    "table-f": Artefact(
        "Table F: ss with and without dividing by ‖w‖", "ss trained once more with --no-signed-distance",
        Recipe("first", trainings=(("--loss", "ss", "--signed-distance"), ("--loss", "ss", "--no-signed-distance"))),
        Layout(TWO_HEADS, clean, own=True, fits=lambda p, s: _has(p, s, TWO_HEADS[1:])).tables,
    ),
    "table-g": Artefact(
        "Table G: how far apart right and wrong lie", "the runs of Table 1",
        Recipe(), Layout(FOUR, clean, columns=DISTANCES, notes=(_SEPARATION,)).tables,
    ),
    "table-h": Artefact(
        "Table H: class-balanced losses beside their bases", f"runs of {WEIGHING} under protocol equations",
        Recipe("first", trainings=(FOUR_LOSSES, ("--loss", WEIGHING, "--base", "ce,focal,ss")),
               protocols=("equations",)),
        Layout(BALANCED, clean, own=True, notes=(_BALANCING,),
               fits=lambda p, s: s.protocol == "equations" and _has(p, s, BALANCED[1::2])).tables,
    ),
    "figure2b": Artefact(
        "Figure 2b: the losses over z", "nothing",
        Recipe("first", extracted=("test",), trainings=()), loss_tables, loss_figures,
    ),
    "figure3": _drawn(
        "Figure 3: trust confidences of right and wrong answers", "the runs of Table 1",
        Recipe("first"), histograms(_first),
    ),
    "figure-d": _drawn(
        "Figure D: the same for the other pairs", "the runs of Table 1, of other pairs",
        Recipe(two_models=True), histograms(_other_pairs),
    ),
    "figure4a": _drawn("Figure 4a: risk against coverage", "the runs of Table 1", Recipe("first"), risks(_first)),
    "figure-e": _drawn(
        "Figure E: the same for the other pairs and data sets",
        "the runs of Table 1, of other pairs or on the sets of Table 3",
        Recipe(unseen=_UNSEEN), risks(_all_else),
    ),
    "figure4bc": Artefact(
        "Figure 4b-c: loss, TPR and TNR over α⁻", "ss trained with three or more values of --alpha-neg",
        Recipe("first", trainings=(("--loss", "ss", "--alpha-pos", "1", "--alpha-neg", _SWEPT),), frozen=True),
        sweep_tables, sweep_figures,
    ),
    "theorem3.1": Artefact(
        "Theorem 3.1: the bound for the workspace's ss heads", "ss trained with --frozen",
        Recipe("first", trainings=(("--loss", "ss"),), frozen=True), bound_tables,
    ),
}
# fmt: on
"""Every table and figure of the paper, in its order."""
RECIPES = {key: artefact.recipe for key, artefact in ARTEFACTS.items()}


def _exhibit(paper: PaperIndex, key: str, options: Sequence[str] | None) -> Exhibit:
    """Return an artefact as far as it is made. options: those of `reproduce` in this workspace, None for no command."""
    artefact = ARTEFACTS[key]
    tables = artefact.tables(paper)
    lacks_model = options is not None and options.count("--classifier") == 1 and artefact.recipe.two_models
    return Exhibit(
        key,
        artefact.title,
        f"{artefact.requires}; {SECOND_MODEL}" if lacks_model else artefact.requires,
        tables + published_tables(key) if tables else (),
        artefact.figures(paper),
        artefact.to_draw(paper),
        "" if options is None or lacks_model else command_line("reproduce", key, *options),
    )


SECTION = "paper"
"""Key of the section, with which its exhibits' anchors begin on the page."""


def paper_section(scored: Sequence[Scored], indices: Sequence[Index] = (), place: Sequence[str] = ()) -> Section:
    """Return every artefact in the paper's order, as far as what is scored makes it."""
    paper = PaperIndex(scored, indices, place)
    options = reproduce_options(paper)
    exhibits = tuple(_exhibit(paper, key, options) for key in ARTEFACTS)
    about = (
        "Those of “Learning to Predict Trustworthiness with Steep Slope Loss”, made from this workspace. A published "
        "figure stands beside ours, on the page in colour, only where both are defined alike; published Tables 1 to "
        "3 stand whole below ours."
    )
    return Section(SECTION, "The paper's tables and figures", about, exhibits, ("table-a1", "table-e"))


PAPER = SectionMaker(tuple(ARTEFACTS), paper_section)
"""The paper's part of a report."""
