"""The comparison tables: what is averaged, how rows are ordered, what is called best, how a terminal shows it."""

from __future__ import annotations

import io
import math
import re
import statistics

import pytest
from rich.cells import cell_len
from rich.console import Console

from trustcache.losses import LOSSES
from trustcache.metrics.ranking import METRICS
from trustcache.protocols import PROTOCOLS
from trustcache.report.tables import (
    COLUMNS,
    RANKING,
    best_rows,
    build_tables,
    entry_name,
    heading,
    legend,
    method_label,
    print_tables,
)

BOLD = re.compile(r"\x1b\[1m *(.*?)\x1b\[0m")


def printed(records, width=100, terminal=True):
    """What a console of that width receives; bold is the only style kept, as ANSI codes."""
    file = io.StringIO()
    system = "standard" if terminal else None
    print_tables(records, Console(file=file, width=width, force_terminal=terminal, color_system=system))
    return file.getvalue()


def bare(text):
    return re.sub(r"\x1b\[\d*m", "", text)


def line_with(text, start):
    return next(line for line in text.splitlines() if line.startswith(start))


# --- averaging -------------------------------------------------------------------------------------------------


def test_seeds_of_one_method_become_one_row_with_mean_and_sample_standard_deviation(record):
    values = [0.731, 0.748, 0.722]
    (table,) = build_tables(record(seed=seed, auc=value) for seed, value in enumerate(values))
    (row,) = table.rows
    assert row.seeds == 3
    assert row.cells["auc"].mean == pytest.approx(statistics.mean(values), abs=1e-15)
    assert row.cells["auc"].std == pytest.approx(statistics.stdev(values), abs=1e-15)


def test_the_many_sets_of_a_family_come_after_the_others(record):
    names = ["cifar10-c/fog/3", "cifar10-test", "cifar10-c/fog/1", "cifar10-fourier"]
    tables = build_tables(record(dataset=name) for name in names)
    assert [table.dataset for table in tables] == ["cifar10-fourier", "cifar10-test", *sorted(names)[:2]]


def test_one_seed_is_shown_with_two_decimals_and_several_with_their_spread(record):
    (one,) = build_tables([record(auc=0.85957)])
    (two,) = build_tables([record(seed=0, auc=0.7352), record(seed=1, auc=0.7388)])
    assert str(one.rows[0].cells["auc"]) == "85.96"
    assert str(two.rows[0].cells["auc"]) == "73.7 ± 0.3"


@pytest.mark.parametrize("missing", [math.nan, math.inf])
def test_a_metric_that_one_seed_leaves_undefined_is_a_dash_and_the_others_keep_their_figures(record, missing):
    (table,) = build_tables([record(seed=0, auc=missing, tpr=0.9), record(seed=1, auc=0.7, tpr=0.9)])
    assert str(table.rows[0].cells["auc"]) == "–"
    assert str(table.rows[0].cells["tpr"]) == "90.0 ± 0.0"


def test_a_metric_that_one_seed_lacks_is_a_dash(record):
    lacking = record(seed=1)
    del lacking.metrics["aurc"]
    (table,) = build_tables([record(seed=0), lacking])
    assert str(table.rows[0].cells["aurc"]) == "–"


@pytest.mark.parametrize(
    "difference",
    [{"training": "fine-tuned"}, {"oracle": "vit"}, {"settings": {"gamma": 3.0}}, {"method": "focal"}],
)
def test_records_that_differ_in_more_than_the_seed_are_different_rows(record, difference):
    (table,) = build_tables([record(seed=0), record(**{"seed": 1, **difference})])
    assert [row.seeds for row in table.rows] == [1, 1]


@pytest.mark.parametrize("difference", [{"dataset": "mnist"}, {"classifier": "vit"}, {"protocol": "released"}])
def test_data_sets_classifiers_and_protocols_never_share_a_table(record, difference):
    assert len(build_tables([record(), record(**difference)])) == 2


def test_the_order_in_which_settings_were_given_does_not_matter(record):
    one, other = {"alpha_pos": 1.0, "alpha_neg": 3.0}, {"alpha_neg": 3.0, "alpha_pos": 1.0}
    (table,) = build_tables([record("ss", 0, settings=one), record("ss", 1, settings=other)])
    assert len(table.rows) == 1


def test_a_table_says_size_classifier_accuracy_and_protocol(record):
    (table,) = build_tables([record(n=50_000, accuracy=0.8264)])
    assert table.facts == "n 50,000 · classifier mlp, accuracy 82.64 % · protocol equations"


# --- order and names -------------------------------------------------------------------------------------------


def test_rows_run_from_mcp_over_frozen_to_fine_tuned_with_losses_in_the_papers_order(record):
    losses = ["zebra", "class-balanced", "ss", "tcp", "focal", "ce"]
    records = [record(loss, training=training) for training in ("fine-tuned", "frozen") for loss in losses]
    (table,) = build_tables([*records, record("mcp")])
    in_order = ["ce", "focal", "tcp", "ss", "class-balanced", "zebra"]
    expected = [(None, "mcp"), *(("frozen", loss) for loss in in_order), *(("fine-tuned", loss) for loss in in_order)]
    assert [(row.training, row.method) for row in table.rows] == expected


