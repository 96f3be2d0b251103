"""The paper's tables and figures as commands: recipes parse, share what they can, and take other data and models."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import Result

from cli import loaded
from trustcache.errors import UsageError
from trustcache.oracles.presets.preset import read_preset
from trustcache.paper.artefacts import RECIPES
from trustcache.paper.recipes import PAPER_MODELS, STEEPNESS, Model, Request, plan

RunCli = Callable[..., Result]
KEYS = [
    *("table1", "table2", "table3", "table-a1", "table-e", "table-f", "table-g", "table-h"),
    *("figure2b", "figure3", "figure-d", "figure4a", "figure-e", "figure4bc", "theorem3.1"),
]
PAPER = Request(Path("workspace"), Path("nowhere"))
OWN = (
    Model("a", ("cifar-resnet32", "--weights", "a.safetensors")),
    Model("b", ("vit_tiny_patch16_224", "--model-arg", "img_size=32")),
)
CIFAR = replace(PAPER, family="cifar10", models=OWN, protocols=("released", "equations"), frozen=True, subset=50)


def commands(made: Request, *names: str) -> list[str]:
    return [str(step).removeprefix("trustcache ") for step in plan(RECIPES, names, made)]


def trainings(made: Request, *names: str) -> list[str]:
    return [line for line in commands(made, *names) if line.startswith("train ")]


def test_every_table_and_figure_has_a_recipe() -> None:
    assert list(RECIPES) == KEYS


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("made", [PAPER, CIFAR], ids=["paper", "cifar10"])
def test_every_step_of_a_recipe_is_a_command_that_parses(name: str, made: Request) -> None:
    steps = plan(RECIPES, [name], made)
    assert str(steps[-1]) == f"trustcache report --only {name}"
    for step in steps:
        found = loaded(step.words[0])
        found.make_context("trustcache", list(step.words[1:]))  # raises on an unknown option or a wrong value
        assert shlex.split(str(step)) == ["trustcache", *step.words]


def test_table1_is_every_pair_with_the_preset_of_its_oracle() -> None:
    assert commands(PAPER, "table1") == [
        "extract --classifier vit --protocol released --data imagenet-train --data imagenet-val",
        "extract --classifier resnet --protocol released --data imagenet-train --data imagenet-val",
        *(
            f"train --classifier {judged}-released --data imagenet-train {oracle}--protocol released "
            f"--preset paper-imagenet-{preset} --loss ce,focal,tcp,ss --seed 0,1,2"
            for judged, oracle, preset in (
                ("vit", "", "vit"),
                ("vit", "--oracle resnet-released ", "resnet"),
                ("resnet", "--oracle vit-released ", "vit"),
                ("resnet", "", "resnet"),
            )
        ),
        "report --only table1",
    ]


@pytest.mark.parametrize("name", ["table-g", "figure3", "figure-d", "figure4a"])
def test_what_comes_from_the_runs_of_table1_adds_no_step_to_it(name: str) -> None:
    assert plan(RECIPES, [name, "table1"], PAPER)[:-1] == plan(RECIPES, ["table1"], PAPER)[:-1]


def test_all_of_them_together_name_no_step_twice_and_extract_before_they_train() -> None:
    lines = commands(CIFAR, *KEYS)
    assert len(set(lines)) == len(lines)
    kinds = [line.split()[0] for line in lines]
    assert kinds == sorted(kinds, key=["extract", "train", "report"].index)


def test_other_models_go_by_their_names_under_either_protocol() -> None:
    lines = commands(CIFAR, "table1")
    assert lines[0] == (
        "extract --classifier cifar-resnet32 --weights a.safetensors --protocol released --as a-released "
        "--data cifar10-train --data cifar10-test --subset 50"
    )
    assert lines[2].startswith("extract --classifier cifar-resnet32 --weights a.safetensors --as a --data")
    asked = {tuple(word for word in line.split() if word.split("-")[0] in ("a", "b")) for line in lines[4:-1]}
    assert asked == {
        ("a",), ("a", "b"), ("b", "a"), ("b",),
        ("a-released",), ("a-released", "b-released"), ("b-released", "a-released"), ("b-released",),
    }  # fmt: skip


def test_by_the_equations_other_data_keep_the_usual_optimiser_and_the_paper_s_steepness() -> None:
    lines = trainings(CIFAR, "table1")
    released, equations = lines[:4], lines[4:]
    assert all("--protocol released --frozen --preset paper-imagenet-" in line for line in released)
    assert not any("--preset" in line for line in equations)
    steep = [" ".join(line.split()[line.split().index("--alpha-pos") :][:4]) for line in equations]
    resnet, vit = "--alpha-pos 2 --alpha-neg 5", "--alpha-pos 1 --alpha-neg 3"
    assert steep == [resnet, vit, resnet, vit]  # the oracle's, not the judged model's


def test_fine_tuning_as_released_on_fewer_images_keeps_rate_times_steps() -> None:
    rates = {}
    for name, made in {
        "paper": PAPER,
        "subset": replace(PAPER, subset=12_812),
        "cifar10": replace(CIFAR, frozen=False, subset=None),
        "cifar10 subset": replace(CIFAR, frozen=False, subset=10_000),
    }.items():
        for line in trainings(made, "table1"):
            words = line.split()
            rate = words[words.index("--lr") + 1] if "--lr" in words else None
            rates.setdefault(name, set()).add(("released" in line, rate))
    assert rates == {
        "paper": {(True, None)},
        "subset": {(True, "0.001")},
        "cifar10": {(True, "0.000256"), (False, None)},
        "cifar10 subset": {(True, "0.00128"), (False, None)},
    }
    assert not any("--lr" in line for line in trainings(CIFAR, "table1"))  # heads have a rate of their own


def test_the_steepness_is_that_of_the_presets() -> None:
    assert {model.preset for model in PAPER_MODELS} == STEEPNESS.keys()
    for preset, (right, wrong) in STEEPNESS.items():
        settings = read_preset(preset).settings
        assert (settings["alpha_pos"], settings["alpha_neg"]) == ([float(right)], [float(wrong)])


def test_table2_fits_the_paper_s_classifiers_and_tunes_ss_from_tcp() -> None:
    lines = commands(replace(PAPER, family="mnist", subset=100), "table2")
    weights = "workspace/classifiers/mnist-convnet.safetensors"
    assert lines == [
        f"fit-classifier --data mnist-train --classifier mnist-convnet --out {weights} --subset 100",
        f"extract --classifier mnist-convnet --weights {weights} --mc-dropout 50 --data mnist-train --data mnist-test "
        "--subset 100",
        "train --classifier mnist-convnet --data mnist-train --loss tcp --seed 0,1,2",
        "train --classifier mnist-convnet --data mnist-train --preset paper-mnist --seed 0,1,2",
        "report --only table2",
    ]
    both = commands(PAPER, "table2")
    assert [line.split()[4] for line in both if line.startswith("fit")] == ["mnist-convnet", "cifar-vgg16"]


def test_table2_takes_another_classifier_as_it_is() -> None:
    lines = commands(replace(CIFAR, models=OWN[:1]), "table2")
    assert [line.split()[0] for line in lines] == ["extract", "train", "train", "report"]
    assert "--mc-dropout" not in lines[0]


def test_table2_is_fine_tuned_whatever_the_others_are() -> None:
    assert CIFAR.frozen
    assert not any("--frozen" in line for line in trainings(CIFAR, "table2"))


@pytest.mark.parametrize("made", [PAPER, CIFAR], ids=["paper", "cifar10"])
def test_the_theorem_s_bound_has_heads_of_ss_to_be_of(made: Request) -> None:
    lines = trainings(made, "theorem3.1")
    assert len(lines) == len(made.protocols)
    assert all("--frozen" in line.split() and "--loss ss" in line for line in lines)


def test_losses_that_the_released_code_lacks_are_compared_by_the_equations() -> None:
    lines = trainings(PAPER, "table-h")
    assert len(lines) == 2
    assert not any("released" in line for line in lines)
    assert "--loss class-balanced --base ce,focal,ss" in lines[1]


def test_the_sweep_of_steepness_is_one_training_of_heads() -> None:
    (line,) = trainings(replace(CIFAR, frozen=False, protocols=("equations",)), "figure4bc")
    words = line.split()
    assert "--frozen" in words
    assert len(words[words.index("--alpha-neg") + 1].split(",")) == 16
    assert words[words.index("--seed") + 1] == "0,1,2"
    assert words.count("--alpha-neg") == 1


def test_the_sweep_s_run_of_the_paper_s_steepness_is_that_of_table_1() -> None:
    (swept,) = trainings(replace(CIFAR, protocols=("released",)), "figure4bc")
    table1 = trainings(replace(CIFAR, protocols=("released",)), "table1")[0]
    kept = swept.partition(" --preset ")[2].split()[0]
    assert kept == table1.partition(" --preset ")[2].split()[0]


def test_unseen_images_are_those_the_family_has() -> None:
    lines = commands(replace(CIFAR, protocols=("equations",)), "table3", "table-a1")
    data = [word for line in lines for flag, word in itertools.pairwise(line.split()) if flag == "--data"]
    assert {"cifar10-fourier", "cifar10-recolor", "cifar10-c/defocus_blur/5"} <= set(data)
    assert len([name for name in data if name.endswith("/*'")]) == 15


def test_requests_that_cannot_be_carried_out_are_refused_in_words() -> None:
    with pytest.raises(UsageError, match=r"table9: .*table1, "):
        plan(RECIPES, ["table9"], PAPER)
    with pytest.raises(UsageError, match=r"--data cifar10: .*--classifier"):
        plan(RECIPES, ["table1"], replace(CIFAR, models=()))
    with pytest.raises(UsageError, match=r"--data digits: table2 .*--classifier"):
        plan(RECIPES, ["table2"], replace(PAPER, family="digits"))
    with pytest.raises(UsageError, match=r"--data mnist: .*'stylized'"):
        plan(RECIPES, ["table3"], replace(CIFAR, family="mnist"))


def test_seeds_are_checked_before_anything_is_printed_and_each_counts_once(run_cli: RunCli) -> None:
    refused = run_cli("reproduce", "table1", "--dry-run", "--seed", "-1")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: --seed (")
    assert not refused.stdout
    assert "--seed 3,1\n" in run_cli("reproduce", "table1", "--dry-run", "--seed", "3,1,3").stdout


def test_without_a_name_every_recipe_is_listed_in_a_line(run_cli: RunCli) -> None:
    heads, *lines = run_cli("reproduce").stdout.splitlines()
    assert heads.split("\t")[0] == "name"
    assert [line.split("\t")[0] for line in lines] == KEYS
    assert all(line.split("\t")[1] for line in lines)


def test_a_dry_run_prints_commands_that_work_in_the_same_place(run_cli: RunCli) -> None:
    own = ("--data", "cifar10", "--classifier", "cifar-resnet32 --weights 'my file.pt' --as=mine", "--protocol", "both")
    machine = ("--workspace", "w s", "--data-root", "d", "--device", "cpu", "--workers", 0, "--seed", "4, 5")
    done = run_cli("reproduce", "table1", "--dry-run", *own, *machine)
    assert done.exit_code == 0, done.stderr
    released, equations, *_, trained, report = done.stdout.splitlines()
    assert equations == (
        "trustcache extract --classifier cifar-resnet32 --weights 'my file.pt' --as mine --data cifar10-train "
        "--data cifar10-test --workers 0 --device cpu --workspace 'w s' --data-root d"
    )
    assert "--protocol released --as mine-released --data" in released
    assert trained.endswith("--seed 4,5 --workers 0 --device cpu --workspace 'w s' --data-root d")
    assert report == "trustcache report --only table1 --workspace 'w s' --data-root d"
    assert not Path("w s").exists()


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (("cifar-resnet32 --data x",), "--data is the recipe's to say"),
        (("--weights x",), "it begins with the model's name"),
        (("",), "it begins with the model's name"),
        (("cifar-resnet32 --wieghts x",), "No such option: --wieghts"),
        (("cifar-resnet32 'x",), "No closing quotation"),
        (("cifar-resnet32", "cifar-resnet32 --weights x"), "two of them are called cifar-resnet32"),
    ],
)
def test_a_classifier_that_extract_would_not_take_is_refused(
    run_cli: RunCli, texts: tuple[str, ...], reason: str
) -> None:
    named = [word for text in texts for word in ("--classifier", text)]
    done = run_cli("reproduce", "table1", "--dry-run", "--data", "cifar10", *named)
    assert (done.exit_code, reason in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("names", "family", "meant"),
    [("table-1", "", "table1"), ("Table 1", "", "table1"), ("table1", "cifar-10", "cifar10")],
)
def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(names: str, family: str, meant: str) -> None:
    with pytest.raises(UsageError, match=rf"did you mean {meant}\b"):
        plan(RECIPES, [names], replace(PAPER, family=family))


def test_one_model_makes_all_but_what_takes_two() -> None:
    one = replace(CIFAR, models=OWN[:1])
    with pytest.raises(UsageError, match=r"figure-d.*--as NAME2"):
        plan(RECIPES, ["figure-d"], one)
    assert commands(one, "all")[-1] == "report"
