"""Which runs make up which row, what stands in a cell, and which commands fill a gap."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace

import numpy as np
import pytest

from tests.index_builder import RELEASED, build_index, build_manifest
from trustcache.oracles.presets.preset import read_preset
from trustcache.paper.alpha_sweep import alpha_sweeps
from trustcache.paper.artefacts import ARTEFACTS
from trustcache.paper.gaps import extraction
from trustcache.paper.paper_index import PaperIndex
from trustcache.protocols import Optimiser
from trustcache.report.table import GAP

TABLES = [key for key in ARTEFACTS if key.startswith("table")]


@pytest.fixture
def run(scored):
    """A run on `birds`, judging `vit` and built on it; keywords as for `scored`."""

    def make(method="ss", seed=0, oracle="vit", classifier="vit", **given):
        fields = {"dataset": "birds", "oracle": oracle, "classifier": classifier}
        name = f"{oracle}-on-{classifier}-{method}-{seed}-{given.get('training')}-{given.get('dataset')}"
        settings = {"alpha_pos": 1.0, "alpha_neg": 3.0} if method == "ss" else {}
        return scored(method, seed, **({"run": name, "settings": settings} | fields | given))

    return make


@pytest.fixture
def mcp(scored):
    """The classifier's own confidence on `birds`, which every cache has."""

    def make(classifier="vit", dataset="birds", **given):
        return scored("mcp", dataset=dataset, classifier=classifier, **given)

    return make


def grids(key, scored, indices=()):
    return ARTEFACTS[key].tables(PaperIndex(tuple(scored), tuple(indices)))


def rows(key, scored, kind="ours"):
    """Labels to cells of all grids of a table."""
    return {line.labels: list(map(str, line.cells)) for g in grids(key, scored) for line in g.rows if line.kind == kind}


def commands(key, scored, indices=()):
    return [command for grid in grids(key, scored, indices) for command in grid.commands]


# --- Table 1 ---------------------------------------------------------------------------------------------------


def test_a_cell_is_mean_and_deviation_over_seeds_in_percent(run):
    runs = [run("ss", seed, auc=auc, tpr=0.5) for seed, auc in enumerate((0.70, 0.72, 0.77))]
    cells = rows("table1", runs)["⟨vit, vit⟩", "birds", "ss α⁻3"]
    assert cells[4] == "73.00 ± 3.61"
    assert cells[5] == "50.00 ± 0.00"


def test_a_table_says_what_its_figures_are_of(run, mcp):
    runs = [run("ss", seed, n=5000, learnt_from=50000) for seed in (0, 1, 2)]
    (table,) = grids("table1", [*runs, mcp()])
    for fact in ("5,000 test images", "50,000 images, those held out", "3 seeds", "±", "mcp"):
        assert fact in table.notes[0]
    (whole,) = grids("table1", [run("ss", 0, learnt_from=50000, config={"val_fraction": 0.0})])
    assert "held out" not in whole.notes[0]
    (without,) = grids("table1", [run("ss", 0)])
    assert "mcp" not in without.notes[0]
    assert "±" not in without.notes[0]


def test_the_classifiers_accuracy_has_no_deviation(run):
    cells = rows("table1", [run("ss", seed) for seed in (0, 1, 2)])["⟨vit, vit⟩", "birds", "ss α⁻3"]
    assert cells[0] == "80.00"


def test_columns_are_the_papers_in_its_order_with_the_protocols_direction(run):
    (equations,) = grids("table1", [run()])
    (released,) = grids("table1", [run(protocol="released")])
    assert [head.split()[0] for head in equations.heads] == [
        *("Acc", "FPR@95", "AUPR-Error", "AUPR-Success", "AUC", "TPR", "TNR")
    ]
    assert equations.heads[2] == "AUPR-Error ↑"
    assert released.heads[2] == "AUPR-Error ↓"


def test_a_loss_without_runs_is_a_gap_and_not_left_out(run):
    found = rows("table1", [run("ss")])
    assert [labels[2].split()[0] for labels in found] == ["ce", "focal", "tcp", "ss"]
    assert found["⟨vit, vit⟩", "birds", "focal"] == [GAP] * 7