def test_rows_of_one_oracle_stand_together(record):
    (table,) = build_tables(record(loss, oracle=oracle) for loss in ("ce", "ss") for oracle in ("vit", "resnet"))
    rows = [(row.oracle, row.method) for row in table.rows]
    assert rows == [("resnet", "ce"), ("resnet", "ss"), ("vit", "ce"), ("vit", "ss")]


def test_settings_sort_as_numbers_and_alpha_pos_first(record):
    alphas = [(1.0, 10.0), (2.0, 1.0), (1.0, 3.0)]
    (table,) = build_tables(record("ss", settings={"alpha_pos": p, "alpha_neg": n}) for p, n in alphas)
    assert [method_label(row) for row in table.rows] == ["ss α⁺1 α⁻3", "ss α⁺1 α⁻10", "ss α⁺2 α⁻1"]


@pytest.mark.parametrize(
    ("method", "settings", "label"),
    [
        ("ce", {}, "ce"),
        ("ss", {"alpha_neg": 3.0, "alpha_pos": 1.0}, "ss α⁺1 α⁻3"),
        ("focal", {"gamma": 2.5}, "focal γ2.5"),
        ("class-balanced", {"beta": 0.9999, "base": "ce"}, "class-balanced ce β0.9999"),
        ("ce", {"head": "mlp", "depth": 2}, "ce mlp depth=2"),
    ],
)
def test_a_label_writes_settings_as_people_do(record, method, settings, label):
    assert method_label(record(method, settings=settings)) == label


def test_a_name_has_the_training_and_on_request_the_oracle(record):
    assert entry_name(record("ce", oracle="vit"), with_oracle=False) == "ce, frozen"
    assert entry_name(record("ce", oracle="vit"), with_oracle=True) == "ce, frozen, vit"
    assert entry_name(record("mcp"), with_oracle=True) == "mcp"


# --- what is best ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", RANKING)
def test_the_best_row_lies_in_the_good_direction_of_its_metric(record, key):
    (table,) = build_tables([record("ce", **{key: 0.1}), record("focal", **{key: 0.9})])
    assert best_rows(table, key) == {1 if METRICS[key].higher_is_better else 0}


def test_low_is_good_for_errors_let_through_and_for_risk_and_high_for_areas():
    arrows = {key: heading(key, "equations")[-1] for key in COLUMNS}
    assert {key for key, arrow in arrows.items() if arrow == "↓"} == {"fpr_at_95_tpr", "aurc"}
    assert {key for key, arrow in arrows.items() if arrow == "↑"} == set(COLUMNS) - {"fpr_at_95_tpr", "aurc"}


def test_the_released_codes_aupr_error_has_the_opposite_direction(record):
    low, high = ({"aupr_error": value, "protocol": "released"} for value in (0.1, 0.9))
    (table,) = build_tables([record("ce", **low), record("focal", **high)])
    assert best_rows(table, "aupr_error") == {0}
    assert heading("aupr_error", "released").endswith("↓")
    assert heading("auc", "released") == heading("auc", "equations")


def test_rows_that_the_table_shows_equal_are_both_best(record):
    (table,) = build_tables([record("ce", auc=0.88001), record("focal", auc=0.87999), record("tcp", auc=0.5)])
    assert best_rows(table, "auc") == {0, 1}
    (table,) = build_tables([record("ce", auc=0.8801), record("focal", auc=0.8799)])
    assert best_rows(table, "auc") == {0}


def test_with_spreads_shown_to_one_decimal_a_tie_is_one_at_that_decimal(record):
    several = [record("ce", seed, auc=0.8802) for seed in (0, 1)]
    (table,) = build_tables([*several, record("focal", auc=0.8798)])
    assert best_rows(table, "auc") == {0, 1}


def test_an_undefined_value_is_never_best_and_hides_no_other(record):
    records = [record("ce", auc=math.nan), record("focal", auc=0.6), record("tcp", auc=0.7)]
    (table,) = build_tables(records)
    assert best_rows(table, "auc") == {2}


def test_columns_that_hang_on_a_threshold_have_no_best_row(record):
    (table,) = build_tables([record("ce", tpr=0.9, tnr=0.1), record("focal", tpr=0.1, tnr=0.9)])
    assert best_rows(table, "tpr") == best_rows(table, "tnr") == frozenset()


def test_a_value_without_a_rival_is_not_called_best(record):
    (table,) = build_tables([record("ce", auc=0.9)])
    assert best_rows(table, "auc") == frozenset()


# --- the legend ------------------------------------------------------------------------------------------------


def test_the_legend_explains_every_column_and_all_names_in_use_but_no_others(record):
    tables = build_tables([record("mcp"), record("ss", settings={"alpha_pos": 1.0, "alpha_neg": 3.0})])
    groups = {title: [term for term, _ in entries] for title, entries in legend(tables).items()}
    assert groups == {
        "Columns": [METRICS[key].label for key in COLUMNS],
        "Methods": ["mcp", "ss"],
        "Settings": ["α⁺", "α⁻"],
        "Training": ["none", "frozen"],
        "Protocol": ["equations"],
    }


