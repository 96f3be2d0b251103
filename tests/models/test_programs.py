"""Classifiers of a user's own files: programs of torch.export and TorchScript, and functions in `file.py`."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import Result

from tests.refusals import refusal_of, tells
from trustcache.cache import open_cache
from trustcache.models.building import ModelSpec, backbone
from trustcache.models.classifiers import Classifier, load_classifier
from trustcache.registry.permission import CodePermission, allow_code, code_permission, import_object

Cli = Callable[..., Result]
SIDE = 32
CLASSES = 3
PETS = {"cat": 6, "dog": 6, "owl": 6}


def network(classes: int = CLASSES) -> nn.Sequential:
    torch.manual_seed(classes)
    return nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))


def exported(path: Path, model: nn.Module | None = None, **settings: object) -> str:
    dynamic = {"dynamic_shapes": ({0: torch.export.Dim.DYNAMIC},), **settings}
    images = (torch.randn(2, 3, SIDE, SIDE),)
    torch.export.save(torch.export.export(model or network(), images, **dynamic), path)  # type: ignore[arg-type]
    return str(path)


def scripted(path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network(), torch.randn(2, 3, SIDE, SIDE)), path)
    return str(path)


def allowed(name: str) -> Classifier:
    allow_code(name)
    return load_classifier(ModelSpec(name, preprocessing={"input_size": (SIDE, SIDE)}))


@pytest.mark.parametrize(("save", "features"), [(exported, True), (scripted, False)], ids=["export", "TorchScript"])
def test_a_program_gives_the_model_s_logits(save: Callable[..., str], features: bool, tmp_path: Path) -> None:
    classifier, model = allowed(save(tmp_path / "pets.pt2")), network()
    pixels = torch.randint(0, 256, (3, 3, SIDE, SIDE))
    logits, seen = classifier(pixels)
    assert (classifier.num_classes, classifier.has_features) == (CLASSES, features)
    with torch.inference_mode():
        torch.testing.assert_close(logits, model(classifier.preprocessing.normalise(pixels)), rtol=1e-4, atol=1e-5)
        if features:
            torch.testing.assert_close(logits, model[4](seen), rtol=1e-4, atol=1e-5)


def test_a_program_takes_its_constants_along_to_another_device(tmp_path: Path) -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.scale = nn.Linear(3, CLASSES), torch.full((3,), 2.0)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            x = (images.mean((2, 3)) - torch.tensor([0.1, 0.2, 0.3])).to(images.device, torch.float32)
            return self.last(x * self.scale + torch.arange(3, device=x.device))

    model, pixels = Centred().eval(), torch.randint(0, 256, (3, 3, SIDE, SIDE))
    classifier = allowed(exported(tmp_path / "pets.pt2", model))
    torch.testing.assert_close(classifier(pixels)[0], model(classifier.preprocessing.normalise(pixels)).detach())
    classifier.model.to("meta")
    assert classifier(pixels.to("meta"))[0].device.type == "meta"


def test_a_program_runs_by_permission_of_its_contents(tmp_path: Path, in_tmp_path: Path) -> None:
    name = exported(tmp_path / "pets.pt2")
    assert tells(refusal_of(lambda: load_classifier(ModelSpec(name))), "--classifier", name, f"--allow-code {name}")
    workspace, kept = tmp_path / "workspace", tmp_path / "allowed.jsonl"
    workspace.mkdir()
    with code_permission(CodePermission({"pets.pt2"}, workspace, kept)):
        load_classifier(ModelSpec(name))
    with code_permission(CodePermission(set(), workspace, kept)):
        load_classifier(ModelSpec(name))
        exported(tmp_path / "pets.pt2", network(classes=4))
        assert "--allow-code" in refusal_of(lambda: load_classifier(ModelSpec(name)))


def test_two_programs_of_the_same_weights_are_two_classifiers(tmp_path: Path) -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.model(x) * 2

    one = allowed(exported(tmp_path / "one.pt2", nn.Sequential(network())))
    two = allowed(exported(tmp_path / "two.pt2", Doubled()))
    assert one.identity().state_sha256 != two.identity().state_sha256


@pytest.mark.parametrize(
    ("make", "facts"),
    [
        (lambda path: exported(path, dynamic_shapes=None), ("exactly 2 images", "dynamic_shapes")),
        (lambda path: torch.save(network().state_dict(), path), ("no program", "--weights")),
        (lambda path: path.unlink(missing_ok=True), ("no such file",)),
    ],
    ids=["one batch size", "weights", "missing"],
)
def test_a_file_that_is_no_program_for_images_is_named(
    make: Callable[[Path], object], facts: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "pets.pt2"
    make(path)
    assert tells(refusal_of(lambda: allowed(str(path))), f"--classifier {path}", *facts)


class Returning(nn.Module):
    """The network with something done to its images and to its output."""

    def __init__(self, before: Callable[..., torch.Tensor], after: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.model, self.before, self.after = network(), before, after

    def forward(self, x: torch.Tensor) -> object:
        return self.after(self.model(self.before(x)))


def traced(path: Path, model: nn.Module, channels: int = 3, frozen: bool = False) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.jit.trace(model.eval(), torch.randn(2, channels, SIDE, SIDE), strict=False)
        torch.jit.save(torch.jit.freeze(program) if frozen else program, path)


def of_bytes(path: Path) -> None:
    images = (torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8),)
    model = Returning(lambda x: x.float(), lambda y: y)
    torch.export.save(torch.export.export(model, images, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)), path)


FLAT = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, CLASSES))


@pytest.mark.parametrize(
    ("make", "side", "facts"),
    [
        (lambda path: traced(path, FLAT), 64, ("64 x 64", "--preprocess input_size")),
        (lambda path: exported(path), 64, ("64 x 64", "--preprocess input_size")),
        (lambda path: traced(path, nn.Conv2d(1, 3, SIDE), 1), SIDE, ("3 channels", "mean=")),
        (lambda path: traced(path, Returning(lambda x: x, lambda y: {"logits": y})), SIDE, ("dict", "logits")),
        (lambda path: traced(path, nn.Conv2d(3, 3, 3)), SIDE, ("(1, 3, 30, 30)", "logits")),
        (of_bytes, SIDE, ("uint8", "float32")),
    ],
    ids=["other size", "other size of an export", "grey", "dictionary", "maps", "bytes"],
)
def test_a_program_that_does_not_fit_is_one_sentence(
    make: Callable[[Path], object], side: int, facts: tuple[str, ...], tmp_path: Path
) -> None:
    name = str(tmp_path / "pets.pt2")
    make(Path(name))
    allow_code(name)
    spec = ModelSpec(name, preprocessing={"input_size": (side, side)})
    assert tells(refusal_of(lambda: load_classifier(spec)), f"--classifier {name}", *facts)


def test_frozen_programs_and_endings_in_capitals_are_taken(tmp_path: Path) -> None:
    traced(tmp_path / "Pets.PT", network(), frozen=True)
    classifier = allowed(str(tmp_path / "Pets.PT"))
    assert classifier(classifier.black())[0].shape == (1, CLASSES)


@pytest.mark.parametrize("save", [exported, scripted])
def test_a_program_given_as_weights_is_led_to_the_right_option(save: Callable[..., str], tmp_path: Path) -> None:
    path = save(tmp_path / "pets.pt")
    assert tells(
        refusal_of(lambda: load_classifier(ModelSpec("test_resnet", path))), "--weights", f"--classifier {path}"
    )


def test_a_program_cannot_be_tuned(tmp_path: Path) -> None:
    name = exported(tmp_path / "pets.pt2")
    allow_code(name)
    assert "train --frozen" in refusal_of(lambda: backbone(ModelSpec(name)))


def test_a_program_goes_from_extract_to_predict(run_cli: Cli, image_folder: Callable[..., Path]) -> None:
    image_folder(PETS)
    exported(Path("pets.pt2"))
    done = run_cli("extract", "--classifier", "pets.pt2", "--data", "photos", "--workers", 0)
    assert done.exit_code == 0, done.output
    assert tells(done.stdout, f"input_size={SIDE},{SIDE}", "assumed", "photos: pets is right")
    answered = run_cli("predict", "mcp", "photos/cat/000.png", "--workers", 0)
    assert answered.exit_code == 0, answered.output
    scripted(Path("old.pt"))
    options = ("--data", "photos", "--workers", 0, "--preprocess", f"input_size={SIDE}")
    refused = run_cli("extract", "--classifier", "old.pt", *options)
    assert refused.exit_code == 2
    assert tells(refused.stderr, "old.pt", "--features none")
    done = run_cli("extract", "--classifier", "old.pt", "--features", "none", *options)
    assert done.exit_code == 0, done.output
    caches = [open_cache(Path("trustcache-workspace/cache") / name / "photos") for name in ("pets", "old")]
    np.testing.assert_allclose(caches[0].logits, caches[1].logits, rtol=0.01, atol=0.01)


def test_a_program_of_grey_images_takes_what_its_refusal_names(run_cli: Cli, image_folder: Callable[..., Path]) -> None:
    image_folder(PETS)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)).eval()
    images = (torch.randn(2, 1, SIDE, SIDE),)
    torch.export.save(torch.export.export(model, images, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)), "grey.pt2")
    words = ("extract", "--classifier", "grey.pt2", "--data", "photos", "--workers", 0)
    refused = run_cli(*words)
    assert (refused.exit_code, tells(refused.stderr, "grey.pt2", "3 channels", "grey images")) == (2, True)
    values = {"N": SIDE, "M": 0.5, "S": 0.25}
    remedy = [
        word
        for key, letter in re.findall(r"--preprocess (\w+)=([NMS])\b", refused.stderr)
        for word in ("--preprocess", f"{key}={values[letter]}")
    ]
    done = run_cli(*words, *remedy, "--store", "float32", "--preprocess", "crop_pct=1")
    assert done.exit_code == 0, done.output
    assert "assumed" not in done.stdout
    cache = open_cache(Path("trustcache-workspace/cache/grey/photos"))
    luma = [Image.open(f"photos/{name}").convert("L").resize((SIDE, SIDE), Image.BICUBIC) for name in cache.sample_ids]
    x = torch.stack([torch.from_numpy(np.asarray(image, np.float32))[None] for image in luma])
    with torch.no_grad():
        expected = model((x / 255 - 0.5) / 0.25)
    np.testing.assert_allclose(cache.logits, expected, atol=0.02)
    assert run_cli("predict", "mcp", "photos/cat/000.png", "--workers", 0).exit_code == 0


OWN = """
from layers import Net


