"""The comparison tables: what is averaged, how rows are ordered and named, what is called best, what is explained."""

from __future__ import annotations

import math
import statistics

import pytest

from trustcache.losses import LOSSES, loss_settings
from trustcache.metrics.ranking import METRICS
from trustcache.registry import Setting
from trustcache.report.comparison import COLUMNS, RANKING, compare_methods, heading, legend
from trustcache.report.names import entry_name, method_label

# --- averaging -------------------------------------------------------------------------------------------------


def test_seeds_of_one_method_become_one_row_with_mean_and_sample_standard_deviation(record):
    values = [0.731, 0.748, 0.722]
    (table,) = compare_methods(record(seed=seed, auc=value) for seed, value in enumerate(values))
    (row,) = table.rows
    assert row.seeds == 3
    assert row.cells["auc"].mean == pytest.approx(statistics.mean(values), abs=1e-15)
    assert row.cells["auc"].std == pytest.approx(statistics.stdev(values), abs=1e-15)


def test_the_many_sets_of_a_family_come_after_the_others(record):
    names = ["cifar10-c/fog/3", "cifar10-test", "cifar10-c/fog/1", "cifar10-fourier"]
    tables = compare_methods(record(dataset=name) for name in names)
    assert [table.dataset for table in tables] == ["cifar10-fourier", "cifar10-test", *sorted(names)[:2]]


def test_one_seed_is_shown_with_two_decimals_and_several_with_their_spread(record):
    (one,) = compare_methods([record(auc=0.85957)])
    (two,) = compare_methods([record(seed=0, auc=0.7352), record(seed=1, auc=0.7388)])
    assert str(one.rows[0].cell("auc")) == "85.96"
    assert str(two.rows[0].cells["auc"]) == "73.70 ± 0.25"


@pytest.mark.parametrize("missing", [math.nan, math.inf])
def test_a_metric_that_one_seed_leaves_undefined_is_a_dash_and_the_others_keep_their_figures(record, missing):
    (table,) = compare_methods([record(seed=0, auc=missing, tpr=0.9), record(seed=1, auc=0.7, tpr=0.9)])
    assert str(table.rows[0].cells["auc"]) == "–"
    assert str(table.rows[0].cells["tpr"]) == "90.00 ± 0.00"


def test_a_metric_that_one_seed_lacks_is_a_dash(record):
    lacking = record(seed=1)
    del lacking.metrics["aurc"]
    (table,) = compare_methods([record(seed=0), lacking])
    assert str(table.rows[0].cell("aurc")) == "–"


@pytest.mark.parametrize(
    "difference",
    [{"training": "fine-tuned"}, {"oracle": "vit"}, {"settings": {"gamma": 3.0}}, {"method": "focal"}],
)
def test_records_that_differ_in_more_than_the_seed_are_different_rows(record, difference):
    (table,) = compare_methods([record(seed=0), record(**{"seed": 1, **difference})])
    assert [row.seeds for row in table.rows] == [1, 1]


@pytest.mark.parametrize("difference", [{"dataset": "mnist"}, {"classifier": "vit"}, {"protocol": "released"}])
def test_data_sets_classifiers_and_protocols_never_share_a_table(record, difference):
    assert len(compare_methods([record(), record(**difference)])) == 2


def test_the_order_in_which_settings_were_given_does_not_matter(record):
    one, other = {"alpha_pos": 1.0, "alpha_neg": 3.0}, {"alpha_neg": 3.0, "alpha_pos": 1.0}
    (table,) = compare_methods([record("ss", 0, settings=one), record("ss", 1, settings=other)])
    assert len(table.rows) == 1


def test_a_table_says_size_classifier_accuracy_and_protocol(record):
    (table,) = compare_methods([record(n=50_000, accuracy=0.8264)])
    assert table.facts == "n 50,000 · classifier mlp, accuracy 82.64 % · protocol equations"


# --- order and names -------------------------------------------------------------------------------------------


def test_rows_run_from_mcp_over_frozen_to_fine_tuned_with_losses_in_the_papers_order(record):
    losses = ["zebra", "class-balanced", "ss", "tcp", "focal", "ce"]
    records = [record(loss, training=training) for training in ("fine-tuned", "frozen") for loss in losses]
    (table,) = compare_methods([*records, record("mcp")])
    in_order = ["ce", "focal", "tcp", "ss", "class-balanced", "zebra"]
    expected = [(None, "mcp"), *(("frozen", loss) for loss in in_order), *(("fine-tuned", loss) for loss in in_order)]
    assert [(row.record.training, row.record.method) for row in table.rows] == expected


def test_rows_of_one_oracle_stand_together(record):
    (table,) = compare_methods(record(loss, oracle=oracle) for loss in ("ce", "ss") for oracle in ("vit", "resnet"))
    rows = [(row.record.oracle, row.record.method) for row in table.rows]
    assert rows == [("resnet", "ce"), ("resnet", "ss"), ("vit", "ce"), ("vit", "ss")]


def test_settings_sort_as_numbers_and_alpha_pos_first(record):
    alphas = [(1.0, 10.0), (2.0, 1.0), (1.0, 3.0)]
    (table,) = compare_methods(record("ss", settings={"alpha_pos": p, "alpha_neg": n}) for p, n in alphas)
    assert [method_label(row.record) for row in table.rows] == ["ss α⁻3", "ss α⁻10", "ss α⁺2 α⁻1"]


