"""The warning after a data set on which the classifier is no better than chance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import Result

from tests.refusals import tells
from trustcache.cache import open_cache
from trustcache.extract.chance import is_chance

Cli = Callable[..., Result]


@pytest.mark.parametrize(
    ("right", "images", "classes", "chance"),
    [
        (103, 1000, 10, True),
        (20, 1000, 10, True),
        (239, 1000, 10, False),
        (0, 200, 1000, True),
        (2, 200, 1000, False),
        (0, 19, 1000, False),
        (50, 100, 2, True),
        (61, 100, 2, False),
    ],
)
def test_chance_is_what_guesses_reach_within_two_standard_deviations(
    right: int, images: int, classes: int, chance: bool
) -> None:
    assert is_chance(right, images, classes) == chance


def test_images_prepared_otherwise_than_in_training_are_warned_of(
    in_tmp_path: Path, extract_digits: Cli, run_cli: Cli
) -> None:
    wrong = [word for channel in ("mean", "std") for word in ("--preprocess", f"{channel}=9,9,9")]
    warned = extract_digits(*wrong, "--subset", "100", name="mine")
    assert warned.exit_code == 0
    assert "warning" not in warned.stdout
    facts = ("mine", "digits-test", "10 classes", "--preprocess", "--classes", "trustcache cache rm mine/digits-test\n")
    assert tells(warned.stderr, *facts)
    assert "warning" not in extract_digits("--subset", "100", name="good").stderr
    assert "warning" not in extract_digits(*wrong, "--subset", "100", name="bad", data="digits-c/contrast/5").stderr


def test_what_is_the_model_s_default_beside_weights_of_another_tool_is_told(
    in_tmp_path: Path, extract_digits: Cli, classifier_file: Path
) -> None:
    save_file(load_file(classifier_file), "plain.safetensors")
    theirs: dict[str, Any] = {"weights": Path("plain.safetensors"), "name": "plain"}
    printed = extract_digits("--subset", 20, **theirs).stdout
    assert tells(printed, "mean=", "crop_pct, mean, std", "default of cifar-resnet8", "not known", "plain.safetensors")
    assert open_cache("trustcache-workspace/cache/plain/digits-test").index.made_from.assumed == (
        "crop_pct",
        "mean",
        "std",
    )
    given = ["crop_pct=1", "mean=0.485,0.456,0.406", "std=0.229,0.224,0.225"]
    full = extract_digits("--subset", 20, *(word for entry in given for word in ("--preprocess", entry)), **theirs)
    assert full.exit_code == 0, full.output
    assert "default" not in full.stdout