def build(classes=3):
    return Net(classes)
"""
LAYERS = """
from torch import nn


class Net(nn.Sequential):
    pretrained_cfg = {"input_size": (3, 8, 8), "mean": (0, 0, 0), "std": (1, 1, 1)}

    def __init__(self, classes):
        super().__init__(nn.Conv2d(3, 8, 8), nn.Flatten(), nn.Linear(8, classes))
        for p in self.parameters():
            nn.init.normal_(p, std=0.1)
"""


def test_a_function_in_a_file_runs_with_the_files_beside_it(
    run_cli: Cli, image_folder: Callable[..., Path], in_tmp_path: Path
) -> None:
    image_folder(PETS)
    folder = in_tmp_path / "my nets"
    folder.mkdir()
    (folder / "model.py").write_text(OWN)
    (folder / "layers.py").write_text(LAYERS)
    try:
        name = f"{folder / 'model.py'}:build"
        assert tells(refusal_of(lambda: import_object(name, "--loss")), f"--loss {name}", f"--allow-code {name}")
        torch.manual_seed(0)
        weights = in_tmp_path / "w.pth"
        allow_code(name)
        torch.save(load_classifier(ModelSpec(name)).model.state_dict(), weights)
        words = ("--classifier", "my nets/model.py:build", "--weights", weights, "--data", "photos", "--workers", 0)
        done = run_cli("extract", *words)
        assert done.exit_code == 0, done.output
        assert tells(done.stdout, "photos: model.py:build is right")
        assert run_cli("predict", "mcp", "photos/cat/000.png", "--workers", 0).exit_code == 0
        (folder / "model.py").write_text(OWN + "\n# changed\n")
        changed = run_cli("predict", "mcp", "photos/cat/000.png", "--workers", 0)
        assert changed.exit_code == 2
        assert tells(changed.stderr, "--allow-code", name)
    finally:
        sys.modules.pop("layers", None)


def test_a_function_in_a_file_may_be_an_oracle(run_cli: Cli, extract_digits: Cli, in_tmp_path: Path) -> None:
    (in_tmp_path / "one.py").write_text(
        OWN.replace("from layers import Net", LAYERS).replace("classes=3", "classes=10")
    )
    assert extract_digits("--data", "digits-train").exit_code == 0
    done = run_cli(
        "train", "--oracle", "one.py:build", "--loss", "ce", "--epochs", 1, "--workers", 0, "--device", "cpu"
    )
    assert done.exit_code == 0, done.output
    assert list(Path("trustcache-workspace/runs").glob("one.py%3Abuild-on-digits-net-ce-fine-tuned-seed0-*"))
