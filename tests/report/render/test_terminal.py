"""Tables on a terminal: their width, what is bold, how figures stand, and what a pipe gets."""

from __future__ import annotations

import io
import math
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from trustcache.metrics.ranking import METRICS
from trustcache.report.comparison import COLUMNS, READING
from trustcache.report.contents import Contents
from trustcache.report.render.terminal import print_report

BOLD = re.compile(r"\x1b\[1m *(.*?)\x1b\[0m")


def printed(scored, width=100, terminal=True):
    """What a console of that width receives; bold is the only style kept, as ANSI codes."""
    file = io.StringIO()
    system = "standard" if terminal else None
    console = Console(file=file, width=width, force_terminal=terminal, color_system=system)
    print_report(Contents(scored), console)
    return file.getvalue()


def bare(text):
    return re.sub(r"\x1b\[\d*m", "", text)


def line_with(text, start):
    return next(line for line in text.splitlines() if line.startswith(start))


# --- comparisons ----------------------------------------------------------------------------------------------


@pytest.fixture
def comparison(scored):
    """Every kind of row, with labels and figures as wide as they get."""
    settings = {"ss": {"alpha_pos": 1.0, "alpha_neg": 3.0}, "class-balanced": {"beta": 0.9999, "base": "focal"}}
    trained = [
        scored(loss, seed, training=training, settings=settings.get(loss, {}), auc=0.73 + seed / 100, tpr=1.0)
        for training in ("frozen", "fine-tuned")
        for loss in ("ce", "ss", "class-balanced")
        for seed in (0, 1)
    ]
    return [scored("mcp", auc=0.8596, tpr=math.nan), *trained]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_line_of_a_terminal_table_is_wider_than_the_terminal(comparison, width):
    lines = bare(printed(comparison, width)).splitlines()
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("width", [80, 100])
def test_every_figure_is_whole_even_on_a_narrow_terminal(comparison, width):
    text = printed(comparison, width).replace(" ± ", "±")
    assert text.count("73.5±0.7") == 6
    assert text.count("100.0±0.0") == 6
    assert "86.0" in text or "85.96" in text


def test_a_long_label_wraps_between_words(comparison):
    text = printed(comparison, 80)
    assert line_with(text, " class-balanced ")
    assert line_with(text, " focal β0.9999")


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
def test_a_group_counts_its_seeds(scored, seeds_of_ce, seeds_of_ss, told):
    records = [scored("ce", seed) for seed in seeds_of_ce] + [scored("ss", seed) for seed in seeds_of_ss]
    assert line_with(bare(printed(records)), "frozen").rstrip() == f"frozen, oracle mlp, {told}"


def test_bold_marks_the_best_value_of_each_ranking_column_and_nothing_else(scored):
    (good, bad) = ({key: value if METRICS[key].higher_is_better else 1 - value for key in COLUMNS} for value in (1, 0))
    text = printed([scored("ce", **good), scored("focal", **bad)])
    rows = {name: BOLD.findall(line_with(text, f" {name}")) for name in ("ce", "focal")}
    assert rows == {"ce": ["100.00", "100.00", "100.00", "0.00", "0.00"], "focal": []}


def test_without_bold_a_star_marks_the_best(scored):
    text = printed([scored("ce", auc=0.9), scored("focal", auc=0.8)], terminal=False)
    assert "\x1b" not in text
    assert "90.00*" in line_with(text, " ce")
    assert "80.00*" not in text


def test_a_pipe_gets_whole_lines_though_no_terminal_tells_a_width(comparison):
    text = printed(comparison, 80, terminal=False)
    row = line_with(text, " class-balanced focal β0.9999")
    assert row.count("±") == len(COLUMNS)
    assert row.rstrip(" *").endswith("50.00±0.00")


def test_the_terminal_names_data_set_accuracy_and_protocol_and_says_how_to_read_the_columns(comparison):
    text = " ".join(printed(comparison, 140, terminal=False).split())
    assert "digits n 1,000 · classifier mlp, accuracy 80.00 % · protocol equations" in text
    assert text.endswith(f"{READING} The best of each ranking column is starred.")


def test_square_brackets_in_names_are_text_and_not_markup(scored):
    assert "[bold]x[/bold]" in printed([scored("[bold]x[/bold]", dataset="[red]")])
    assert "[red]" in printed([scored(dataset="[red]")])


def test_nothing_to_show_prints_nothing():
    assert printed([]) == ""
