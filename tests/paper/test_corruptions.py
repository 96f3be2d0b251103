"""Table A1: a row a corrupted set, and a mean that says over how many it goes."""

from __future__ import annotations

import pytest

from trustcache.paper.artefacts import ARTEFACTS
from trustcache.paper.corruptions import CONDITIONS
from trustcache.paper.paper_index import PaperIndex
from trustcache.report.table import GAP


@pytest.fixture
def foggy(scored):
    """A run on one corrupted variant of cifar10-test."""

    def make(condition, method="ce", seed=0, family="cifar10-c-made", **given):
        fields = {"dataset": f"{family}/{condition}", "variant_of": "cifar10-test", "shows": condition}
        return scored(method, seed, **({"run": f"{method}-{seed}"} | fields | given))

    return make


def grid(scored):
    (found,) = ARTEFACTS["table-a1"].tables(PaperIndex(tuple(scored)))
    return found


def means(scored):
    return {line.labels: list(map(str, line.cells)) for line in grid(scored).rows if line.kind == "mean"}


def test_there_are_fifteen_corruptions_of_five_severities():
    assert len(CONDITIONS) == 75
    assert not [name for name in CONDITIONS if name.startswith(("speckle", "gaussian_blur", "spatter", "saturate"))]


def test_the_mean_goes_over_the_sets_seed_by_seed_and_says_over_how_many(foggy):
    scores = {"fog/1": (0.6, 0.8), "snow/3": (0.4, 0.4)}
    runs = [foggy(name, seed=seed, auc=auc) for name, aucs in scores.items() for seed, auc in enumerate(aucs)]
    cells = means(runs)["mean of 2 of 75 sets", "", "ce (2 seeds)"]
    assert cells[4] == "55.00 ± 7.07"  # of 50 and 60


def test_a_mean_over_all_sets_says_so(foggy):
    runs = [foggy(condition) for condition in CONDITIONS]
    assert ("mean of all 75 sets", "", "ce (1 seed)") in means(runs)
    assert not [note for note in grid(runs).notes if "75 sets" in note]


def test_only_seeds_that_have_scored_every_set_enter_the_mean(foggy):
    runs = [foggy("fog/1", seed=0, auc=0.6), foggy("fog/1", seed=1, auc=0.8), foggy("snow/3", seed=0, auc=0.4)]
    assert means(runs)["mean of 2 of 75 sets", "", "ce (1 seed)"][4] == "50.00"


def test_without_a_common_seed_the_mean_is_a_gap(foggy):
    runs = [foggy("fog/1", seed=0), foggy("snow/3", seed=1)]
    assert means(runs)["mean of 2 of 75 sets", "", "ce"] == [GAP] * 7


def test_sets_that_are_not_here_are_named_with_one_command_for_all(foggy):
    found = grid([foggy("fog/1")])
    note = found.notes[-1]
    assert note.startswith("74 of 75 sets")
    assert "gaussian_noise, " in note
    assert "fog 2 3 4 5" in note
    assert found.commands[0].endswith("--data cifar10-c-made")


def test_the_four_extra_corruptions_do_not_count(foggy):
    runs = [foggy("fog/1", auc=0.6), foggy("spatter/1", auc=0.1)]
    assert means(runs)["mean of 1 of 75 sets", "", "ce (1 seed)"][4] == "60.00"


def test_sets_from_files_and_sets_made_here_are_never_averaged(foggy):
    runs = [foggy("fog/1", auc=0.6), foggy("fog/1", family="cifar10-c", run="other", auc=0.8)]
    grids = ARTEFACTS["table-a1"].tables(PaperIndex(runs))
    assert [str(found.rows[0].cells[4]) for found in grids] == ["60.00", "80.00"]


def test_a_smaller_family_is_whole_when_all_of_its_own_are_there(scored):
    names = ("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "contrast")
    sets = [f"{name}/{severity}" for name in names for severity in range(1, 6)]
    runs = [scored(dataset=f"digits-c/{name}", variant_of="digits-test", shows=name) for name in sets]
    assert ("mean of all 25 sets", "", "ce (1 seed)") in means(runs)
