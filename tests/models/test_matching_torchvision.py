"""A torchvision that does not work with the torch that is installed is named with it, in one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from typer.testing import Result

from tests.refusals import refusal_of, tells
from trustcache.models.classifiers import as_classifier
from trustcache.models.zoo.cifar_resnet import CifarResNet

Cli = Callable[..., Result]
REASON = "operator torchvision::nms does not exist"


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken/torchvision").mkdir(parents=True)
    (tmp_path / "broken/torchvision/__init__.py").write_text(f"raise RuntimeError({REASON!r})")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path / "broken")


@pytest.mark.usefixtures("broken")
def test_both_versions_and_the_remedy_are_named_where_a_model_is_built_and_in_python(run_cli: Cli) -> None:
    facts = version("torchvision"), version("torch"), REASON, "pip install", "torch torchvision"
    torch.save(CifarResNet(8).state_dict(), "w.pth")
    resnet = ("--classifier", "cifar-resnet8")
    for words in (("extract", "--weights", "w.pth"), ("fit-classifier", "--start", "w.pth", "--out", "v")):
        done = run_cli(*words, *resnet, "--data", "digits-fit")
        assert done.exit_code == 2
        assert tells(done.stderr, *facts)
        assert len(done.stderr.splitlines()) == 1
    assert tells(refusal_of(lambda: as_classifier(torch.nn.Linear(12, 3))), *facts)