@pytest.mark.parametrize(
    ("method", "settings", "label"),
    [
        ("ce", {}, "ce"),
        ("ss", {"alpha_neg": 3.0, "alpha_pos": 1.0}, "ss α⁻3"),
        ("focal", {"gamma": 2.5}, "focal γ2.5"),
        ("class-balanced", {"beta": 0.9999, "base": "ce"}, "class-balanced β0.9999"),
        ("class-balanced", {"beta": 0.9999, "base": "focal", "gamma": 2.0}, "class-balanced focal γ2 β0.9999"),
        ("ss", {"alpha_neg": 3.0, "alpha_pos": 2.0}, "ss α⁺2 α⁻3"),
        ("ce", {"head": "strong, 5 members"}, "strong, 5 members"),
        ("ss", {"head": "strong", "alpha_neg": 3.0, "alpha_pos": 1.0}, "ss α⁻3 strong"),
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
    (table,) = compare_methods([record("ce", **{key: 0.1}), record("focal", **{key: 0.9})])
    assert table.best(key) == {1 if METRICS[key].higher_is_better else 0}


def test_low_is_good_for_errors_let_through_and_for_risk_and_high_for_areas():
    arrows = {key: heading(key, "equations")[-1] for key in COLUMNS}
    assert {key for key, arrow in arrows.items() if arrow == "↓"} == {"fpr_at_95_tpr", "aurc"}
    assert {key for key, arrow in arrows.items() if arrow == "↑"} == set(COLUMNS) - {"fpr_at_95_tpr", "aurc"}


def test_the_released_codes_aupr_error_has_the_opposite_direction(record):
    low, high = ({"aupr_error": value, "protocol": "released"} for value in (0.1, 0.9))
    (table,) = compare_methods([record("ce", **low), record("focal", **high)])
    assert table.best("aupr_error") == {0}
    assert heading("aupr_error", "released").endswith("↓")
    assert heading("auc", "released") == heading("auc", "equations")


def test_rows_that_the_table_shows_equal_are_both_best(record):
    (table,) = compare_methods([record("ce", auc=0.88001), record("focal", auc=0.87999), record("tcp", auc=0.5)])
    assert table.best("auc") == {0, 1}
    (table,) = compare_methods([record("ce", auc=0.8801), record("focal", auc=0.8799)])
    assert table.best("auc") == {0}


def test_a_mean_over_seeds_ties_with_one_seed_only_where_both_are_shown_alike(record):
    several = [record("ce", seed, auc=0.8802) for seed in (0, 1)]
    (table,) = compare_methods([*several, record("focal", auc=0.8798), record("tcp", auc=0.88021)])
    assert table.best("auc") == {0, 2}


def test_an_undefined_value_is_never_best_and_hides_no_other(record):
    records = [record("ce", auc=math.nan), record("focal", auc=0.6), record("tcp", auc=0.7)]
    (table,) = compare_methods(records)
    assert table.best("auc") == {2}


def test_columns_that_hang_on_a_threshold_have_no_best_row(record):
    (table,) = compare_methods([record("ce", tpr=0.9, tnr=0.1), record("focal", tpr=0.1, tnr=0.9)])
    assert table.best("tpr") == table.best("tnr") == frozenset()


def test_a_value_without_a_rival_is_not_called_best(record):
    (table,) = compare_methods([record("ce", auc=0.9)])
    assert table.best("auc") == frozenset()


# --- the legend ------------------------------------------------------------------------------------------------


def test_the_legend_explains_every_column_and_all_names_in_use_but_no_others(record):
    tables = compare_methods([record("mcp"), record("ss", settings={"alpha_pos": 1.0, "alpha_neg": 3.0})])
    groups = {title: [term for term, _ in entries] for title, entries in legend(tables).items()}
    assert groups == {
        "Columns": [METRICS[key].label for key in COLUMNS],
        "Methods": ["mcp", "ss"],
        "Settings": ["α⁺", "α⁻"],
        "Training": ["none", "frozen"],
        "Protocol": ["equations"],
    }


def test_where_no_row_has_settings_nothing_is_headed_settings(record):
    groups = legend(compare_methods([record("mcp"), record("ce")]))
    assert "Settings" not in groups
    assert "Training" in groups


def test_every_loss_of_the_registry_is_explained(record):
    explained = dict(legend(compare_methods(record(name) for name in LOSSES))["Methods"])
    assert explained == {name: loss.meaning for name, loss in LOSSES.items()}


def test_tables_of_one_data_set_are_told_apart_by_their_titles(record):
    def titles(*records):
        return [one.table().title for one in compare_methods(records)]

    assert titles(record("ce"), record("ce", dataset="birds", protocol="released")) == ["birds", "digits"]
    assert titles(record("ce"), record("ce", protocol="released")) == [
        "digits · protocol equations",
        "digits · protocol released",
    ]
    assert titles(record("ce"), record("ce", classifier="vit")) == ["digits · mlp", "digits · vit"]


# --- settings that the report has never heard of -----------------------------------------------------------------


@pytest.mark.parametrize(("symbol", "label"), [("", "ce tau=0.5"), ("τ", "ce τ0.5")])
def test_a_new_loss_setting_is_written_and_explained_without_being_known_here(record, monkeypatch, symbol, label):
    known = loss_settings() | {"tau": Setting(1.0, "how warm it is", symbol)}
    monkeypatch.setattr("trustcache.report.names.loss_settings", lambda: known)
    given = record("ce", settings={"tau": 0.5})
    assert method_label(given) == label
    assert "how warm it is" in dict(legend(compare_methods([given]))["Settings"]).values()


def test_a_loss_of_the_users_own_stands_under_its_own_name(record):
    given = [record("gone_module:loss", settings={"sharpness": 2.0}), record("ce")]
    (table,) = compare_methods(given)
    assert [method_label(row.record) for row in table.rows] == ["ce", "gone_module:loss sharpness=2"]
    assert [method for method, _ in legend([table])["Methods"]] == ["ce"]
