"""A classifier that is right more often on a training cache than on clean test data has probably learnt from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from tests.refusals import tells
from trustcache.cache.trained_on import trained_on
from trustcache.cache.workspace import Workspace
from trustcache.report.collect import collect

RunCli = Callable[..., Result]


@pytest.fixture
def imported(run_cli: RunCli) -> Callable[..., Workspace]:
    """Import caches of 600 rows, each right on a number of them, by their names; those that end in -train to learn."""

    def make(**right: int) -> Workspace:
        labels = np.arange(600) % 3
        for name, count in right.items():
            logits = np.eye(3)[np.where(np.arange(600) < count, labels, (labels + 1) % 3)]
            np.save("z.npy", 2 * logits + np.random.default_rng(count).random((600, 3)))
            np.save("y.npy", labels)
            role = ("--role", "train") if name.endswith("train") else ()
            files = ("--logits", "z.npy", "--labels", "y.npy", "--features", "z.npy")
            assert run_cli("import", *files, "--as", "net", "--data", name, *role).exit_code == 0
        return Workspace(Path("trustcache-workspace"))

    return make


def test_report_and_train_tell_of_it(imported: Callable[..., Workspace], run_cli: RunCli) -> None:
    workspace = imported(birds_train=456, birds=390, night=200)
    facts = "net", "76.0 % of birds_train", "65.0 % of birds", "which-oracle.md"
    (note,) = [one for one in collect(workspace)[1] if "birds_train" in one]
    assert tells(note, *facts)
    trained = run_cli("train", "--frozen", "--loss", "ce", "--epochs", 1)
    assert trained.exit_code == 0, trained.stderr
    assert tells(trained.stderr, "note: ", *facts)


@pytest.mark.parametrize("right", [{"birds": 430}, {"birds": 390, "night": 470}, {}])
def test_it_is_not_claimed_where_new_images_fare_as_well(
    imported: Callable[..., Workspace], right: dict[str, int]
) -> None:
    workspace = imported(birds_train=456, **right)
    assert [trained_on(index, workspace.caches()) for index in workspace.caches()] == [""] * (1 + len(right))
