"""The documents: every command they show parses, the tour runs as written, and every option is explained."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cli import app, loaded
from cli.program import COMMANDS
from tests.faults.forks import Forks
from tests.ranks import together
from tests.refusals import tells
from trustcache.cache.workspace import Workspace
from trustcache.metrics.selective import samples_needed

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAM = {name: loaded(name) for name in COMMANDS}


def fenced(path: Path, languages: str) -> list[str]:
    """The `trustcache` lines of a document's code blocks in these languages."""
    blocks = re.findall(rf"^```(?:{languages})\n(.*?)^```", path.read_text(encoding="utf-8"), re.S | re.M)
    lines = re.sub(
        r"^torchrun .*?-m (?=trustcache )", "", "\n".join(blocks).replace("\\\n", " "), flags=re.M
    ).splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.startswith("trustcache ")]


def commands(group: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    for name, found in group.items():
        if hasattr(found, "commands"):
            yield from commands(found.commands, (*path, name))
        else:
            yield (*path, name), found


SHOWN = sorted({line for path in DOCUMENTS for line in fenced(path, "sh|tour|start|walk|scale")})


@pytest.mark.parametrize("line", SHOWN)
def test_a_command_in_the_documents_parses(line: str) -> None:
    words = shlex.split(line)[1:]
    found = PROGRAM[words.pop(0)]
    while hasattr(found, "commands"):
        found = found.commands[words.pop(0)]
    assert found.make_context("trustcache", words).params  # raises on an unknown option or a wrong value


def test_every_page_is_found_from_the_index_and_the_site_and_the_readme_says_where_to_contribute() -> None:
    index, site = (ROOT / name for name in ("docs/index.md", ".ci/mkdocs.yml"))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in DOCUMENTS[1:]}
    assert not [page for page in pages - {"index.md"} if f"({page}" not in index.read_text(encoding="utf-8")]
    assert not [page for page in pages if f" {page}\n" not in site.read_text(encoding="utf-8")]
    assert "(docs/CONTRIBUTING.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_tour_in_the_readme_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    from trustcache.protocols import LEAST_STEPS

    # Training takes most of the tour, and what it learns is not asked.
    monkeypatch.setitem(LEAST_STEPS, "sgd", 1)
    printed = ""
    for line in fenced(ROOT / "README.md", "tour"):
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
        printed += result.output
    assert "digits-c/contrast/4" in printed
    assert "index.html" in printed
    assert "note:" not in printed  # no gaps left
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S | re.M)
    labels = np.arange(500) % 10
    for block in blocks:
        exec(block, {"logits": 4 * np.eye(10)[labels] - 1, "labels": labels, "new_logits": -np.eye(10)})
    said = capsys.readouterr().out
    assert "(100, 10)" in said  # a cache's slice
    assert len(re.findall(r"^\d 0\.\d+ \S+ (?:True|False)$", said, re.M)) == 100  # answers for images


@pytest.fixture
def photo_folders(in_tmp_path: Path) -> None:
    """Photos in folders of classes, and a new one."""
    from trustcache.data.dataset import open_dataset
    from trustcache.data.known_data import find_manifests

    images = {name: open_dataset(find_manifests(f"digits-{name}")[0], Path()) for name in ("train", "test")}
    parts = {"train": range(240), "test": range(60), "calibration": range(200, 600)}
    for part, numbers in parts.items():
        dataset = images["train" if part == "train" else "test"]
        for number in numbers:
            folder = Path("photos", part, dataset.classes[dataset.labels[number]])
            folder.mkdir(parents=True, exist_ok=True)
            dataset.read(number).resize((32, 32)).save(folder / f"{number}.png")
    Path("new-photos").mkdir()
    images["test"].read(645).resize((32, 32)).save("new-photos/one.png")


@pytest.fixture
def photos(photo_folders: None) -> None:
    """What `docs/start.md` begins with: photos in folders of classes, some new ones, and a classifier of timm's."""
    import torch

    from trustcache.data.dataset import open_dataset
    from trustcache.data.known_data import find_manifests
    from trustcache.models.building import ModelSpec, new_model
    from trustcache.models.classifiers import Classifier

    torch.manual_seed(0)
    spec = ModelSpec("resnet18", preprocessing={"input_size": (32, 32)})
    model = new_model(spec, 10)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            torch.nn.init.ones_(module.weight)  # timm's zeros would hide every block
    fitted, preprocessing = open_dataset(find_manifests("digits-fit")[0], Path()), Classifier(spec, model).preprocessing
    transform = preprocessing.transform()
    images = [transform(fitted.read(number).resize((32, 32)).convert("RGB")) for number in range(len(fitted))]
    with torch.no_grad():  # least squares on what a network sees that has not learnt: right on four of five images
        pixels = preprocessing.normalise(torch.stack(images))
        model.train()(pixels)
        features = model.eval().forward_head(model.forward_features(pixels), pre_logits=True)
        mean, wanted = features.mean(0), torch.eye(10)[torch.as_tensor(np.asarray(fitted.labels))] - 0.1
        moments = (features - mean).T @ (features - mean)
        solved = torch.linalg.solve(moments + moments.trace() / 512 * torch.eye(512), (features - mean).T @ wanted)
        model.fc.weight[:], model.fc.bias[:] = 10 * solved.T, -10 * mean @ solved
    torch.save(model.state_dict(), "mine.pth")