def test_protocols_and_ways_of_training_are_tables_of_their_own(run):
    runs = [run(), run(protocol="released"), run(training="fine-tuned")]
    assert [grid.title for grid in grids("table1", runs)] == [
        "birds · frozen · protocol equations",
        "birds · fine-tuned · protocol equations",
        "birds · frozen · protocol released",
    ]


def test_two_classifiers_make_four_pairs_with_the_vit_first(run, mcp):
    runs = [run("ss", oracle="resnet", classifier="resnet"), mcp("vit"), mcp("resnet")]
    pairs = dict.fromkeys(labels[0] for labels in rows("table1", runs))
    assert list(pairs) == ["⟨vit, vit⟩", "⟨vit, resnet⟩", "⟨resnet, vit⟩", "⟨resnet, resnet⟩"]


def test_an_oracle_that_is_no_classifier_here_is_a_pair_as_well(run, mcp):
    pairs = {labels[0] for labels in rows("table1", [run(oracle="convnext"), mcp()])}
    assert pairs == {"⟨vit, vit⟩", "⟨convnext, vit⟩"}


def test_a_models_cache_of_the_other_protocol_makes_no_pairs(run, mcp):
    same = {"model": "the-model"}
    runs = [run(**same), mcp("vit", **same), mcp("vit-released", **same, preprocessing=RELEASED)]
    assert {labels[0] for labels in rows("table1", runs)} == {"⟨vit, vit⟩"}


def test_the_classifiers_own_confidence_stands_below_as_a_reference_that_is_not_the_papers(run, mcp):
    reference = rows("table1", [run(), mcp(auc=0.86)], "reference")
    ((labels, cells),) = reference.items()
    assert labels == ("⟨none, vit⟩", "birds", "mcp, not in the paper's")
    assert cells[4] == "86.00"


def test_the_usual_settings_make_the_row_and_not_those_that_scored_best(run):
    best = [run("ss", seed, settings={"alpha_pos": 1.0, "alpha_neg": 6.0}, auc=0.99) for seed in range(5)]
    usual = [run("ss", seed, auc=0.70) for seed in (0, 1, 2)]
    found = rows("table1", [*best, *usual])
    assert found["⟨vit, vit⟩", "birds", "ss α⁻3"][4] == "70.00 ± 0.00"
    assert rows("table1", [*best, *usual], "setting")["⟨vit, vit⟩", "birds", "ss α⁻6"][4] == "99.00 ± 0.00"


def other_setting(run, alpha_neg, **given):
    return [run("ss", seed, settings={"alpha_pos": 1.0, "alpha_neg": alpha_neg}, **given) for seed in (0, 1, 2)]


def test_a_few_other_settings_of_a_loss_stand_below_its_row_and_are_not_counted_as_best(run):
    usual = [run("ss", seed, auc=0.70) for seed in (0, 1, 2)]
    runs = [*usual, run("ce", auc=0.6), *other_setting(run, 2.0, auc=0.9)]
    (grid,) = grids("table1", runs)
    labels = [row.labels[2] for row in grid.rows]
    assert labels[-2:] == ["ss α⁻3", "ss α⁻2"]
    (other,) = (row for row in grid.rows if row.kind == "setting")
    assert str(other.cells[4]) == "90.00 ± 0.00"
    assert [row.labels[2] for row in grid.rows if row.cells[4].best] == ["ss α⁻3"]
    assert "not counted: other settings of a loss" in grid.notes[0]
    assert not any("run with other settings too" in note for note in grid.notes)


def test_a_sweep_and_runs_that_were_trained_otherwise_are_named_and_not_shown(run):
    usual = [run("ss", seed) for seed in (0, 1, 2)]
    sweep = sum((other_setting(run, value) for value in (1.0, 2.0, 4.0, 5.0)), usual)
    longer = {"config": {"optimiser": Optimiser("adam", 999, 64, 1e-3)}}
    for runs in (sweep, usual + other_setting(run, 2.0, **longer)):
        (grid,) = grids("table1", runs)
        assert not [row for row in grid.rows if row.kind == "setting"]
        assert any("run with other settings too" in note for note in grid.notes)


