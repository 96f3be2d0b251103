"""Figure 4b-c and Theorem 3.1's table: what a workspace's ss runs show together."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from trustcache.oracles.runs import Run
from trustcache.paper.artefacts import ARTEFACTS
from trustcache.paper.paper_index import PaperIndex


@pytest.fixture
def swept(scored, tmp_path):
    """A finished run of ss with a value of alpha-, and a log that ends at `loss`."""

    def make(alpha_neg, seed=0, loss=1.0, alpha_pos=1.0, features=4, **given):
        settings = {"alpha_pos": alpha_pos, "alpha_neg": alpha_neg}
        name = f"run-{alpha_pos}-{alpha_neg}-{seed}"
        one = scored("ss", seed, run=name, settings=settings, folder=tmp_path, **given)
        # A run's folder ends with its config's hash, and its weights are checked against that.
        run = Run(one.run.folder.with_name(one.run.config.name), one.run.config)
        one = replace(one, run=run)
        run.folder.mkdir(exist_ok=True)
        run.finish({"weight": torch.zeros(features)}, [{"epoch": 1, "loss": 9.0}, {"epoch": 2, "loss": loss}])
        return one

    return make


def of(key, scored):
    paper = PaperIndex(tuple(scored))
    return ARTEFACTS[key].tables(paper), ARTEFACTS[key].figures(paper)


def test_a_sweep_has_loss_tpr_and_tnr_for_each_value_over_seeds(swept):
    runs = [swept(a, seed, loss=a + seed, tpr=0.9, tnr=a / 10) for a in (1.0, 2.0, 6.0) for seed in (0, 1, 2)]
    ((grid,), figures) = of("figure4bc", runs)
    cells = {line.labels[0]: list(map(str, line.cells)) for line in grid.rows}
    assert cells["2"] == ["3.00 ± 1.00", "90.00 ± 0.00", "20.00 ± 0.00"]
    assert list(cells) == ["1", "2", "6"]
    assert not grid.commands
    assert all("α⁺ 1" in figure.title for figure in figures)


def test_the_figures_of_a_sweep_have_a_point_for_each_value(swept):
    (_, figures) = of("figure4bc", [swept(a) for a in (1.0, 2.0, 3.0, 4.0)])
    assert [[row["x"] for row in figure.chart.rows] for figure in figures] == [[1, 2, 3, 4]] * 3


def test_two_values_are_no_sweep_and_another_alpha_pos_is_another_one(swept):
    assert of("figure4bc", [swept(1.0), swept(2.0)]) == ((), ())
    runs = [swept(a, alpha_pos=p) for a in (1.0, 2.0, 3.0) for p in (1.0, 2.0)]
    assert len(of("figure4bc", runs)[0]) == 2


def test_runs_that_differ_in_more_than_alpha_and_seed_are_no_sweep(swept):
    runs = [swept(a, config={"val_fraction": a / 10}) for a in (1.0, 2.0, 3.0)]
    assert of("figure4bc", runs) == ((), ())


def test_a_sweep_of_one_seed_has_the_command_for_two_more(swept):
    ((grid,), _) = of("figure4bc", [swept(a) for a in (1.0, 2.0, 3.0)])
    (command,) = grid.commands
    assert command.endswith("--loss ss --alpha-pos 1 --alpha-neg 1,2,3 --seed 1,2")


def test_the_command_asks_for_the_seeds_that_a_value_of_alpha_lacks_not_for_further_ones(swept):
    ((grid,), _) = of("figure4bc", [swept(a, seed) for a in (1.0, 2.0, 3.0) for seed in range(3 if a < 3 else 1)])
    (command,) = grid.commands
    assert command.endswith("--alpha-neg 1,2,3 --seed 1,2")


def test_the_bound_of_a_head_is_theorem_3_1s(swept):
    one = swept(3.0, features=4, learnt_from=1000, loss=0.25)
    ((grid,), _) = of("theorem3.1", [one])
    (line,) = grid.rows
    log_f = 32 * 5 * math.log(2)
    most = 2 * math.sinh(3)
    bound = most * math.sqrt((log_f + math.log(2 / 0.05)) / (2 * 900))  # a tenth is the validation part
    assert [str(cell) for cell in line.cells] == [
        *("5", "111", "900", f"{most:.2f}", "0.25", f"{bound:.2f}"),
    ]


def test_a_vacuous_bound_is_called_vacuous(swept):
    ((grid,), _) = of("theorem3.1", [swept(3.0, features=2048, learnt_from=700)])
    assert str(grid.rows[0].cells[-1]).endswith("(vacuous)")
    assert "1 of 1 bounds are vacuous" in grid.notes[1]
    ((grid,), _) = of("theorem3.1", [swept(3.0, features=4, learnt_from=100_000)])
    assert len(grid.notes) == 1
