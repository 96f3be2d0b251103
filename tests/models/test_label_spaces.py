"""The outputs of a model against the classes of the data: by name, in any order, as a part, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from timm.data.imagenet_info import ImageNetInfo
from timm.models import save_for_hf
from typer.testing import Result

from tests.documented_tables import DocumentedTable
from tests.refusals import refusal_of, tells
from trustcache.cache import open_cache
from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import Classifier
from trustcache.models.identity import Reading
from trustcache.models.label_spaces import LabelSpace, given_classes, judged_outputs, space_of

Cli = Callable[..., Result]
Folder = Callable[..., Path]
CACHE = Path("trustcache-workspace/cache")
ONE = ImageNetInfo("imagenet-1k")
TABLE = DocumentedTable("classifiers.md", "Whose classes, in which order?")


@TABLE.row("a part of the model's, as ImageNet-1k of a 22k head")
@pytest.mark.parametrize(
    ("name", "missing"), [("imagenet-12k", 7), ("imagenet-22k", 1), ("imagenet-22k-ms", 0), ("imagenet-21k-goog", 1)]
)
def test_a_larger_imagenet_is_judged_on_its_thousand(name: str, missing: int) -> None:
    space = LabelSpace(given_classes(name))
    kept, line = judged_outputs(space, ONE.label_names(), "val")
    pairs = zip(kept, ONE.label_names(), strict=True)
    assert [wnid for number, wnid in pairs if number < 0 or space.names[number] != wnid] == [
        wnid for wnid in ONE.label_names() if wnid not in space.names
    ]
    assert kept.count(-1) == missing
    assert tells(
        line, f"{1000 - missing:,} of its {len(space.names):,}", "val", *([f"other {missing}"] if missing else [])
    )


@TABLE.row("all but 1 % among the model's")
def test_a_class_without_an_output_is_never_predicted() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))
    model.pretrained_cfg = {"input_size": (3, 8, 8)}  # type: ignore[assignment]
    pixels = torch.randint(0, 256, (50, 3, 8, 8))
    logits, _ = Classifier(ModelSpec("net", reading=Reading(kept=(3, -1, 0))), model)(pixels)
    every, _ = Classifier(ModelSpec("net"), model)(pixels)
    torch.testing.assert_close(logits[:, [0, 2]], every[:, [3, 0]], rtol=0, atol=0)
    torch.testing.assert_close(logits[:, 1], every[:, [3, 0]].amin(1), rtol=0, atol=0)


def test_imagenet_s_classes_are_known_by_wordnet_id_and_by_word() -> None:
    space = LabelSpace(tuple(ONE.label_names()), tuple(ONE.label_descriptions()))
    words = ["tench", "Tinca tinca", "great_white_shark", "n01440764", "red fox", "crane"]
    assert space.outputs_of(words[:1] + words[2:]) == [None, 2, None, 277, None], "a class named twice; two cranes"
    assert space.outputs_of(["tench", "great_white_shark"]) == [0, 2]


def test_own_names_may_be_imagenet_s_words() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 1000))
    model.pretrained_cfg = {"label_names": ONE.label_descriptions()}  # type: ignore[assignment]
    space = space_of(Classifier(ModelSpec("net"), model))
    assert space is not None
    assert space.names[0] == "tench, Tinca tinca"
    assert space.outputs_of(["n01440764", "English springer", "Tinca tinca, tench"]) == [0, 217, None]


def test_a_few_words_do_not_make_a_thousand_classes_imagenet_s() -> None:
    own = sorted([*(f"plant{number:03d}" for number in range(997)), "daisy", "acorn", "corn"])
    names, words = tuple(ONE.label_names()), tuple(ONE.label_descriptions())
    kept, line = judged_outputs(LabelSpace(names, words, assumed=True), own, "plants")
    assert (kept, tells(line, "997 of the 1000", "plants", "order")) == ((), True)
    said = refusal_of(lambda: judged_outputs(LabelSpace(names, words), own, "plants"))
    assert tells(said, "plants", "997 of its 1000")


def test_a_name_of_several_outputs_names_none() -> None:
    assert LabelSpace(("wren", "jay", "wren", "Mo\u0308we")).outputs_of(["wren", "jay", "M\u00f6we"]) == [None, 1, 3]


BIRDS = ("wren", "Barn Owl", "jay")
MANY = tuple(f"class {number}" for number in range(100))
JUDGED: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...], tuple[str, ...]], ...]] = {
    "the model's, in another order": (
        (BIRDS, ("barn-owl", "jay", "wren"), (1, 2, 0), ("order", "birds")),
        (BIRDS, ("wren", "barn_owl", "jay"), (), ()),
        (BIRDS, ("0", "2", "1"), (0, 2, 1), ("order", "birds")),  # numbers are those of the outputs
        (BIRDS, ("0", "1", "2"), (), ()),
    ),
    "a part of the model's, as ImageNet-1k of a 22k head": ((BIRDS, ("jay", "wren"), (2, 0), ("2 of its 3", "birds")),),
    "all but 1 % among the model's": (
        (MANY, ("extra", *MANY[1:]), (), ("1 of the 100", "'extra'")),  # as many, at the same places
        (MANY, ("extra", *MANY[:0:-1]), (-1, *range(99, 0, -1)), ("99 of its 100", "other 1", "'extra'")),
    ),
    "as many as the model's, under other names": ((BIRDS, ("wren", "owl", "jay"), (), ("1 of the 3", "'owl'")),),
}
"""Rows of the document: the model's classes, the data's, the outputs that are kept, and facts of the line."""


@TABLE.row(*JUDGED)
@pytest.mark.parametrize("row", JUDGED)
def test_outputs_follow_the_data_s_classes(row: str) -> None:
    for names, classes, kept, facts in JUDGED[row]:
        found, line = judged_outputs(LabelSpace(names), classes, "birds")
        assert (found, bool(line), tells(line, *facts)) == (kept, bool(facts), True)


@TABLE.row("others")
@pytest.mark.parametrize("classes", [("jay", "owl", "wren"), ("wren", "owl")])
def test_unknown_classes_are_refused_by_the_first(classes: tuple[str, ...]) -> None:
    said = refusal_of(lambda: judged_outputs(LabelSpace(BIRDS), classes, "birds"))
    assert tells(said, "birds", f"1 of its {len(classes)}", "'owl'", "--classes")


@pytest.mark.parametrize("given", [("wren", "barn oul", "jay"), ("jay", "wren", "barn oul"), ("a", "barn oul", "c")])
def test_names_that_the_user_gives_must_be_the_data_s(given: tuple[str, ...]) -> None:
    said = refusal_of(lambda: judged_outputs(LabelSpace(given, given=True), BIRDS, "birds"))
    assert tells(said, "--classes", *(["'barn oul'", "birds", "Barn Owl"] if "wren" in given else ["'a'", "birds"]))


def test_each_row_of_the_document_has_its_test() -> None:
    TABLE.require_tests()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "wren\n\nbarn owl\njay\n"),
        ("bom.txt", "\ufeffwren\r\nbarn owl\r\njay\r\n"),
        ("NAMES.JSON", '["wren", "barn owl", "jay"]'),
        ("names.json", '["wren", "barn owl", "jay"]'),
        ("id2label.json", '{"0": "wren", "2": "jay", "1": "barn owl"}'),
        ("class_to_idx.json", '{"barn owl": 1, "jay": 2, "wren": 0}'),
    ],
)
def test_classes_are_read_from_a_file_as_tools_write_it(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    assert given_classes(str(tmp_path / name)) == ("wren", "barn owl", "jay")


ELEVEN = tuple(map(str, range(11)))
AMBIGUOUS = '{"0": "1", "1": "2", "2": "0"}'


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ({str(number): number for number in range(11)}, ELEVEN),
        ({name: number for number, name in enumerate(sorted(ELEVEN))}, tuple(sorted(ELEVEN))),
        ({"10": 0, "9": 1}, ("10", "9")),
        ({"0": 7, "1": 9}, ("7", "9")),
        ({"wren": "0", "jay": "1"}, ("wren", "jay")),
    ],
)
def test_names_that_are_numbers_are_told_from_numbers(
    table: dict[str, object], names: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "c.json").write_text(json.dumps(table))
    assert given_classes(str(tmp_path / "c.json")) == names


@pytest.mark.parametrize(
    "content", ["{", '{"a": "b"}', '{"0": "a", "5": "b"}', '{"0": ["n01", "wren"]}', "3", "{}", AMBIGUOUS]
)
def test_a_file_without_classes_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    path.write_text(content)
    assert tells(refusal_of(lambda: given_classes(str(path))), f"--classes {path}", "one a line")
    assert tells(refusal_of(lambda: given_classes("nowhere")), "--classes nowhere", "imagenet-22k")


def birds(classes: list[str] | None) -> torch.nn.Module:
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=4)
    config = {"label_names": classes} if classes else {}
    save_for_hf(model, "birds", model_config=config, safe_serialization=True)
    return model.eval()


OPTIONS = ("--data", "photos", "--workers", 0, "--preprocess", "input_size=32", "--store", "float32")


def test_a_data_set_s_order_and_part_of_the_classes_reach_the_cache(run_cli: Cli, image_folder: Folder) -> None:
    birds(["wren", "owl", "jay", "kite"])
    image_folder({"jay": 2, "owl": 2, "wren": 2})
    whole = run_cli("extract", "--classifier", "local-dir:birds", *OPTIONS, "--as", "part")
    assert whole.exit_code == 0, whole.output
    assert tells(whole.stdout, "judged on 3 of its 4 classes", "photos")
    image_folder({"0": 2, "1": 2, "2": 2, "3": 1}, name="numbers")
    plain = run_cli("extract", "--classifier", "local-dir:birds", "--data", "numbers", *OPTIONS[2:], "--as", "all")
    assert plain.exit_code == 0, plain.output
    part, every = (open_cache(CACHE / name) for name in ("part/photos", "all/numbers"))
    np.testing.assert_allclose(part.logits, every.logits[:6][:, [2, 1, 0]], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(part.correct, part.logits.argmax(1) == part.labels)
    answered = run_cli("predict", "mcp", "photos/jay/000.png", "--classifier", "part", "--workers", 0)
    assert answered.exit_code == 0, answered.output
    answer = json.loads(answered.stdout.splitlines()[0])
    assert answer["class_name"] == ("jay", "owl", "wren")[int(part.predictions[0])]


@TABLE.row("a part of the model's, as ImageNet-1k of a 22k head")
def test_all_classes_are_kept_of_data_whose_manifest_has_them_all(run_cli: Cli, image_folder: Folder) -> None:
    birds(["wren", "owl", "jay", "kite"])
    image_folder({"jay": 2, "owl": 2})
    names = 'classes = ["wren", "owl", "jay", "kite"]\nsubset = ["owl", "jay"]\n'
    Path("part.toml").write_text(
        f'name = "part"\nrole = "test"\n{names}[[files]]\nlayout = "folders"\npath = "photos"\n'
    )
    done = run_cli(
        "extract", "--classifier", "local-dir:birds", "--data", "part.toml", "--data-root", ".", *OPTIONS[2:]
    )
    assert done.exit_code == 0, done.output
    (cache,) = (open_cache(file.parent) for file in CACHE.rglob("index.json"))
    assert (cache.logits.shape, cache.labels.tolist()) == ((4, 4), [1, 1, 2, 2])


def test_classes_may_be_given_beside_a_checkpoint(run_cli: Cli, image_folder: Folder) -> None:
    torch.save(birds(None).state_dict(), "w.pth")
    image_folder({"jay": 2, "kite": 1, "owl": 2, "wren": 2})
    Path("names.txt").write_text("wren\nowl\njay\nkite\n")
    model = ("--classifier", "test_resnet", "--weights", "w.pth", *OPTIONS)
    named = run_cli("extract", *model, "--classes", "names.txt", "--as", "named")
    assert named.exit_code == 0, named.output
    assert run_cli("extract", *model, "--as", "sorted").exit_code == 0
    one, other = (open_cache(CACHE / name / "photos") for name in ("named", "sorted"))
    np.testing.assert_allclose(one.logits, other.logits[:, [2, 3, 1, 0]], rtol=1e-5, atol=1e-5)
    wrong = run_cli("extract", *model, "--classes", "wren,owl", "--as", "wrong")
    assert wrong.exit_code == 2
    assert tells(wrong.stderr, "--classes", "2 names", "4 outputs")


def test_images_with_numbers_for_labels_come_before_and_after_those_with_names(
    run_cli: Cli, image_folder: Folder
) -> None:
    torch.save(birds(None).state_dict(), "w.pth")
    image_folder({"jay": 1, "kite": 1, "owl": 1, "wren": 1})
    image_folder({"0": 1, "1": 1, "2": 1, "3": 1}, name="numbers")
    for data in ("photos", "numbers", "photos"):
        done = run_cli(
            "extract", "--classifier", "test_resnet", "--weights", "w.pth", "--data", data, *OPTIONS[2:], "--as", "net"
        )
        assert done.exit_code == 0, done.stderr
