"""No code runs because a file names it: only what the user typed, now or before for the same workspace."""

from __future__ import annotations

import ast
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import Result

from tests.refusals import tells
from trustcache.cache.meaning import CacheRecord
from trustcache.cache.records import read_record, write_record
from trustcache.cache.workspace import Workspace
from trustcache.evaluate.sweep import Sweep
from trustcache.losses import LOSSES
from trustcache.oracles.runs import RunConfig
from trustcache.registry.permission import MARK

RunCli = Callable[..., Result]
ROOT = Path(__file__).parent.parent
HOSTILE = """
from pathlib import Path

Path("it-ran").touch()


def run(*values, **settings):
    return values[0]
"""


@pytest.fixture
def hostile(in_tmp_path: Path) -> str:
    """Name of a function in the working folder, whose module leaves a file `it-ran` when it is imported."""
    module = f"hostile_{in_tmp_path.name}".replace("-", "_")
    Path(f"{module}.py").write_text(HOSTILE, encoding="utf-8")
    return f"{module}:run"


def ran() -> bool:
    return Path("it-ran").exists()


def in_classifier(table: dict[str, Any], name: str) -> None:
    table["meaning"]["classifier"]["name"] = name


def in_layout(table: dict[str, Any], name: str) -> None:
    table["made_from"]["manifest"]["files"] = [{"layout": name, "keys": {"path": "images"}}]


def in_loss(table: dict[str, Any], name: str) -> None:
    table["loss"]["name"] = name


def in_backbone(table: dict[str, Any], name: str) -> None:
    table["backbone"]["name"] = name


def in_winner(table: dict[str, Any], name: str) -> None:
    first, *others = table["candidates"]
    table["candidates"] = [first | {"method": name, "runs": [name]}, *others]


TUNED, FROZEN = "digits-net-ce-fine-tuned", "digits-net-ce-frozen"
PLACES = [
    (CacheRecord, in_classifier, "predict mcp photo.png"),
    (CacheRecord, in_layout, "train --epochs 1 --loss tcp"),
    (CacheRecord, in_layout, f"calibrate {TUNED} --coverage 0.5"),
    (CacheRecord, in_layout, f"export {FROZEN}"),
    (RunConfig, in_loss, "report"),
    (RunConfig, in_backbone, f"predict {TUNED} photo.png"),
    (RunConfig, in_backbone, f"export {TUNED}"),
    (Sweep, in_winner, "predict winner photo.png"),
    (Sweep, in_winner, "calibrate winner --coverage 0.5"),
]
"""Where a workspace may name code, and a command that would run it without this care."""


@pytest.mark.parametrize(("kind", "put", "line"), PLACES)
def test_a_workspace_runs_no_code_that_it_names(
    with_runs: Workspace, run_cli: RunCli, hostile: str, digit_files: Path, kind: Any, put: Any, line: str
) -> None:
    shutil.copy(min(digit_files.iterdir()), "photo.png")
    if kind is Sweep:
        assert run_cli("train", "--frozen", "--loss", "ce", "--sweep", "--epochs", 1).exit_code == 0
        shutil.copytree(next(with_runs.runs.glob(f"{FROZEN}*")), with_runs.runs / hostile)
    names = {CacheRecord: "index.json", RunConfig: "config.json"}
    folder = with_runs.sweeps if kind is Sweep else with_runs.root
    paths = list(folder.rglob(names.get(kind, "*.json")))
    assert paths
    for path in paths:
        # Written as whoever made the workspace could, with the checksums that it may have.
        table = msgspec.to_builtins(read_record(path, kind, ""))
        put(table, hostile)
        record = msgspec.convert(table, kind)
        write_record(path, record)
        if kind is RunConfig:
            path.parent.rename(with_runs.runs / record.name)
    done = run_cli(*line.split())
    assert not ran(), (done.stdout, done.stderr)
    if kind is Sweep:  # no run has a name that would be code
        assert done.exit_code in (1, 2)
    elif done.exit_code:
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert tells(done.stderr, "error: ", hostile, f"--allow-code {hostile}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('losses = ["NAME"]', "train --frozen --preset theirs.toml"),
        ('losses = ["tcp"]\nstart = "NAME"\n', "train --preset theirs.toml --epochs 1"),
        ('name = "x"\nrole = "test"\n[[files]]\nlayout = "NAME"\npath = "."\n', "data check theirs.toml"),
        ('name = "x"\nrole = "test"\n[[files]]\nlayout = "NAME"\npath = "."\n', "calibrate mcp --data theirs.toml"),
    ],
)
def test_a_preset_or_manifest_runs_no_code_that_it_names(
    workspace: Workspace, run_cli: RunCli, hostile: str, text: str, line: str
) -> None:
    Path("theirs.toml").write_text(text.replace("NAME", hostile), encoding="utf-8")
    assert run_cli(*line.split()).exit_code in (0, 2)
    assert not ran()