def test_a_sweep_pushes_out_no_setting_that_stands_alone_and_is_named_with_where_it_is(run):
    sweep = [one for value in (1.0, 2.0, 4.0, 5.0) for one in other_setting(run, value)]
    alone = [run("ss", seed, settings={"alpha_pos": 2.0, "alpha_neg": 2.0}) for seed in (0, 1, 2)]
    (grid,) = grids("table1", [*(run("ss", seed) for seed in (0, 1, 2)), *sweep, *alone])
    assert [row.labels[2] for row in grid.rows if row.kind == "setting"] == ["ss α⁺2 α⁻2"]
    (note,) = (note for note in grid.notes if "run with other settings too" in note)
    assert "Figure 4b-c" in note
    assert len(alpha_sweeps(PaperIndex((*sweep, *alone)))) == 1


def test_of_many_settings_that_stand_alone_the_first_three_are_shown_and_the_rest_named(run):
    alone = [run("ss", 0, settings={"alpha_pos": value, "alpha_neg": 2.0}) for value in (0.5, 2.0, 4.0, 5.0)]
    (grid,) = grids("table1", [*(run("ss", seed) for seed in (0, 1, 2)), *alone])
    assert len([row for row in grid.rows if row.kind == "setting"]) == 3
    assert any("run with other settings too" in note for note in grid.notes)


def test_table_1_says_whether_it_is_of_the_papers_setting_and_what_makes_that(run):
    frozen = run("ss", dataset="digits-test")
    (alone,) = grids("table1", [frozen])
    assert (alone.papers, "fine-tuned by protocol released" in alone.facts) == (False, True)
    (command,) = (note.partition(": ")[2] for note in alone.notes if "trustcache reproduce" in note)
    assert shlex.split(command)[:5] == ["trustcache", "reproduce", "table1", "--data", "digits"]
    assert "--frozen" not in command
    assert "--protocol" not in command
    tuned = {"training": "fine-tuned", "protocol": "released"}
    other, papers = grids("table1", [frozen, run("ss", 1, dataset="digits-test", **tuned)])
    assert (other.papers, papers.papers) == (False, True)
    assert not [note for note in (*other.notes, *papers.notes) if "trustcache reproduce" in note]


def test_only_table_1_shows_other_settings(run):
    runs = [*(run("ss", seed) for seed in (0, 1, 2)), *other_setting(run, 2.0)]
    assert rows("table1", runs, "setting")
    assert not rows("table-g", runs, "setting")


def test_of_equal_settings_the_usual_optimiser_makes_the_row(run):
    other = {"config": {"optimiser": Optimiser("adam", 999, 64, 1e-3)}}
    told = {"settings": {"alpha_pos": 1.0, "alpha_neg": 3.0, "epochs": 999}}
    runs = [*(run("ss", seed, auc=0.99, **other, **told) for seed in range(5)), run("ss", auc=0.7)]
    assert any(cells[4] == "70.00" for cells in rows("table1", runs).values())


def test_an_undefined_value_is_no_gap(run):
    cells = rows("table1", [run(fpr_at_95_tpr=math.nan)])["⟨vit, vit⟩", "birds", "ss α⁻3 (1 seed)"]
    assert cells[1] == "–"


def test_fewer_than_three_seeds_are_said(run):
    assert ("⟨vit, vit⟩", "birds", "ss α⁻3 (2 seeds)") in rows("table1", [run(seed=0), run(seed=1)])


def test_a_head_that_is_not_the_papers_makes_no_row(run, monkeypatch):
    from trustcache.paper import paper_index

    runs = [run(oracle="vit"), run("ce", oracle="vit")]
    monkeypatch.setattr(paper_index, "papers_head", lambda config: config.loss.name != "ss")
    assert [labels[2] for labels, cells in rows("table1", runs).items() if cells[0] != GAP] == ["ce (1 seed)"]


