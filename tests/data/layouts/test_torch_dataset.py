"""A torch Dataset by `package.module:function`: typed, it is data like other data; named by a file, it does not run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from tests.refusals import tells
from trustcache.cache import open_cache
from trustcache.data.known_data import named_code

Cli = Callable[..., Result]
MODULE = '''
from pathlib import Path

import numpy as np
import torch
from PIL import Image

Path("it-ran").touch()
CHANGED = Path("changed")


class Pets(torch.utils.data.Dataset):
    """Six images of one colour each."""

    classes = ["cat", "dog"]

    def __init__(self, form="image"):
        self.form = form

    def __len__(self):
        return 6

    def __getitem__(self, i):
        if i >= 6:
            raise IndexError
        image = Image.new("RGB", (8, 8), (20 * i, 7 if CHANGED.exists() and i == 4 else 0, 0))
        label = i % 2
        if self.form == "array":
            return {"image": np.asarray(image), "label": torch.tensor(label)}
        if self.form == "words":
            return image, self.classes[label] if self.classes else ("cat", "dog")[label]
        if self.form == "path":
            image.save(f"{i}.png")
            return Path(f"{i}.png"), label
        if self.form == "floats":
            return torch.zeros(3, 8, 8), label
        if self.form == "broken" and i == 3:
            raise OSError("the disk is gone")
        return image, label


def pets():
    return Pets()


def arrays():
    return Pets("array")


def paths():
    return Pets("path")


def words():
    return Pets("words")


def unnamed():
    dataset = Pets("words")
    dataset.classes = None
    return dataset


def strange():
    dataset = Pets("words")
    dataset.targets = ["cat", "cow"] * 3
    return dataset


def part():
    return torch.utils.data.Subset(Pets(), range(6))


def joined():
    return torch.utils.data.ConcatDataset([torch.utils.data.Subset(Pets(), range(4)), Pets("path")])


def at_odds():
    other = Pets()
    other.classes = ["dog", "cat"]
    return torch.utils.data.ConcatDataset([Pets(), Pets(), other])


def half_named():
    other = Pets()
    other.classes = None
    return torch.utils.data.ConcatDataset([Pets(), other])


def named_anew():
    dataset = at_odds()
    dataset.classes = ["wren", "ant"]
    return dataset


def floats():
    return Pets("floats")


def broken():
    dataset = Pets("broken")
    dataset.targets = [0, 1] * 3
    return dataset


def listed():
    dataset = Pets()
    dataset.targets = [0, 1, 0, 1, 1, 1]
    return dataset


def closed():
    dataset = Pets()
    dataset.key = lambda: 0
    return dataset


def none():
    return 7


def many():
    dataset = Pets()
    dataset.targets = [0, 1, 2, 0, 1, 2]
    return dataset


def train():
    return Pets()


class Names:
    names = ["wren", "ant"]


class Hub(Pets):
    """As the library `datasets` has it: columns by name, their kinds in `features`."""

    classes = None
    features = {"image": None, "label": Names()}

    def __getitem__(self, i):
        return [i % 2 for i in range(6)] if i == "label" else dict(zip(("image", "label"), super().__getitem__(i)))


def hub():
    return Hub()
'''


@pytest.fixture
def code(in_tmp_path: Path) -> str:
    """A module in the working folder, with functions that return data sets."""
    name = f"data_of_{in_tmp_path.name}".replace("-", "_")
    Path(f"{name}.py").write_text(MODULE, encoding="utf-8")
    sys.modules.pop(name, None)
    return name


def extracted(run_cli: Cli, model: str, data: str, *options: object) -> Result:
    words = ("--classifier", model, "--model-arg", "classes=2", "--data", data, "--device", "cpu")
    return run_cli("extract", *words, *(options or ("--workers", 0)))


@pytest.mark.parametrize("function", ["pets", "arrays", "paths", "words", "unnamed", "part"])
def test_what_a_function_returns_is_checked_and_extracted(
    run_cli: Cli, code: str, own_model: Callable[..., str], function: str
) -> None:
    checked = run_cli("data", "check", f"{code}:{function}")
    assert tells(checked.stdout, f"{function}: 6 images, 2 of 2 classes", "000005: 8 x 8, class dog")
    done = extracted(run_cli, own_model(), f"{code}:{function}:train", "--workers", 1)
    assert done.exit_code == 0, done.stderr
    (index,) = Path("trustcache-workspace/cache").rglob("index.json")
    view = open_cache(index.parent)
    assert view.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert view.index.role == "train"
    assert view.index.made_from.classes == ("cat", "dog")
    np.testing.assert_allclose(view.logits[:, 0], 20 * np.arange(6) / 255, atol=1e-3)


def test_a_data_set_of_the_library_datasets_names_its_classes(run_cli: Cli, code: str) -> None:
    assert tells(run_cli("data", "check", f"{code}:hub").stdout, "hub: 6 images", "000000", "wren", "000005", "ant")


def test_joined_data_sets_have_the_classes_that_all_of_them_name(run_cli: Cli, code: str) -> None:
    for function, images, classes in (("joined", 10, ("cat", "dog")), ("named_anew", 18, ("wren", "ant"))):
        (found,) = json.loads(run_cli("data", "check", f"{code}:{function}", "--json").stdout)["data"]
        assert found["samples"] == images
        assert [image["label"] for image in found["images"]] == [classes[i % 2] for i in (0, images // 2, images - 1)]


def test_an_image_that_changes_is_told_the_next_time(run_cli: Cli, code: str, own_model: Callable[..., str]) -> None:
    model = own_model()
    assert extracted(run_cli, model, f"{code}:pets").exit_code == 0
    assert extracted(run_cli, model, f"{code}:pets").exit_code == 0
    Path("changed").touch()
    refused = extracted(run_cli, model, f"{code}:pets")
    assert (refused.exit_code, tells(refused.stderr, "000004")) == (2, True)


@pytest.mark.parametrize(
    ("function", "exit_code", "facts"),
    [
        ("floats", 1, ("floats[0]", "ToTensor")),
        ("broken", 1, ("broken[3]", "the disk is gone")),
        ("listed", 1, ("listed[4]", "label 0", "1 in the list")),
        ("strange", 2, ("strange", "'cow'", "2 named classes", "'classes'")),
        ("none", 2, ("none", "Dataset")),
        ("at_odds", 2, ("at_odds", "class 0", "'cat'", "number 3", "'dog'", "'classes'")),
        ("half_named", 2, ("half_named", "'cat'", "number 2", "unnamed", "'classes'")),
        ("absent", 2, ("absent", "AttributeError")),
        ("many", 2, ("many", "0 to 2", "2 classes", "'classes'")),
    ],
)
def test_what_keeps_a_data_set_from_serving_is_named(
    run_cli: Cli, code: str, own_model: Callable[..., str], function: str, exit_code: int, facts: tuple[str, ...]
) -> None:
    done = extracted(run_cli, own_model(), f"{code}:{function}")
    assert (done.exit_code, tells(done.stderr, *facts)) == (exit_code, True), done.stderr


def test_one_that_cannot_be_sent_to_other_processes_is_read_in_this_one(
    run_cli: Cli, code: str, own_model: Callable[..., str]
) -> None:
    model = own_model()
    refused = extracted(run_cli, model, f"{code}:closed", "--workers", 1)
    assert (refused.exit_code, tells(refused.stderr, "closed", "--workers 0")) == (2, True)
    assert extracted(run_cli, model, f"{code}:closed").exit_code == 0


def test_a_function_may_be_called_as_a_role_is(run_cli: Cli, code: str) -> None:
    (found,) = json.loads(run_cli("data", "check", f"{code}:train", "--json").stdout)["data"]
    assert (found["name"], found["samples"]) == ("train", 6)
    assert tells(run_cli("data", "check", "no_such_module:train").stderr, "no_such_module:train", "no images")


def test_a_manifest_runs_no_function_that_it_names(run_cli: Cli, code: str) -> None:
    Path("theirs.toml").write_text(
        f'name = "x"\nrole = "test"\n[[files]]\nlayout = "torch-dataset"\nfunction = "{code}:pets"\n', encoding="utf-8"
    )
    refused = run_cli("data", "check", "theirs.toml")
    assert (refused.exit_code, Path("it-ran").exists()) == (2, False)
    assert tells(refused.stderr, f"{code}:pets", f"--allow-code {code}:pets")
    assert run_cli("data", "check", "theirs.toml", "--allow-code", f"{code}:pets").exit_code == 0


def test_a_folder_with_a_role_behind_it_is_not_taken_for_code(run_cli: Cli, code: str) -> None:
    for label in ("cat", "dog"):
        Path(code, label).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(Path(code, label, "a.png"))
    assert run_cli("data", "check", f"{code}:train").exit_code == 0
    assert not Path("it-ran").exists()
    assert [named_code(f"{code}:{name}") for name in ("train", "pets:train")] == ["", f"{code}:pets"]