def test_where_no_row_has_settings_nothing_is_headed_settings(record):
    records = [record("mcp"), record("ce")]
    assert "Settings" not in legend(build_tables(records))
    assert "Training" in printed(records)
    assert "Settings" not in printed(records)


def test_every_loss_of_the_registry_is_explained(record):
    explained = dict(legend(build_tables(record(name) for name in LOSSES))["Methods"])
    assert explained == {name: loss.meaning for name, loss in LOSSES.items()}


# --- the terminal ----------------------------------------------------------------------------------------------


@pytest.fixture
def comparison(record):
    """Every kind of row, with labels and figures as wide as they get."""
    settings = {"ss": {"alpha_pos": 1.0, "alpha_neg": 3.0}, "class-balanced": {"beta": 0.9999, "base": "ce"}}
    trained = [
        record(loss, seed, training=training, settings=settings.get(loss, {}), auc=0.73 + seed / 100, tpr=1.0)
        for training in ("frozen", "fine-tuned")
        for loss in ("ce", "ss", "class-balanced")
        for seed in (0, 1)
    ]
    return [record("mcp", auc=0.8596, tpr=math.nan), *trained]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_line_of_a_terminal_table_is_wider_than_the_terminal(comparison, width):
    lines = bare(printed(comparison, width)).splitlines()
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("width", [80, 100])
def test_every_figure_is_whole_even_on_a_narrow_terminal(comparison, width):
    text = printed(comparison, width).replace(" ± ", "±")
    assert text.count("73.5±0.7") == 6
    assert text.count("100.0±0.0") == 6
    assert "85.96" in text


def test_a_long_label_wraps_between_words(comparison):
    text = printed(comparison, 80)
    assert line_with(text, " class-balanced ")
    assert line_with(text, "    ce β0.9999")


def test_decimal_points_of_a_column_stand_below_one_another(comparison):
    text = bare(printed(comparison, 140))
    single, several = line_with(text, " mcp"), line_with(text, " ce ")
    assert single.index("85.96") == several.index("73.5")


def test_groups_are_headed_by_training_oracle_and_seeds(comparison):
    headed = bare(printed(comparison)).splitlines()
    groups = [line.rstrip() for line in headed if line.startswith(("no training", "frozen", "fine-tuned"))]
    assert groups == ["no training", "frozen, oracle mlp, 2 seeds", "fine-tuned, oracle mlp, 2 seeds"]


@pytest.mark.parametrize(
    ("seeds_of_ce", "seeds_of_ss", "told"),
    [((0,), (0,), "1 seed"), ((0, 1), (0, 1), "2 seeds"), ((0,), (0, 1, 2), "1–3 seeds")],
)
def test_a_group_counts_its_seeds(record, seeds_of_ce, seeds_of_ss, told):
    records = [record("ce", seed) for seed in seeds_of_ce] + [record("ss", seed) for seed in seeds_of_ss]
    assert line_with(bare(printed(records)), "frozen").rstrip() == f"frozen, oracle mlp, {told}"


def test_bold_marks_the_best_value_of_each_ranking_column_and_nothing_else(record):
    (good, bad) = ({key: value if METRICS[key].higher_is_better else 1 - value for key in COLUMNS} for value in (1, 0))
    text = printed([record("ce", **good), record("focal", **bad)])
    rows = {name: BOLD.findall(line_with(text, f" {name}")) for name in ("ce", "focal")}
    assert rows == {"ce": ["100.00", "100.00", "100.00", "0.00", "0.00"], "focal": []}


def test_without_bold_a_star_marks_the_best(record):
    text = printed([record("ce", auc=0.9), record("focal", auc=0.8)], terminal=False)
    assert "\x1b" not in text
    assert "90.00*" in line_with(text, " ce")
    assert "80.00*" not in text


def test_a_pipe_gets_whole_lines_though_no_terminal_tells_a_width(comparison):
    text = printed(comparison, 80, terminal=False)
    row = line_with(text, " class-balanced ce β0.9999")
    assert row.count("±") == len(COLUMNS)
    assert row.rstrip(" *").endswith("50.0 ± 0.0")


def test_the_terminal_names_data_set_accuracy_and_protocol_and_explains_the_columns(comparison):
    text = " ".join(printed(comparison, 140, terminal=False).split())
    assert "digits n 1,000 · classifier mlp, accuracy 80.00 % · protocol equations" in text
    assert PROTOCOLS["equations"].meaning in text
    for key in COLUMNS:
        assert METRICS[key].meaning in text


def test_square_brackets_in_names_are_text_and_not_markup(record):
    assert "[bold]x[/bold]" in printed([record("[bold]x[/bold]", dataset="[red]")])
    assert "[red]" in printed([record(dataset="[red]")])


def test_nothing_to_show_prints_nothing():
    assert printed([]) == ""