# --- commands --------------------------------------------------------------------------------------------------


def test_one_command_trains_all_that_is_missing_of_a_pair(run):
    assert commands("table1", [run("ss", seed) for seed in (0, 1, 2)]) == [
        "trustcache train --classifier vit --data learnt-from --frozen --loss ce,focal,tcp --seed 0,1,2"
    ]


def test_only_the_seeds_that_are_missing_are_asked_for(run):
    found = commands("table1", [run(loss, seed) for loss in ("ce", "focal", "tcp", "ss") for seed in (1,)])
    assert [command.rpartition(" ")[2] for command in found] == ["0,2"]


def test_pair_protocol_and_training_are_in_the_command(run, mcp):
    runs = [run(loss, 0, protocol="released") for loss in ("ce", "focal", "tcp", "ss")]
    found = commands("table1", [*runs, mcp("resnet")])
    cross = next(command for command in found if "--oracle vit" in command)
    assert "--classifier resnet --oracle vit" in cross
    assert "--frozen --protocol released" in cross


def test_the_papers_own_pairs_are_trained_by_its_presets(papers):
    (command,) = commands("table1", [papers("ss", seed) for seed in (0, 1, 2)], [papers("ss").index])
    assert "--preset paper-imagenet-vit" in command
    assert "--frozen" not in command


def test_an_oracle_of_another_architecture_is_tuned_by_its_own_preset_at_the_rate_of_those_there(papers, mcp):
    raised = {"optimiser": replace(read_preset("paper-imagenet-vit").fine_tuning, lr=0.002)}
    resnet = mcp("resnet", model="resnet50.tv_in1k", dataset="imagenet-val", protocol="released")
    runs = [papers("ss", seed, config=raised) for seed in (0, 1, 2)]
    found = commands("table1", [*runs, resnet], [runs[0].index, resnet.index])
    told = [command for command in found if "--preset paper-imagenet-resnet --lr 0.002" in command]
    assert [command.partition(" --lr 0.002 ")[2] for command in told] == ["--loss ce,focal,tcp,ss --seed 0,1,2"] * 2


def test_the_optimiser_of_the_runs_beside_is_asked_for_where_it_is_not_the_usual_one(run):
    other = {"config": {"optimiser": Optimiser("adam", 40, 64, 1e-3)}}
    (command,) = commands("table1", [run("ss", seed, **other) for seed in (0, 1, 2)])
    assert "--epochs 40 --batch-size 64" in command


def test_a_momentum_of_ones_own_and_the_validation_part_are_asked_for(run):
    tuned = {"optimiser": Optimiser("sgd", 1, 128, 0.003, 0.5), "val_fraction": 0.25}
    (command,) = commands("table1", [run("ss", seed, training="fine-tuned", config=tuned) for seed in (0, 1, 2)])
    assert "--lr 0.003 --momentum 0.5 --val-fraction 0.25 --loss ce,focal,tcp" in command


def test_a_run_that_has_not_scored_a_variant_needs_scoring_and_no_training(run, mcp):
    shifted = {"dataset": "birds-styled", "variant_of": "birds", "shows": "stylized"}
    runs = [run(loss, seed) for loss in ("ce", "focal", "tcp", "ss") for seed in (0, 1, 2)]
    there = [run("ce", seed, **shifted) for seed in (0, 1, 2)]
    assert commands("table3", [*runs, *there, mcp(**shifted)]) == ["trustcache evaluate"]


