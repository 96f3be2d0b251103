"""The file of a whole run: what is printed is taken back to the same effect, and mistakes are named with their file."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import Result

from cli import loaded
from cli.config import CONFIGURABLE, config_text, from_file
from tests.refusals import tells
from trustcache.cache.workspace import Workspace
from trustcache.oracles.runs import read_runs

RunCli = Callable[..., Result]
COMMANDS = {name: loaded(name) for name in CONFIGURABLE}
ONCE = {"config", "print_config", "quiet", "verbose", "debug", "json", "allow_code"}
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


def values(parameter: Any) -> st.SearchStrategy[Any]:
    """Values that an option may take."""
    kind = parameter.type
    name = type(kind).__name__.lower()
    if hasattr(kind, "choices"):
        one: st.SearchStrategy[Any] = st.sampled_from([*kind.choices])
    elif "int" in name:
        one = st.integers(getattr(kind, "min", None) or 2, getattr(kind, "max", None))
    elif "float" in name:
        one = st.floats(getattr(kind, "min", None) or 0, getattr(kind, "max", None), allow_nan=False)
    else:
        one = TEXT
    return st.lists(one, max_size=3) if parameter.multiple or parameter.nargs == -1 else one


@st.composite
def lines(draw: Callable[..., Any], name: str) -> list[str]:
    """The words of a command: any of its options, with any values."""
    words, rest = [], []
    for parameter in COMMANDS[name].params:
        if parameter.name in ONCE or not (getattr(parameter, "required", False) or draw(st.booleans())):
            continue
        if getattr(parameter, "is_flag", False):
            words += [draw(st.sampled_from([*parameter.opts, *parameter.secondary_opts]))]
            continue
        value = draw(values(parameter))
        several = value if isinstance(value, list) else [value]
        if parameter.opts[0].startswith("--"):
            words += [f"{parameter.opts[0]}={one}" for one in several]
        else:
            rest += [str(one) for one in several]
    return [*words, "--", *rest] if rest else words


@pytest.mark.parametrize("name", CONFIGURABLE)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_printed_is_taken_back_to_the_same_effect(name: str, data: Any, in_tmp_path: Path) -> None:
    words = data.draw(lines(name))
    typed = COMMANDS[name].make_context(name, [*words])
    text = config_text(typed, typed.params)
    Path("run.toml").write_text(text, encoding="utf-8")
    read = COMMANDS[name].make_context(name, ["--config", "run.toml"])
    params = from_file(read, read.params)
    assert effect(params) == effect(typed.params)
    assert config_text(read, params) == text


def effect(params: dict[str, Any]) -> dict[str, Any]:
    """The values that decide what a command does; typer makes paths of texts later."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in params.items() if key not in ONCE}


RUN = """
workspace = "elsewhere"

[train]
loss = ["ce", "ss"]
frozen = true
epochs = 3
seed = [0, 1]
val-fraction = 0.2

[calibrate]
run = "mcp"
coverage = 0.5
data = "digits-test"
"""


def test_one_file_holds_a_whole_run_and_what_is_typed_goes_before_it(
    workspace: Workspace, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.root.rename("elsewhere")
    monkeypatch.setenv("TRUSTCACHE_WORKSPACE", "not-this-one")
    Path("run.toml").write_text(RUN)
    done = run_cli("train", "--config", "run.toml", "--seed", "7")
    assert done.exit_code == 0, done.stderr
    configs = [run.config for run in read_runs(Workspace(Path("elsewhere")))]
    assert {(one.loss.name, one.seed, one.optimiser.epochs, one.val_fraction) for one in configs} == {
        ("ce", 7, 3, 0.2), ("ss", 7, 3, 0.2),
    }  # fmt: skip
    found = run_cli("calibrate", "--config", "run.toml")
    assert (found.exit_code, "coverage 50." in found.stdout) == (0, True)


def test_printing_does_nothing_else(run_cli: RunCli) -> None:
    done = run_cli("train", "--loss", "ss", "--frozen", "--lr", 0.5, "--print-config")
    assert (done.exit_code, [*Path().iterdir()]) == (0, [])
    table = tomllib.loads(done.stdout)["train"]
    assert (table["loss"], table["frozen"], table["lr"], table["protocol"]) == ("ss", True, 0.5, "equations")


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("[train]\nepoch = 3", ("epoch",)),
        ("[trian]\nepochs = 3", ("trian", "train")),
        ("epochs = 3", ("epochs", "workspace")),
        ("[train]\nepochs = 0", ("[train]", "epochs", "0")),
        ("[train]\nepochs = 'many'", ("epochs", "many")),
        ("[train]\nepochs = true", ("epochs",)),
        ("[train]\nfrozen = 1", ("frozen", "true or false")),
        ("[train]\nprotocol = 'mine'", ("protocol", "mine")),
        ("[train]\nloss = [[1]]", ("loss",)),
        ("[train.loss]\nss = 1", ("loss",)),
        ("[train]\nallow-code = ['a:b']", ("allow-code",)),
        ("[train]\ndebug = true", ("debug",)),
        ("[train", ("not valid TOML",)),
    ],
)
def test_a_mistake_is_named_with_its_file_and_key(run_cli: RunCli, text: str, facts: tuple[str, ...]) -> None:
    Path("run.toml").write_text(text)
    done = run_cli("train", "--config", "run.toml")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
    assert tells(done.stderr, "error: run.toml", *facts)


def test_a_file_that_is_not_there_is_named(run_cli: RunCli) -> None:
    done = run_cli("extract", "--config", "none.toml")
    assert (done.exit_code, tells(done.stderr, "--config none.toml")) == (2, True)


def test_code_that_a_file_names_runs_only_if_it_is_allowed(workspace: Workspace, run_cli: RunCli) -> None:
    Path("evil_of_file.py").write_text("open('ran', 'w').close()\ndef loss(z, correct):\n    return z * 0\n")
    Path("run.toml").write_text('[train]\nloss = "evil_of_file:loss"\nfrozen = true\nepochs = 1\n')
    done = run_cli("train", "--config", "run.toml")
    assert (done.exit_code, Path("ran").exists()) == (2, False)
    assert tells(done.stderr, "evil_of_file:loss", "--allow-code")
    assert run_cli("train", "--config", "run.toml", "--allow-code", "evil_of_file:loss").exit_code != 2
    assert Path("ran").exists()