def test_an_installed_name_counts_but_not_one_that_lies_in_the_working_folder(
    workspace: Workspace, run_cli: RunCli, hostile: str
) -> None:
    package = Path("theirs-1.0.dist-info")
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n", encoding="utf-8")
    (package / "entry_points.txt").write_text(f"[trustcache.losses]\ntheirs = {hostile}\n", encoding="utf-8")
    vars(LOSSES).pop("_points", None)
    done = run_cli("train", "--frozen", "--loss", "theirs")
    vars(LOSSES).pop("_points", None)
    assert (done.exit_code, ran()) == (2, False)


@pytest.fixture
def photo(digit_files: Path, in_tmp_path: Path) -> Path:
    return Path(shutil.copy(min(digit_files.iterdir()), "photo.png"))


@pytest.fixture
def made(run_cli: RunCli, own_model: Callable[..., str]) -> str:
    """Name of a user's own classifier, which was typed when a workspace was made with it."""
    name = own_model()
    extract = ("extract", "--classifier", name, "--as", "mine", "--data", "digits-test", "--workers", 0)
    assert run_cli(*extract).exit_code == 0
    return name


def test_what_was_typed_once_is_remembered_for_its_workspace(run_cli: RunCli, made: str, photo: Path) -> None:
    assert run_cli("predict", "mcp", photo).exit_code == 0
    assert run_cli("predict", "mcp", photo, "--workspace", Path("trustcache-workspace").resolve()).exit_code == 0


def without_the_mark() -> None:
    (Path("trustcache-workspace") / MARK).unlink()


def another_mark() -> None:
    (Path("trustcache-workspace") / MARK).write_text("0" * 32)


def moved() -> None:
    Path("trustcache-workspace").rename("theirs")
    Path("trustcache-workspace").symlink_to("theirs")


def no_longer_remembered() -> None:
    (kept,) = Path(os.environ["XDG_CONFIG_HOME"]).rglob("*.jsonl")
    kept.write_bytes(b"\xff\x00[")


@pytest.mark.parametrize("change", [without_the_mark, another_mark, moved, no_longer_remembered])
def test_another_workspace_has_no_part_in_it(
    run_cli: RunCli, made: str, photo: Path, change: Callable[[], None]
) -> None:
    change()
    refused = run_cli("predict", "mcp", photo)
    assert refused.exit_code == 2
    assert tells(refused.stderr, made, f"--allow-code {made}")
    assert run_cli("predict", "mcp", photo, "--allow-code", made).exit_code == 0
    assert run_cli("predict", "mcp", photo).exit_code == 0, "now it is remembered"


