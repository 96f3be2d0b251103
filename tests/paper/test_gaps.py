"""The commands that a report prints below its gaps: run as they stand, they fill those gaps and no other rows."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from tests.index_builder import build_index
from trustcache.cache.workspace import Workspace
from trustcache.paper.gaps import as_named, reproduce_options
from trustcache.paper.paper_index import PaperIndex
from trustcache.report.records import Scored

Cli = Callable[..., Result]


def printed_commands(run_cli: Cli, key: str, *place: object) -> list[str]:
    lines = run_cli("report", "--only", key, *place).stdout.splitlines()
    return [line.strip() for line in lines if line.startswith("    trustcache ")]


def run_all(run_cli: Cli, commands: list[str]) -> None:
    for command in commands:
        assert run_cli(*shlex.split(command)[1:]).exit_code == 0, command


def rows_of(workspace: Workspace, key: str) -> set[tuple[str, str]]:
    """Subject and row of every row of ours, as tables.csv has them."""
    with (workspace.report / "tables.csv").open(encoding="utf-8") as file:
        return {
            (line["subject"], line["row"])
            for line in csv.DictReader(file)
            if (line["artefact"], line["kind"]) == (key, "ours")
        }


@pytest.mark.parametrize(
    ("key", "first"),
    [
        ("table1", ["--frozen --loss ss --alpha-pos 2 --alpha-neg 5 --seed 1 --epochs 4 --val-fraction 0.2"]),
        ("table1", ["--frozen --loss ce,ss --protocol released --preset paper-imagenet-resnet --epochs 2 --seed 0"]),
        (
            "table1",
            [
                "--loss ss --protocol released --preset paper-imagenet-resnet --epochs 1 --batch-size 100 --lr 0.002"
                " --seed 0 --workers 0"
            ],
        ),
        (
            "table-f",
            [
                "--frozen --loss ss --alpha-neg 4 --seed 0,1,2 --epochs 7",
                "--frozen --loss ss --alpha-neg 4 --seed 0 --epochs 7 --no-signed-distance",
            ],
        ),
        ("table-h", ["--frozen --loss class-balanced --base ss --alpha-pos 2 --alpha-neg 5 --seed 0 --epochs 3"]),
        (
            "figure4bc",
            [
                "--frozen --loss ss --alpha-pos 1 --alpha-neg 3 --seed 0,1,2 --epochs 3",
                "--frozen --loss ss --alpha-neg 2,4,6 --seed 0 --epochs 7 --val-fraction 0.2 --no-signed-distance",
            ],
        ),
        ("figure3", ["--frozen --loss ce --seed 0,1,2 --epochs 3"]),
    ],
)
def test_the_printed_commands_fill_the_gaps_with_runs_like_those_there(
    workspace: Workspace, run_cli: Cli, key: str, first: list[str]
) -> None:
    run_all(run_cli, [f"trustcache train {words}" for words in first])
    commands = printed_commands(run_cli, key)
    assert commands
    before = {(subject, row.partition(" (")[0]) for subject, row in rows_of(workspace, key)}
    run_all(run_cli, commands)
    assert not printed_commands(run_cli, key)
    after = rows_of(workspace, key)
    assert not [row for _, row in after if "seed)" in row or "seeds)" in row]
    named = {(subject, row) for subject, row in before if "α" in row or row in ("0.5", "2", "4", "6")}
    assert named <= after


def test_rows_of_one_loss_that_cannot_be_had_alike_are_said_to_differ(workspace: Workspace, run_cli: Cli) -> None:
    request = ("train", "--frozen", "--loss", "ss", "--seed", "0,1,2", "--epochs", 3)
    run_cli(*request, "--alpha-neg", "2,6")
    run_cli(*request, "--alpha-neg", "2", "--no-signed-distance")
    out = run_cli("report", "--only", "table-f").stdout
    assert "ss α⁻2, over ‖w‖" in out
    assert "more than one thing differs" not in out
    for run in workspace.runs.glob("*ss*"):
        if '"alpha_neg": 2.0' in (config := (run / "config.json").read_text()) and '"signed_distance": true' in config:
            for file in sorted(run.rglob("*"), reverse=True):
                file.rmdir() if file.is_dir() else file.unlink()
            run.rmdir()
    out = run_cli("report", "--only", "table-f").stdout
    assert "ss α⁻6, over ‖w‖" in out
    assert "more than one thing differs" in " ".join(out.split())


def test_commands_work_in_the_workspace_that_the_report_is_of(workspace: Workspace, run_cli: Cli) -> None:
    elsewhere = workspace.root.rename(workspace.root.with_name("else where"))
    place = ("--workspace", elsewhere)
    trained = run_cli("train", "--frozen", "--loss", "ce", "--seed", "0,1,2", "--epochs", 3, *place)
    assert f"trustcache report --workspace '{elsewhere}'" in trained.stderr
    assert f"trustcache runs list --workspace '{elsewhere}'" in " ".join(trained.stdout.split())
    commands = printed_commands(run_cli, "table1", *place)
    assert all(shlex.split(command)[-2:] == ["--workspace", str(elsewhere)] for command in commands)
    run_all(run_cli, commands)
    assert not printed_commands(run_cli, "table1", *place)


def test_a_training_cache_that_is_gone_ends_no_report(workspace: Workspace, run_cli: Cli) -> None:
    run_cli("train", "--frozen", "--loss", "ce", "--seed", "0", "--epochs", 3)
    shutil.rmtree(workspace.find_cache("train").folder)
    assert any("--loss focal,tcp" in command for command in printed_commands(run_cli, "table1"))


def test_what_has_not_been_begun_has_a_recipe_for_the_workspaces_own_data_and_models(
    workspace: Workspace, run_cli: Cli
) -> None:
    run_cli("train", "--frozen", "--loss", "ce", "--seed", "0", "--epochs", 3)
    (recipe,) = printed_commands(run_cli, "table-f")
    words = shlex.split(recipe)
    assert words[:5] == ["trustcache", "reproduce", "table-f", "--data", "digits"]
    assert words[-3:] == ["--protocol", "equations", "--frozen"]
    steps = run_cli(*words[1:], "--dry-run").stdout.splitlines()
    run_all(run_cli, steps[:1])  # finds the caches there, and finds them to be its own
    assert [shlex.split(step)[1] for step in steps] == ["extract", "train", "train", "report"]


def test_two_sweeps_that_differ_in_more_than_alpha_have_two_names(workspace: Workspace, run_cli: Cli) -> None:
    for epochs in (3, 4):
        run_cli("train", "--frozen", "--loss", "ss", "--alpha-neg", "2,4,6", "--seed", "0", "--epochs", epochs)
    printed_commands(run_cli, "figure4bc")
    subjects = {subject for subject, _ in rows_of(workspace, "figure4bc")}
    assert len(subjects) == 2
    assert any("epochs=3" in subject for subject in subjects)


def test_with_one_classifier_no_command_is_printed_for_what_needs_two(workspace: Workspace, run_cli: Cli) -> None:
    run_cli("train", "--frozen", "--loss", "ce", "--seed", "0", "--epochs", 3)
    for key in ("figure-d", "table-e"):
        out = run_cli("report", "--only", key).stdout
        assert "reproduce" not in out
        assert "second model" in " ".join(out.split())
    told = " ".join(run_cli("report").stdout.split())
    keys = re.findall(r"Not run yet: ([\w, .-]+); to make one: trustcache reproduce KEY", told)
    assert "table-f" in keys[0]
    assert not {"figure-d", "table-e"} & {*keys[0].split(", ")}
    refused = run_cli("reproduce", "figure-d", "--data", "digits", "--classifier", "cifar-resnet8", "--dry-run")
    assert refused.exit_code == 2
    assert "figure-d" in refused.stderr
    assert "second model" in refused.stderr


def test_no_command_fills_mc_dropout_of_a_classifier_without_dropout(workspace: Workspace, run_cli: Cli) -> None:
    short = ("--seed", 0, "--epochs", 1, "--workers", 0)
    run_cli("train", "--loss", "tcp", *short)
    run_cli("train", "--loss", "ss", "--start", "tcp", *short)
    out = run_cli("report", "--only", "table2").stdout
    assert "digits-net has no dropout" in " ".join(out.split())
    assert "--mc-dropout" not in out


def test_a_recipe_names_the_classifier_with_its_options_and_flags_but_not_those_that_released_replaces(
    tmp_path: Path,
) -> None:
    given = {"input_size": (8, 8), "mean": (0.5, 0.4, 0.3)}
    index = build_index(tmp_path, "mine", weights="w.pt", preprocessing=given)
    index = replace(index, meaning=replace(index.meaning, data=replace(index.meaning.data, kept_images=True)))
    text = " ".join(as_named(index))
    assert text.startswith("net --weights w.pt --preprocess input_size=8,8 --preprocess mean=0.5,0.4,0.3")
    assert "--keep-images" in text
    assert "mean=" not in " ".join(as_named(index, for_released=True))
    assert "input_size" in " ".join(as_named(index, for_released=True))


def test_fine_tunings_beside_heads_leave_the_printed_recipes_to_heads(workspace: Workspace, run_cli: Cli) -> None:
    run_cli("train", "--frozen", "--loss", "ce", "--seed", "0", "--epochs", 3)
    run_cli("train", "--loss", "ce", "--seed", "0", "--workers", 0)
    (recipe,) = printed_commands(run_cli, "table-f")
    assert "--frozen" in shlex.split(recipe)


def test_the_demo_in_a_workspace_does_not_stand_for_its_other_data(scored: Callable[..., Scored]) -> None:
    def at(data: str, training: str) -> Scored:
        return scored("ce", 0.7, dataset=data, classifier="net", oracle="net", training=training)

    paper = PaperIndex([at("digits-test", "frozen"), at("digits-test", "fine-tuned"), at("mnist-test", "frozen")])
    words = reproduce_options(paper)
    assert words is not None
    assert words[:2] == ["--data", "mnist"]
    assert "--frozen" in words