def test_data_sets_that_are_not_here_become_one_extraction_with_the_classifiers_own_options(run, mcp):
    model = {"model": "cifar-resnet8", "weights": "w.safetensors", "classifier": "mine", "oracle": "mine"}
    clean = [
        run(loss, seed, **model, dataset="digits-test") for loss in ("ce", "focal", "tcp", "ss") for seed in (0, 1, 2)
    ]
    shifted = {"dataset": "digits-fourier", "variant_of": "digits-test", "shows": "stylized"}
    there = [run("ce", seed, **model, **shifted) for seed in (0, 1, 2)]
    found = commands("table3", [*clean, *there], [clean[0].index])
    words = shlex.split(found[0])
    assert words[:6] == ["trustcache", "extract", "--classifier", "cifar-resnet8", "--weights", "w.safetensors"]
    assert words[words.index("--as") + 1] == "mine"
    assert [words[i + 1] for i, word in enumerate(words) if word == "--data"] == [
        *("digits-pgd", "digits-c/defocus_blur/5")
    ]
    assert "--preprocess mean=0.1,0.1,0.1" in found[0]
    assert found[1] == "trustcache evaluate"


def test_every_command_parses(run, mcp, papers):
    from cli import loaded

    runs = [run(), run("class-balanced", settings={"base": "ce", "beta": 0.9999}), mcp("resnet")]
    runs += [run("ss", signed_distance=False, config={"signed_distance": False}), papers("ss")]
    shown = [line for key in TABLES for line in commands(key, runs, [runs[0].index])]
    assert len(shown) > 5
    for command in shown:
        words = shlex.split(command)[1:]
        assert loaded(words[0]).make_context("trustcache", words[1:]).params


# --- the other tables ------------------------------------------------------------------------------------------


def test_table_3_has_each_variant_of_the_clean_set_for_the_first_pair(run, mcp):
    styled = {"dataset": "birds-styled", "variant_of": "birds", "shows": "stylized"}
    blurred = {"dataset": "birds-c/defocus_blur/5", "variant_of": "birds", "shows": "defocus_blur/5"}
    foggy = {"dataset": "birds-c/fog/5", "variant_of": "birds", "shows": "fog/5"}
    runs = [run(auc=0.9), mcp(), *(run(**kind, auc=0.6) for kind in (styled, blurred, foggy))]
    sets = dict.fromkeys(labels[1] for labels in rows("table3", runs))
    assert list(sets) == ["birds-styled", "birds-c/defocus_blur/5"]
    assert not grids("table3", [run(), mcp()])


def test_table_e_is_for_several_pairs_only(run, mcp):
    styled = {"dataset": "birds-styled", "variant_of": "birds", "shows": "stylized"}
    assert not grids("table-e", [run(), run(**styled)])
    pairs = {labels[0] for labels in rows("table-e", [run(), run(**styled), mcp("resnet")])}
    assert len(pairs) == 4


def test_table_f_tells_the_two_heads_apart_by_the_runs_config(run):
    flat = {"config": {"signed_distance": False}, "run": "flat"}
    found = rows("table-f", [run(auc=0.7), run(**flat, auc=0.6)])
    assert [(labels[2], cells[4]) for labels, cells in found.items()] == [
        ("ss α⁻3, over ‖w‖ (1 seed)", "70.00"),
        ("ss α⁻3, not over ‖w‖ (1 seed)", "60.00"),
    ]
    assert [cells[4] for labels, cells in rows("table1", [run(**flat, auc=0.6), run(auc=0.7)]).items()][3] == "70.00"
    assert any("--no-signed-distance" in command for command in commands("table-f", [run(auc=0.7), run(**flat)]))


def test_table_g_measures_the_histograms_of_right_and_wrong(run):
    apart = {"TP": [0, 0, 0, 90], "FN": [0, 0, 0, 0], "FP": [0, 0, 0, 0], "TN": [90, 0, 0, 0]}
    alike = {"TP": [0, 0, 0, 90], "FN": [0, 0, 0, 0], "FP": [0, 0, 0, 90], "TN": [0, 0, 0, 0]}
    as_arrays = [{key: np.array(value) for key, value in h.items()} for h in (apart, alike)]
    found = rows("table-g", [run("ss", histogram=as_arrays[0]), run("ce", histogram=as_arrays[1])])
    assert found["⟨vit, vit⟩", "birds", "ce (1 seed)"] == ["0.00", "0.00"]
    assert float(found["⟨vit, vit⟩", "birds", "ss α⁻3 (1 seed)"][0]) > 4


