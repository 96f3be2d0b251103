"""Folders of Hugging Face's tools: what transformers' Trainer and timm's wrapper write, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.refusals import refusal_of, tells
from trustcache.models.building import ModelSpec, new_model
from trustcache.models.classifiers import load_classifier
from trustcache.models.label_spaces import space_of
from trustcache.models.probing import probed

transformers = pytest.importorskip("transformers")
NAMES = ("jay", "owl", "wren")
PREPARATIONS = {
    "ViT": {"size": {"height": 32, "width": 32}, "resample": 2},
    "ResNet": {"size": {"shortest_edge": 36}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}},
    "ConvNeXt": {"size": {"shortest_edge": 32}, "crop_pct": 0.875, "resample": 3},
}


def saved(folder: Path, **preparation: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    labels = {"id2label": dict(enumerate(NAMES)), "label2id": {name: i for i, name in enumerate(NAMES)}}
    config = transformers.ViTConfig(image_size=32, patch_size=8, **sizes, **labels)
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(folder)
    if preparation:
        entries = {"do_normalize": True, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], **preparation}
        (folder / "preprocessor_config.json").write_text(json.dumps(entries))
    return model


def test_a_folder_of_the_trainer_is_a_classifier_with_named_classes(tmp_path: Path) -> None:
    model = saved(tmp_path, **PREPARATIONS["ViT"])
    classifier = load_classifier(ModelSpec(f"local-dir:{tmp_path}"))
    space = space_of(classifier)
    assert space is not None
    assert space.names == NAMES
    pixels = torch.randint(0, 256, (2, 3, 32, 32))
    logits, features = classifier(pixels)
    with torch.no_grad():
        expected = model(pixel_values=classifier.preprocessing.normalise(pixels)).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    weight, bias = (part.detach() for part in model.classifier.parameters())
    torch.testing.assert_close(logits, features @ weight.T + bias, rtol=1e-4, atol=1e-5)
    assert len(list(probed(classifier))) == 1


def without(folder: Path, *parts: str) -> ModelSpec:
    """A folder of the Trainer's whose weights lack the tensors with one of these parts in their names."""
    saved(folder, **PREPARATIONS["ViT"])
    state = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in state.items() if not any(part in name for part in parts)}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    return ModelSpec(f"local-dir:{folder}")


def test_a_folder_of_features_is_offered_a_classifier_and_takes_it(tmp_path: Path) -> None:
    spec = without(tmp_path, "classifier")
    said = refusal_of(lambda: load_classifier(spec))
    assert tells(said, "no classifier", f"fit-classifier --classifier {spec.name} --data")
    fitted = new_model(spec, 5)
    save_file(fitted.state_dict(), tmp_path / "fitted")
    again = load_classifier(replace(spec, weights=str(tmp_path / "fitted")))
    assert again.num_classes == 5
    torch.testing.assert_close(again.model.state_dict(), fitted.state_dict(), rtol=0, atol=0)


def test_weights_that_a_folder_lacks_are_no_random_ones(tmp_path: Path) -> None:
    spec = without(tmp_path, "classifier", "layernorm_before.weight")
    for load in (lambda: load_classifier(spec), lambda: new_model(spec, 5)):
        assert tells(refusal_of(load), spec.name, "layernorm_before.weight", "save_pretrained")


@pytest.mark.parametrize("kind", PREPARATIONS)
def test_images_are_prepared_as_the_folder_says(kind: str, tmp_path: Path) -> None:
    saved(tmp_path, **PREPARATIONS[kind])
    processors = {"ViT": "ViTImageProcessor", "ResNet": "ConvNextImageProcessor", "ConvNeXt": "ConvNextImageProcessor"}
    preprocessing = load_classifier(ModelSpec(f"local-dir:{tmp_path}")).preprocessing
    ramp = np.stack(np.meshgrid(np.linspace(0, 255, 61), np.linspace(255, 0, 43)), -1).astype(np.uint8)
    image = Image.fromarray(np.concatenate([ramp, ramp[..., :1]], -1))
    ours = preprocessing.normalise(preprocessing.transform()(image)[None])
    assert ours.shape == (1, 3, 32, 32)
    if kind == "ResNet":
        assert (preprocessing.crop_pct, preprocessing.crop_mode) == (32 / 36, "center")
        return
    theirs = getattr(transformers, processors[kind]).from_pretrained(tmp_path)(image, return_tensors="pt").pixel_values
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.12)


def test_without_a_preprocessor_the_preprocessing_is_marked_as_assumed(tmp_path: Path) -> None:
    saved(tmp_path)
    assert tells(next(iter(probed(load_classifier(ModelSpec(f"local-dir:{tmp_path}"))))), "input_size=32,32", "assumed")


def test_timm_s_models_in_transformers_are_prepared_as_timm_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.TimmWrapperConfig(architecture="test_vit", num_labels=3, id2label=dict(enumerate(NAMES)))
    model = transformers.TimmWrapperForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    classifier = load_classifier(ModelSpec(f"local-dir:{tmp_path}"))
    pixels = torch.randint(0, 256, (2, 3, 160, 160))
    with torch.no_grad():
        expected = model(pixel_values=classifier.preprocessing.normalise(pixels)).logits
    torch.testing.assert_close(classifier(pixels)[0], expected, rtol=1e-4, atol=1e-5)
    assert classifier.preprocessing.mean == (0.5, 0.5, 0.5), "test_vit's, not ImageNet's"


@pytest.mark.parametrize(
    ("files", "facts"),
    [
        ({}, ("config.json",)),
        ({"config.json": "{"}, ("config.json", "cannot be read")),
        ({"config.json": '{"architecture": "test_vit"}'}, ("no weights", "model.safetensors")),
        ({"config.json": '{"model_type": "bert"}'}, ("transformers", "image classifier")),
        ({"config.json": '{"auto_map": {"AutoConfig": "evil.Evil"}}', "evil.py": "1 / 0"}, ("transformers",)),
    ],
    ids=["empty", "half", "no weights", "text", "code"],
)
def test_another_folder_is_named(files: dict[str, str], facts: tuple[str, ...], tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    said = refusal_of(lambda: load_classifier(ModelSpec(f"local-dir:{tmp_path}")), f"--classifier local-dir:{tmp_path}")
    assert tells(said, *facts)