@pytest.mark.slow
def test_the_first_hour_runs_as_written_and_ends_in_a_verdict(photos: None) -> None:
    lines = fenced(ROOT / "docs" / "start.md", "start")
    assert len(lines) == 8
    name = "NAME"  # what the report says to trust, as a reader takes it from there
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(line.replace("NAME", name))[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
        if line == "trustcache report":
            name = re.findall(r"^ *trustcache calibrate (\S+) ", result.stdout, re.M)[-1]
    (answer,) = (json.loads(each) for each in result.stdout.splitlines())
    assert {"path", "score", "trusted"} <= {*answer}
    assert "no threshold" not in result.stderr


@pytest.mark.parametrize("page", ["README.md", "docs/start.md"])
def test_the_first_hour_calibrates_and_predicts_with_what_the_report_says_to_trust(page: str) -> None:
    text, lines = (ROOT / page).read_text(encoding="utf-8"), fenced(ROOT / page, "sh|start")
    first = lines[lines.index("trustcache report") :]
    named = [line.split()[2] for line in first[:4] if tells(line, "--classifier mine", "photos")]
    assert named == ["NAME", "NAME"]
    assert re.search(r"NAME stands in the commands with which `report` ends", text)


@pytest.mark.parametrize("page", ["README.md", "docs/start.md"])
def test_a_low_accuracy_is_answered_by_the_whole_preprocessing_in_a_workspace_of_others_too(page: str) -> None:
    lines = fenced(ROOT / page, "sh|start")
    again = next(line for line in lines if tells(line, "extract", "--weights mine.pth", "--preprocess crop_pct"))
    assert all(f"--preprocess {key}=" in again for key in ("input_size", "crop_pct", "mean", "std"))
    assert lines[lines.index(again) - 1] == "trustcache cache rm mine --yes", "all caches of --as mine, few or many"
    assert "--as mine" in again
    assert [line for line in lines if "train --preset strong" in line] == [
        "trustcache train --preset strong --classifier mine"
    ]


@pytest.fixture
def checkpoints(photo_folders: None) -> None:
    """A classifier as Lightning and timm's `train.py` save it, and one of transformers' Trainer; none has learnt."""
    import argparse

    import timm
    import torch
    import transformers
    from timm.utils import CheckpointSaver, ModelEmaV3

    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=10)
    state = model.state_dict()
    lit = {f"model.{name}": tensor for name, tensor in state.items()} | {"criterion.weight": torch.ones(10)}
    torch.save({"epoch": 3, "state_dict": lit, "hyper_parameters": {"root": Path("photos")}}, "epoch=3.ckpt")
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    args = argparse.Namespace(model="resnet18", output=Path("out"))
    saver = CheckpointSaver(model, optimiser, args, ModelEmaV3(model), checkpoint_dir=".", recovery_dir=".")
    saver.save_checkpoint(3, metric=0.9)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    names = dict(enumerate("9876543210"))
    config = transformers.ViTConfig(image_size=32, patch_size=8, id2label=names, label2id={}, **sizes)
    transformers.ViTForImageClassification(config).save_pretrained("pets")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained("pets")


@pytest.mark.slow
def test_a_checkpoint_of_each_trainer_leads_to_a_verdict_as_written(checkpoints: None) -> None:
    lines = fenced(ROOT / "docs" / "classifiers.md", "walk")
    assert len(lines) == 12
    printed = []
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
        printed.append(result.stdout)
    assert "1 other tensors are passed over (first 'criterion.weight')" in printed[0]
    assert "'state_dict_ema' is taken, not 'state_dict'" in printed[4]
    assert "in the order of the classes" in printed[8]
    shares = [float(re.findall(r"photos-train: \S+ is right on (\d+\.\d+) %", printed[i])[0]) for i in (0, 4)]
    assert shares[0] == shares[1]
    for text in printed[3::4]:
        (answer,) = (json.loads(each) for each in text.splitlines())
        assert answer["trusted"] in (True, False)


@pytest.mark.slow
def test_the_page_on_scale_runs_as_written(workspace: Workspace, forks: Forks) -> None:
    folder, lines = workspace.root.parent, fenced(ROOT / "docs" / "scale.md", "scale")
    assert len(lines) == 5
    for line in lines:
        first, second = together(forks, folder, [*shlex.split(line)[1:], "--workers", 0, "--device", "cpu"])
        assert (first.code, second.code) == (0, 0), f"{line}\n{first.text}\n{second.text}"
        assert first.out
        assert second.out == ""
    assert "scores made" in first.out  # of mine, which no training learnt from


def test_the_page_on_oracles_says_what_a_plan_says(in_tmp_path: Path) -> None:
    page = (ROOT / "docs" / "which-oracle.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d\.\d) % \| ([\d,]+) \|$", page, re.M)
    assert len(rows) == 4
    for risk, images in rows:
        assert samples_needed(0.02, 0.001, float(risk) / 100, 0.5) == int(images.replace(",", ""))
    assert samples_needed(0.05, 0.05, 0.0, 0.5) == int(re.search(r"takes (\d+) images where none", page)[1])  # type: ignore[index]


@pytest.mark.parametrize(("path", "found"), list(commands(PROGRAM)), ids=lambda value: str(value)[:40])
def test_every_command_and_option_is_explained(path: tuple[str, ...], found: object) -> None:
    assert f"trustcache {path[0]}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert found.help  # type: ignore[attr-defined]
    assert not [option.name for option in found.params if not option.help]  # type: ignore[attr-defined]
    names = {option.name for option in found.params}  # type: ignore[attr-defined]
    assert {"workspace", "data_root", "debug"} <= names


def test_the_test_command_of_the_readme_is_what_ci_runs() -> None:
    readme, ci = (ROOT / "README.md").read_text(encoding="utf-8"), (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "pip install '.[dev]' && .venv/bin/python -m pytest\n" in readme
    assert "'.[dev" in ci
    assert ci.rstrip().endswith("-m pytest")
