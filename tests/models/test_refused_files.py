"""The table of refused files in docs/classifiers.md: each is made, here or elsewhere, and named with its remedy."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import timm
import torch

from tests.documented_tables import DocumentedTable
from tests.refusals import refusal_of, tells
from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import load_classifier

MODELS = "tests/models"
TABLE = DocumentedTable(
    "classifiers.md",
    "Which files of weights are read?",
    1,
    elsewhere={
        "a whole pickled model": (
            f"{MODELS}/test_checkpoints.py::test_a_whole_pickled_model_is_refused_with_lines_that_work",
        ),
        "weights without a last layer (CLIP, SigLIP, DINOv2)": (
            f"{MODELS}/test_loading.py::test_what_is_fitted_on_features_is_extracted_with",
        ),
        "a folder of transformers' without a last layer, or without other tensors": (
            f"{MODELS}/test_hub_folders.py::test_a_folder_of_features_is_offered_a_classifier_and_takes_it",
            f"{MODELS}/test_hub_folders.py::test_weights_that_a_folder_lacks_are_no_random_ones",
        ),
        "two networks, such as student and teacher": (
            f"{MODELS}/test_loading.py::test_two_networks_in_one_file_are_a_choice_for_the_user",
        ),
        "a program for images of another size or number of channels, or with another output than logits": (
            f"{MODELS}/test_programs.py::test_a_program_that_does_not_fit_is_one_sentence",
        ),
        "a program of TorchScript or torch.export, as `--weights`": (
            f"{MODELS}/test_programs.py::test_a_program_given_as_weights_is_led_to_the_right_option",
        ),
    },
)


def refused(content: Any, folder: Path) -> str:
    torch.save(content, folder / "w.pth")
    spec = ModelSpec("test_resnet", str(folder / "w.pth"))
    return refusal_of(lambda: load_classifier(spec), f"--weights {folder / 'w.pth'}: ")


@TABLE.row("holds an object of a class that is not on the list (`trustcache/models/harmless.py`)")
def test_an_object_that_is_not_on_the_list(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet", num_classes=5).state_dict()
    said = refused({"state_dict": state, "best": Fraction(1, 2)}, tmp_path)
    assert tells(said, "running code", "fractions.Fraction", "torch.save(model.state_dict(), FILE)")


@TABLE.row("of another architecture")
def test_another_architecture(tmp_path: Path) -> None:
    own, other = (timm.create_model(name, num_classes=5).state_dict() for name in ("test_resnet", "test_vit"))
    missing = sorted(name for name in own.keys() - other.keys() if not name.endswith("num_batches_tracked"))
    unknown = sorted(other.keys() - own.keys())
    facts = f"{len(missing)} missing", missing[0], f"{len(unknown)} unknown", unknown[0], "--classifier"
    assert tells(refused(other, tmp_path), *facts)


def test_each_refused_file_in_the_document_has_its_test() -> None:
    TABLE.require_tests()
