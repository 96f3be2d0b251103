"""How commands behave at the prompt: help, order, quiet and verbose, colours, pipes, and --json."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from cli import loaded
from cli.program import COMMANDS, PANELS
from tests.refusals import tells
from trustcache.cache.workspace import Workspace

RunCli = Callable[..., Result]
ROOT = Path(__file__).parent.parent.parent
MODULE = [sys.executable, "-m", "trustcache"]


def environment(**given: str) -> dict[str, str]:
    """The environment of a process that knows no colours but what is given."""
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "TERM": "xterm",
        **given,
    }


def on_a_terminal(words: list[str], folder: Path, columns: int = 80, **given: str) -> str:
    """What a command prints on a terminal of some width."""
    ours, theirs = pty.openpty()
    env = environment(COLUMNS=str(columns), **given)
    process = subprocess.Popen([*MODULE, *words], cwd=folder, env=env, stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    printed = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the process has ended
            break
        printed += part
    process.wait()
    os.close(ours)
    return printed.decode()


def test_alone_it_says_where_to_start_and_lists_the_commands_in_the_order_of_use(run_cli: RunCli) -> None:
    done = run_cli()
    assert done.exit_code == 0
    assert tells(done.stdout, "trustcache demo")
    places = [done.stdout.index(f"│ {name} ") for name in COMMANDS]
    assert places == sorted(places)
    assert COMMANDS[0] == "demo"
    assert all(panel in done.stdout for panel in PANELS)


@pytest.mark.parametrize("words", [[], ["data"], ["cache", "list"], ["train"]], ids=str)
def test_a_short_option_asks_for_help_too(run_cli: RunCli, words: list[str]) -> None:
    short, long = run_cli(*words, "-h"), run_cli(*words, "--help")
    assert (short.exit_code, short.stdout) == (0, long.stdout)


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        ("--workspace small report", ("--workspace", "after the command")),
        ("reproduce table1 --weights x.pt", ("inside --classifier", "'cifar-resnet32 --weights …'")),
        ("report --only tabel1", ("did you mean table1",)),
        ("reproduce table9", ("did you mean table1, table2, table3?",)),
        ("data show cifar10", ("did you mean cifar10-test, cifar10-train",)),
        ("data show cifar-10", ("did you mean cifar10-test, cifar10-train",)),
    ],
)
def test_a_refusal_names_the_remedy(with_runs: Workspace, run_cli: RunCli, words: str, facts: tuple[str, ...]) -> None:
    done = run_cli(*words.split())
    assert done.exit_code == 2
    assert tells(" ".join(re.sub("[│\n]", " ", done.stderr).split()), *facts)


def test_the_package_runs_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run([*MODULE, "--version"], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "trustcache", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands_and_their_options(tmp_path: Path, shell: str) -> None:
    script = subprocess.run(
        [*MODULE, "--show-completion", shell],
        env=environment(_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_TRUSTCACHE_COMPLETE" in script.stdout
    for typed, wanted in (
        ("trustcache ext", "extract"),
        ("trustcache cache li", "list"),
        ("trustcache train --fro", "--frozen"),
    ):
        # Each shell hands the line over in its own variables.
        words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1), "_TYPER_COMPLETE_ARGS": typed}
        done = subprocess.run(
            MODULE,
            cwd=tmp_path,
            env=environment(_TRUSTCACHE_COMPLETE=f"complete_{shell}", _TYPER_COMPLETE_FISH_ACTION="get-args", **words),
            capture_output=True,
            text=True,
        )
        assert wanted in done.stdout, done.stderr


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "-h"], ["data", "list"], ["bound", "--samples", "99", "--numbers", "9"]], ids=str
)
def test_no_color_leaves_no_escape_code(tmp_path: Path, words: list[str]) -> None:
    assert "\x1b[" not in on_a_terminal(words, tmp_path, NO_COLOR="1")
    assert "\x1b[" in on_a_terminal(words, tmp_path)
    forced = environment(NO_COLOR="1", FORCE_COLOR="1")
    piped = subprocess.run([*MODULE, *words], cwd=tmp_path, env=forced, capture_output=True, text=True)
    assert "\x1b[" not in piped.stdout


def test_a_table_fits_the_terminal_and_has_tabs_in_a_pipe(
    with_runs: Workspace, run_cli: RunCli, tmp_path: Path
) -> None:
    shown = on_a_terminal(["cache", "list"], tmp_path, columns=60, NO_COLOR="1")
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 60
    assert "\t" not in shown
    heads, *rows = (line.split("\t") for line in run_cli("cache", "list").stdout.splitlines())
    assert heads == ["cache", "role", "samples", "state"]
    assert rows == [
        ["digits-net/digits-test", "test", "647", "4/4 shards"],
        ["digits-net/digits-train", "train", "700", "4/4 shards"],
    ]


def test_the_figures_of_bound_have_tabs_in_a_pipe(run_cli: RunCli) -> None:
    heads, row = (line.split("\t") for line in run_cli("bound", "--samples", 99, "--numbers", 9).stdout.splitlines())
    assert (len(heads), row[3]) == (len(row), "99")


def test_a_name_with_a_tab_makes_no_column(
    workspace: Workspace,
    run_cli: RunCli,
    image_folder: Callable[..., Path],
    manifest_file: Callable[..., Path],
    extract_digits: Callable[..., Result],
) -> None:
    photos = image_folder({f"{digit}": 1 for digit in range(10)})
    assert extract_digits("--data", manifest_file("a\tb", photos)).exit_code == 0
    rows = [line.split("\t") for line in run_cli("cache", "list").stdout.splitlines()]
    assert {len(row) for row in rows} == {4}


def test_quiet_says_results_and_errors_only(
    with_runs: Workspace, run_cli: RunCli, extract_digits: Callable[..., Result]
) -> None:
    words = ("train", "--frozen", "--loss", "ce", "--epochs", 5)
    quiet = run_cli(*words, "-q")
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    assert "mcp" in quiet.stdout
    assert "trustcache" not in quiet.stdout
    assert "trustcache runs list" in run_cli(*words).stdout
    extracted = extract_digits("-q", "--subset", 20, name="few")
    assert (len(extracted.stdout.splitlines()), extracted.stderr) == (1, "")
    assert "few is right on" in extracted.stdout
    assert run_cli("cache", "show", "no/such", "-q").stderr.startswith("error: ")
    verbose = run_cli("cache", "verify", "-v")
    assert verbose.stderr.splitlines()[-1].startswith("took ")
    assert run_cli("cache", "verify").stderr == ""  # the next command says as much as ever


def test_the_table_of_train_has_mcp_on_the_same_rows(with_runs: Workspace, run_cli: RunCli) -> None:
    table = run_cli("train", "--frozen", "--loss", "ce", "--epochs", 5, "--seed", "0,1").stdout
    assert [line.split()[0] for line in table.splitlines() if line.strip()].count("mcp") == 1
    document = json.loads(run_cli("train", "--frozen", "--loss", "ce", "--epochs", 5, "--seed", "0,1", "--json").stdout)
    assert f"{100 * document['mcp']['auc']:.2f}" in table
    assert tells(" ".join(table.split()), "mean over the seeds")
    without = run_cli("train", "--frozen", "--loss", "ce", "--epochs", 5, "--val-fraction", 0)
    assert without.exit_code == 0


JSON = {
    "data list": "data list",
    "data show": "data show digits-c",
    "data check": "data check digits-test",
    "cache list": "cache list",
    "cache show": "cache show digits-net/digits-test",
    "cache verify": "cache verify",
    "cache rm": "cache rm digits-net/digits-test --yes",
    "runs list": "runs list",
    "runs show": "runs show digits-net-ce-frozen",
    "runs rm": "runs rm digits-net-ce-frozen --yes",
    "train": "train --frozen --loss ss --epochs 5",
    "evaluate": "evaluate",
    "report": "report",
    "calibrate": "calibrate mcp --data digits-test --coverage 0.8",
    "sets": "sets --data digits-test --part first-half",
}


def fields(document: dict[str, object]) -> set[str]:
    """The names of a document's fields, and of those of the tables in its lists."""
    entries = [each for value in document.values() if isinstance(value, list) for each in value]
    return {*document, *(name for each in entries if isinstance(each, dict) for name in each)} - {"schema", "command"}