def test_code_of_that_name_elsewhere_has_no_part_in_it(
    run_cli: RunCli, made: str, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = Path(f"{made.partition(':')[0]}.py")
    (Path("theirs")).mkdir()
    (Path("theirs") / code).write_text(f"raise SystemExit('it ran')\n{code.read_text()}")
    code.unlink()
    monkeypatch.chdir("theirs")
    refused = run_cli("predict", "mcp", "../photo.png", "--workspace", "../trustcache-workspace")
    assert (refused.exit_code, "--allow-code" in refused.stderr) == (2, True)


def test_a_file_named_like_code_among_the_images_is_not_taken_for_typed(
    with_runs: Workspace, run_cli: RunCli, hostile: str, photo: Path
) -> None:
    for path in with_runs.root.rglob("index.json"):
        table = msgspec.to_builtins(read_record(path, CacheRecord, ""))
        in_classifier(table, hostile)
        write_record(path, msgspec.convert(table, CacheRecord))
    Path(hostile).mkdir()
    shutil.copy(photo, hostile)
    assert run_cli("predict", "mcp", hostile).exit_code == 2
    assert not ran()


def test_allow_code_takes_a_function_only(run_cli: RunCli) -> None:
    done = run_cli("cache", "list", "--allow-code", "my_module")
    assert done.exit_code == 2
    assert tells(done.stderr, "--allow-code my_module", "package.module:function")


IMPORTS = re.compile(
    r"resolve_name|import_module|__import__|distributions\(|spec_from_file|module_from_spec|run_path|run_module"
    r"|\bexec\(|(?<![.\w])eval\(|(?<![.\w])compile\(|literal_eval|pickle\.|Unpickler|torch\.load\(|np\.load\(|joblib"
    r"|jit\.load\(|export\.load\(|from_pretrained\(|torch\.hub|subprocess|os\.system|Popen|yaml|from_string|marshal|shelve|dill"
)
CHECKED = {
    "trustcache/registry/entries.py": ["distributions("],  # installed packages
    "trustcache/registry/options.py": ["literal_eval"],
    "trustcache/registry/permission.py": ["resolve_name", "spec_from_file", "module_from_spec"],  # with a permission
    "trustcache/models/programs.py": ["jit.load(", "export.load("],  # with a permission
    "trustcache/deploy/export.py": ["export.load("],  # what it has just written
    "trustcache/models/hub_folders.py": ["from_pretrained("],  # trust_remote_code=False, and no pickles
    "cli/program.py": ["import_module"],  # the package's own commands
    "trustcache/__main__.py": ["import_module"],  # the command line
    "trustcache/__init__.py": ["import_module"],  # the package's own modules
    "trustcache/report/compared.py": ["import_module"],  # packages by their own names
    "trustcache/cache/array_files.py": ["np.load("],  # no pickles
    "trustcache/models/timm_weights.py": ["np.load("],  # no pickles
    "trustcache/models/zoo/registry.py": ["resolve_name"],  # the package's own networks
    "trustcache/data/variants/attacks.py": ["resolve_name"],  # the package's own attacks
    "trustcache/models/checkpoints.py": ["torch.load(", "Unpickler"],  # weights_only; the name in torch's errors
    "trustcache/oracles/training_loop.py": ["torch.load(", "pickle."],  # weights_only; the error's class
    "trustcache/data/decoders.py": ["pickle."],  # between its own processes, in a folder that only the user can enter
    "trustcache/data/layouts/cifar.py": [
        "np.load(",
        "Unpickler",
        "pickle.",
    ],  # no pickles; stand-ins for plain arrays only
}
"""Ways from a text or a file to running code, by the files that have one, each of which was looked at."""


def test_no_other_way_leads_from_a_file_to_running_code() -> None:
    found: dict[str, set[str]] = {}
    for path in sorted([*(ROOT / "trustcache").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]):
        text = ast.unparse(ast.parse(path.read_text(encoding="utf-8")))  # without comments
        if ways := set(IMPORTS.findall(text)):
            found[path.relative_to(ROOT).as_posix()] = ways
    assert found == {name: set(ways) for name, ways in CHECKED.items()}


def test_checkpoints_are_read_without_running_code() -> None:
    calls = [
        node
        for path in (ROOT / "trustcache").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load")
    ]
    safe = {"weights_only=True", "allow_pickle=False"}
    assert calls
    assert all(safe & {f"{word.arg}={ast.unparse(word.value)}" for word in call.keywords} for call in calls)
