"""The commands that reports print: few lines, in the order to run them, and all known to the program."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from cli import loaded
from cli.program import COMMANDS
from tests.index_builder import RELEASED, build_identity, build_index
from trustcache.command_lines import (
    Evaluation,
    Extraction,
    Training,
    command_line,
    extract_line,
    extraction_options,
    merged,
    setting_words,
)
from trustcache.models.preprocessing import RELEASED_PREPROCESSING

WORDS = ("--classifier", "vit", "--frozen")
PLACE = ("--workspace", "else where")
ROOT = Path(__file__).parent.parent


def parse(line: str) -> dict[str, object]:
    """The parameters of a command line, by the program's own parser."""
    name, *words = shlex.split(line)[1:]
    return loaded(name).make_context(name, words).params


@pytest.mark.parametrize(
    "command",
    [
        Training(WORDS, ("ce", "ss"), (0, 1), ("--alpha-neg", "3,5")),
        Training((*WORDS, "--protocol", "released"), ("class-balanced",), (2,), bases=("focal", "ss")),
        Extraction(("--classifier", "vit", "--as", "a b"), ("digits-c/*", "digits-pgd")),
        Evaluation(),
    ],
)
def test_every_command_is_one_that_the_program_takes_in_the_workspace_named(command) -> None:
    line, *_ = merged([command], PLACE)  # an extraction is followed by an evaluation
    assert str(parse(line)["workspace"]) == "else where"


def test_a_setting_is_given_by_its_own_option_or_by_its_name_where_the_loss_comes_from_outside() -> None:
    words = [*setting_words("alpha_neg", [3.0, 5.0]), *setting_words("slack", [0.5]), *setting_words("base", ["ss"])]
    given = parse(command_line("train", "--loss", "ss", *words))
    assert (given["alpha_neg"], list(given["setting"]), given["base"]) == ("3,5", ["slack=0.5"], "ss")


def test_words_are_quoted_for_a_shell() -> None:
    line = command_line("extract", "--data", "it's/*", "--as", "a b")
    assert shlex.split(line) == ["trustcache", "extract", "--data", "it's/*", "--as", "a b"]


def test_the_options_of_a_cache_are_those_of_extract(scored) -> None:
    index = scored("mcp", model="cifar-resnet8", weights="w.safetensors", classifier="mine").index
    given = parse(command_line("extract", *extraction_options(index), "--data", "digits-test"))
    assert list(given["data"]) == ["digits-test"]


def test_an_extraction_is_written_again_as_the_user_gave_it(tmp_path: Path) -> None:
    given = {"input_size": (8, 8), "mean": (0.48145466, 0.4578275, 0.40821073), "crop_mode": "squash"}
    index = build_index(tmp_path, "mine", weights="my w.pt", preprocessing=given, precision="bf16", features="none")
    index.identity.arguments["num_classes"] = 3
    words = shlex.split(extract_line(index, "cars"))
    assert words == [
        *("trustcache", "extract", "--classifier", "net", "--weights", "my w.pt", "--model-arg", "num_classes=3"),
        *("--as", "mine", "--preprocess", "input_size=8,8"),
        *("--preprocess", "mean=0.48145466,0.4578275,0.40821073", "--preprocess", "crop_mode=squash"),
        *("--precision", "bf16", "--features", "none", "--data", "cars"),
    ]
    parse(shlex.join(words))
    released = build_identity(preprocessing=RELEASED)
    index = build_index(tmp_path, "net-released", identity=released, preprocessing={**RELEASED_PREPROCESSING})
    assert extract_line(index, "cars") == "trustcache extract --classifier net --protocol released --data cars"


def test_weights_below_the_current_folder_are_named_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = build_index(tmp_path, "mine", weights=str(tmp_path / "a" / "w.pt"))
    assert str(tmp_path / "a" / "w.pt") in extraction_options(index)
    monkeypatch.chdir(tmp_path)
    assert "a/w.pt" in extraction_options(index)


MENTIONED = re.compile(r"trustcache ([a-z-]+)((?: (?:--[a-z-]+|[A-Za-z0-9./{}_]+(?:,[A-Za-z0-9]+)*))*)")


def test_the_options_that_messages_name_are_those_of_the_command() -> None:
    commands = {name: loaded(name) for name in COMMANDS}
    named = 0
    for path in [*ROOT.glob("trustcache/**/*.py"), *ROOT.glob("cli/**/*.py")]:
        # A message may go on in the next line's string.
        text = re.sub(r'"\n\s*f?"', "", path.read_text(encoding="utf-8"))
        for command, rest in MENTIONED.findall(text):
            if command in commands:
                options = {name for parameter in commands[command].params for name in parameter.opts}
                found = {word for word in rest.split() if word.startswith("--")}
                assert found <= options | {"--help"}, (path, command)
                named += len(found)
    assert named > 10


def test_trainings_of_the_same_words_and_seeds_become_one_and_extractions_of_one_classifier_too() -> None:
    lines = merged(
        [
            Training(WORDS, ("ce",), (0, 1)),
            Extraction(("--classifier", "vit"), ("a",)),
            Training(WORDS, ("ss",), (0, 1)),
            Training(WORDS, ("ss",), (2,)),
            Extraction(("--classifier", "vit"), ("b", "a")),
        ]
    )
    assert lines == (
        "trustcache extract --classifier vit --data a --data b",
        "trustcache train --classifier vit --frozen --loss ce,ss --seed 0,1",
        "trustcache train --classifier vit --frozen --loss ss --seed 2",
        "trustcache evaluate",
    )


def test_what_was_trained_already_is_scored_once_more_only_where_there_is_something_new() -> None:
    (line,) = merged([Training(WORDS, ("ce",), (0,))])
    assert line == "trustcache train --classifier vit --frozen --loss ce --seed 0"
    assert merged([Evaluation(), Evaluation()]) == ("trustcache evaluate",)
    assert merged([]) == ()
