"""The paper's figures beside ours: the right ones where all is defined alike, none where anything is not."""

from __future__ import annotations

import csv
import dataclasses
import math
import re
from pathlib import Path

import pytest

from tests.index_builder import PLAIN
from trustcache.models.timm_models import PAPER_MODELS
from trustcache.oracles.presets.preset import read_preset
from trustcache.paper.artefacts import ARTEFACTS, paper_section
from trustcache.paper.paper_index import PaperIndex
from trustcache.paper.published import DEFINITIONS, figures
from trustcache.paper.published_tables import published_tables
from trustcache.protocols import Optimiser
from trustcache.report.table import Cell

FILE = Path(__file__).parents[2] / "trustcache" / "paper" / "published.csv"


def grids(scored, key="table1", indices=()):
    return ARTEFACTS[key].tables(PaperIndex(scored, indices))


def published(scored, key="table1", indices=()):
    return [line for grid in grids(scored, key, indices) for line in grid.rows if line.kind == "published"]


def notes(scored, key="table1"):
    return " ".join(note for grid in grids(scored, key) for note in grid.notes)


def test_the_papers_figures_stand_below_a_run_of_the_same_definitions(papers):
    (line,) = published([papers("ss", seed) for seed in (0, 1, 2)])
    assert line.labels == ("⟨vit-released, vit-released⟩", "imagenet-val", "  published")
    assert [str(cell) for cell in line.cells] == [
        *("83.90", "80.48 ± 0.66", "10.26 ± 0.03", "93.01 ± 0.10", "73.68 ± 0.27", "87.52 ± 0.95", "38.27 ± 2.48")
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dataset": "other-val"}, "of imagenet-val, not other-val"),
        ({"n": 49_999}, "of 50,000 images, not 49,999"),
        ({"protocol": "equations"}, "under protocol released, not equations"),
        ({"model": "resnet18"}, "of vit and resnet, not vit-released"),
        ({"oracle": "mine", "oracle_model": "resnet18"}, "with oracles vit and resnet, not mine"),
        ({"preprocessing": PLAIN}, "sees images as the released code shows them"),
        ({"training": "frozen"}, "fine-tuned, not frozen"),
        ({"learnt_from": 5000}, "learnt from 1,281,167 images of imagenet-train, not 5,000 of imagenet-train"),
        ({"config": {"data": "imagenet-half"}}, "not 1,281,167 of imagenet-half"),
        ({"config": {"val_fraction": 0.1}}, "tuned as preset paper-imagenet-vit says"),
        ({"config": {"optimiser": Optimiser("sgd", 2, 40, 1e-5, 0.05, 100, True)}}, "tuned as preset"),
        ({"settings": {"alpha_pos": 1.0, "alpha_neg": 5.0}}, "with alpha_neg 3.0, not 5.0"),
        ({"settings": {"alpha_pos": 2.0, "alpha_neg": 3.0}}, "with alpha_pos 1.0, not 2.0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_single_mismatch_of_definitions_hides_them_and_is_named(papers, change, said):
    runs = [papers("ss", seed, **change) for seed in (0, 1, 2)]
    assert not published(runs)
    assert "beside none of these" in notes(runs)
    assert said in notes(runs)


def test_that_ours_are_heads_is_the_first_thing_told(papers):
    ours = papers("ss", 0, training="frozen", dataset="birds", protocol="equations", n=10)
    assert "none of these: they are fine-tuned, not frozen" in notes([ours])


def test_weights_of_ones_own_hide_them_even_where_the_architecture_is_the_papers(papers):
    one = papers("ss", weights="mine.safetensors")
    assert not published([one], indices=[one.index])
    assert published([papers("ss")], indices=[papers("ss").index])


def test_an_oracle_whose_weights_no_cache_tells_hides_them(papers):
    resnet = PAPER_MODELS["resnet"]
    settings = {"alpha_pos": 2.0, "alpha_neg": 5.0}
    optimiser = {"optimiser": read_preset("paper-imagenet-resnet").fine_tuning}
    one = papers("ss", oracle="resnet", oracle_model=resnet, settings=settings, config=optimiser)
    assert not published([one])
    assert "timm's weights, which no cache says" in notes([one])
    of_oracle = papers("mcp", classifier="resnet", model=resnet, oracle=None, training=None).index
    assert published([one], indices=[of_oracle])
    made_from = dataclasses.replace(of_oracle.made_from, weights="mine.safetensors")
    assert not published([one], indices=[dataclasses.replace(of_oracle, made_from=made_from)])


def test_an_oracle_that_sees_images_otherwise_hides_them(papers):
    backbone = dataclasses.replace(papers("ss").config.backbone, preprocessing=PLAIN)
    one = papers("ss", config={"backbone": backbone})
    assert not published([one])
    assert "an oracle vit-released that sees images" in notes([one])


def test_arguments_to_the_model_hide_them(papers):
    one = papers("ss")
    one.index.identity.arguments["img_size"] = 224
    assert not published([one])


def test_a_run_that_went_on_from_another_hides_them(papers):
    start = papers("tcp", run="the-start")
    assert not published([start, papers("ss", config={"start": "the-start"})][1:])


def test_where_some_rows_agree_and_others_do_not_the_report_says_so(papers):
    runs = [papers("ss"), papers("tcp", n=400)]
    assert len(published(runs)) == 1
    assert re.search("those rows only .* 50,000 images, not 400", notes(runs))


def test_where_all_agree_nothing_is_said_but_what_is_known_to_differ_in_training(papers):
    assert notes([papers("ss")]).count("ublished") == 1
    assert "ViT oracle with dropout 0.1" in notes([papers("ss")])


def test_the_resnet_oracle_has_settings_of_its_own(papers):
    optimiser = read_preset("paper-imagenet-resnet").fine_tuning
    changed = {"classifier": "resnet", "oracle": "resnet", "model": PAPER_MODELS["resnet"]}
    theirs = papers("ss", **changed, settings={"alpha_pos": 2.0, "alpha_neg": 5.0}, config={"optimiser": optimiser})
    ours = papers("ss", **changed, settings={"alpha_pos": 1.0, "alpha_neg": 3.0}, config={"optimiser": optimiser})
    (line,) = published([theirs])
    assert line.cells[0] == Cell(0.6872)
    assert not published([ours])


@pytest.mark.parametrize(
    ("dataset", "shows", "there"),
    [
        ("imagenet-c/defocus_blur/5", "defocus_blur/5", True),
        ("imagenet-c-made/defocus_blur/5", "defocus_blur/5", False),
        ("imagenet-stylized", "stylized", True),
        ("imagenet-fourier", "stylized", False),
        ("imagenet-recolor", "adversarial", True),
        ("imagenet-pgd/linf", "adversarial", False),
    ],
)
def test_stand_ins_for_the_papers_variants_have_no_published_figures(papers, dataset, shows, there):
    one = papers("ss", dataset=dataset, variant_of="imagenet-val", shows=shows)
    assert bool(published([one], "table3")) == there


# --- Table 2 ---------------------------------------------------------------------------------------------------


def small(scored, method, **given):
    trained = method in ("tcp", "ss")
    fields = {
        "dataset": "cifar10-test",
        "n": 10_000,
        "classifier": "vgg",
        "oracle": "vgg" if trained else None,
        "model": "cifar-vgg16",
        "training": "fine-tuned" if trained else None,
        "protocol": "equations",
        "learnt_from": 50_000,
        "run": f"run-{method}" if trained else None,
        "settings": {"alpha_pos": 1.0, "alpha_neg": 1.0} if method == "ss" else {},
    }
    optimiser = Optimiser("adam", 5, 128, 9e-7)
    config = {"data": "cifar10-train", "optimiser": optimiser, "start": "run-tcp" if method == "ss" else ""}
    return scored(method, **(fields | {"config": config} | given))


def test_table_2_shows_the_papers_confidence_without_the_metric_that_is_defined_otherwise(scored):
    rows = [small(scored, method) for method in ("mcp", "tcp", "ss")]
    (line,) = published(rows, "table2")
    assert line.labels[2] == "  published"
    assert [str(cell) for cell in line.cells[:5]] == ["92.19", "–", "45.36", "99.19", "91.53"]
    assert re.search("Published –: .*FPR@95 .* exact", notes(rows, "table2"))


def test_table_2s_oracles_have_layers_that_ours_have_not(scored):
    rows = [small(scored, method) for method in ("tcp", "ss")]
    assert not published(rows, "table2")
    assert re.search("beside none of these: .*five layers", notes(rows, "table2"))


@pytest.mark.parametrize("score", ["mc-dropout", "trust-score"])
def test_scores_of_another_definition_than_ours_have_no_published_figures(scored, score):
    rows = [small(scored, method) for method in (score, "tcp", "ss")]
    assert not published(rows, "table2")


def test_the_convnet_of_mnist_has_no_published_figures_on_cifar10(scored):
    rows = [small(scored, method, model="mnist-convnet") for method in ("mcp", "tcp", "ss")]
    assert not published(rows, "table2")
    assert "of cifar-vgg16, not mnist-convnet" in notes(rows, "table2")


def test_half_a_test_set_hides_table_2(scored):
    assert not published([small(scored, method, n=5000) for method in ("mcp", "tcp", "ss")], "table2")


# --- whole tables ---


@pytest.mark.parametrize(("key", "count"), [("table1", 16), ("table3", 12), ("table2", 12)])
def test_the_published_table_stands_whole_below_ours_of_any_data(scored, key, count):
    (table,) = published_tables(key)
    assert len(table.rows) == count
    assert {row.kind for row in table.rows} == {"published"}
    assert not any(cell.missing or cell.best for row in table.rows for cell in row.cells)
    made = {exhibit.key: exhibit for exhibit in paper_section([scored("ce")]).exhibits}
    assert [one.title for one in made["table1"].tables][1:] == ["as published · protocol released"]
    assert made["table1"].state() == "1 of 4 rows"
    assert not made["table2"].tables


def test_the_published_table_has_the_files_figures():
    row = published_tables("table1")[0].rows[3]
    assert row.labels == ("⟨vit, vit⟩", "imagenet-val", "ss")
    assert [str(cell) for cell in row.cells[:2]] == ["83.90", "80.48 ± 0.66"]
    assert not published_tables("table-g")


# --- the file --------------------------------------------------------------------------------------------------


def test_every_published_figure_is_read_as_a_fraction():
    lines = list(csv.DictReader(FILE.read_text().splitlines()))
    assert len(figures()) == len(lines) == 269
    for row in lines:
        value = figures()[tuple(row[name] for name in ("table", "dataset", "oracle", "classifier", "method", "metric"))]
        assert math.isclose(100 * value.mean, float(row["mean_percent"]))
        assert (value.std is None) == (row["std_percent"] == "")


def test_the_definitions_name_tables_data_and_models_that_the_file_has():
    keys = set(figures())
    for table, definition in DEFINITIONS.items():
        for data in definition.data.values():
            assert any(key[:2] == (table, data) for key in keys)
        assert {key[2] for key in keys if key[0] == table} <= set(definition.models.values())
    assert {key[0] for key in keys} == set(DEFINITIONS)


def test_a_definition_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFINITIONS["table1"].samples = 1