def test_table_h_stands_class_balanced_losses_beside_their_bases(run):
    balanced = run("class-balanced", settings={"base": "focal", "beta": 0.9999, "gamma": 2.0}, config={}, auc=0.6)
    object.__setattr__(balanced.config.loss, "settings", {"base": "focal", "beta": 0.9999, "gamma": 2.0})
    found = rows("table-h", [balanced, run("focal", auc=0.7)])
    assert [labels[2].split(" (")[0] for labels in found] == [
        *("ce", "class-balanced ce", "focal", "class-balanced focal γ2 β0.9999", "ss", "class-balanced ss")
    ]
    assert not grids("table-h", [run("focal")])


def test_table_2_needs_dropout_or_a_start_from_tcp(scored, run, mcp):
    assert not grids("table2", [run("tcp", training="fine-tuned"), run("ss", training="fine-tuned"), mcp()])
    tuned = {"training": "fine-tuned", "dataset": "birds"}
    start = run("tcp", **tuned, auc=0.8)
    goes_on = run("ss", **tuned, auc=0.9, config={"start": start.record.run})
    dropout = scored("mc-dropout", None, dataset="birds", classifier="vit", oracle=None, training=None, run=None)
    found = rows("table2", [start, goes_on, dropout, mcp()])
    assert [labels[2].split(" α")[0] for labels in found] == [
        *("mcp", "mc-dropout", "trust-score", "tcp (1 seed)", "ss")
    ]
    assert found["⟨vit, vit⟩", "birds", "ss α⁻3, from tcp (1 seed)"][4] == "90.00"
    assert any("--start tcp" in line for line in commands("table2", [start, goes_on, dropout, mcp()]))
    clean = rows("table1", [start, goes_on, mcp()])
    assert clean["⟨vit, vit⟩", "birds", "ss"] == [GAP] * 7


def test_class_balanced_losses_of_several_bases_are_one_command(run):
    balanced = run("class-balanced", settings={"base": "ce", "beta": 0.9999})
    object.__setattr__(balanced.config.loss, "settings", {"base": "ce", "beta": 0.9999})
    runs = [balanced, *(run(loss, seed) for loss in ("ce", "focal", "ss") for seed in (0, 1, 2))]
    found = commands("table-h", runs)
    assert [command.partition(" --frozen ")[2] for command in found] == [
        "--loss class-balanced --seed 1,2",
        "--loss class-balanced --base focal,ss --seed 0,1,2",
    ]


def test_heads_on_another_models_features_need_those_of_the_variant_too(run, mcp):
    shifted = {"dataset": "birds-styled", "variant_of": "birds", "shows": "stylized"}
    own = [run(loss, seed) for loss in ("ce", "focal", "tcp", "ss") for seed in (0, 1, 2)]
    there = [run(loss, seed, **shifted) for loss in ("ce", "focal", "tcp", "ss") for seed in (0, 1, 2)]
    cross = [run(loss, seed, oracle="resnet") for loss in ("ce", "focal", "tcp", "ss") for seed in (0, 1, 2)]
    resnet = mcp("resnet")
    found = commands("table-e", [*own, *there, *cross, resnet], [own[0].index, resnet.index])
    extractions = [line for line in found if line.startswith("trustcache extract")]
    assert len(extractions) == 1
    assert "--classifier resnet" in extractions[0]
    assert extractions[0].endswith("--data birds-styled")
    assert found[-1] == "trustcache evaluate"


def test_an_extraction_is_as_large_as_what_is_there_of_its_data_set(tmp_path):
    thinned = replace(build_manifest("a-styled"), thinned_to=300)
    indices = [build_index(tmp_path / one.name, manifest=one) for one in (thinned, build_manifest("birds"))]
    paper = PaperIndex((), tuple(indices))
    assert "--subset" not in extraction(paper, "net", ("birds",), "--mc-dropout", "50").words
    for elsewhere in ("a-styled", "a-c"):
        words = extraction(paper, "net", (elsewhere,)).words
        assert words[words.index("--subset") + 1] == "300"