@pytest.mark.parametrize("command", JSON)
def test_json_is_one_document_on_standard_output(with_runs: Workspace, run_cli: RunCli, command: str) -> None:
    done = run_cli(*JSON[command].split(), "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["schema"], document["command"]) == (1, command)
    page = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    sections = {part.partition("\n")[0]: part for part in page.split("\n## ")}
    section = sections[command] + (sections["report"] if "as `report`" in sections[command] else "")
    assert not {name for name in fields(document) if f"`{name}`" not in section}


def test_every_command_with_a_result_has_json() -> None:
    with_json = set()
    for name in COMMANDS:
        found = loaded(name)
        for path, one in getattr(found, "commands", {"": found}).items():
            if any("--json" in option.opts for option in one.params):
                with_json.add(f"{name} {path}".strip())
    assert with_json == {*JSON, "demo"}


def test_a_result_with_a_fault_is_printed_and_ends_with_its_code(with_runs: Workspace, run_cli: RunCli) -> None:
    (with_runs.cache_folder("digits-net", "digits-test") / "00000.h5").unlink()
    done = run_cli("cache", "verify", "--json")
    assert done.exit_code == 1
    faults = {one["cache"]: one["faults"] for one in json.loads(done.stdout)["caches"]}
    assert [*faults["digits-net/digits-test"]] == ["00000"]
    assert faults["digits-net/digits-train"] == {}


def test_json_escapes_what_a_terminal_would_act_on(run_cli: RunCli, tmp_path: Path) -> None:
    folder = tmp_path / "a\u202eb\x1b[2Jc\xad"
    (folder / "cat").mkdir(parents=True)
    done = run_cli("data", "show", folder, "--json")
    assert not {"\u202e", "\x1b", "\xad"} & set(done.stdout)
    assert json.loads(done.stdout)["data"][0]["name"] == folder.name
