"""What many tests need: a fitted classifier, a workspace with its caches, data, and the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Models this small gain nothing from more threads, and on a busy machine these wait for one another. Read on import.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Else each of the processes that tests start would compile every module anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Numbers are compared with float32's, on a GPU too.
os.environ["TRUSTCACHE_PRECISION"] = "float32"

import hypothesis
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from cli import app
from tests.command_process import CommandProcess
from trustcache.cache.workspace import Workspace
from trustcache.registry import Registry
from trustcache.registry.permission import CodePermission, code_permission

if TYPE_CHECKING:
    from tests.faults.forks import Forks
    from trustcache.models.classifiers import Classifier

sys.dont_write_bytecode = False  # was set by the variable removed above

# torch and timm are imported where they are needed: tests of plain arithmetic should not wait for them.

# A busy machine is no failure. Where an invariant breaks, few examples show it; tests of rare cases ask for more.
hypothesis.settings.register_profile("without a stopwatch", deadline=None, max_examples=30)
hypothesis.settings.load_profile("without a stopwatch")

pytest_plugins = ["tests.record_fixtures", "tests.doctest_workspace", "tests.faults.table"]

ROOT = Path(__file__).parent.parent
LABEL = "digits-net"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, lest one process works at them while the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def classifier_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a cifar-resnet8, fitted on digits-fit so briefly that it errs on about a tenth of the others.

    Use with `--preprocess input_size=8`, or as `digits_classifier`.
    """
    from trustcache.paper.demo import fit_digits

    path = tmp_path_factory.mktemp("weights") / f"{LABEL}.safetensors"
    fit_digits(path, Path())
    return path


@pytest.fixture(scope="session")
def digits_classifier(classifier_file: Path) -> Classifier:
    """The classifier of `classifier_file`, ready to call."""
    from trustcache.models.building import ModelSpec
    from trustcache.models.classifiers import load_classifier

    spec = ModelSpec("cifar-resnet8", str(classifier_file), preprocessing={"input_size": (8, 8)})
    return load_classifier(spec)


@pytest.fixture(scope="session")
def prepared_workspace(tmp_path_factory: pytest.TempPathFactory, digits_classifier: Classifier) -> Workspace:
    """Caches of digits-train and digits-test by `digits_classifier`, four shards each; to be read only."""
    from trustcache.data.dataset import open_dataset
    from trustcache.data.known_data import find_manifests
    from trustcache.extract.on_disk import extract
    from trustcache.extract.settings import ExtractSettings

    workspace = Workspace(tmp_path_factory.mktemp("prepared"))
    settings = ExtractSettings(batch_size=100, workers=0, device="cpu", shard_rows=200)
    for name in ("digits-train", "digits-test"):
        dataset = open_dataset(find_manifests(name)[0], Path())
        extract(digits_classifier, LABEL, dataset, Path(), workspace.cache_folder(LABEL, name), settings)
    return workspace


@pytest.fixture
def workspace(prepared_workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy of `prepared_workspace` to change at will; where `run_cli` finds it without --workspace."""
    root = tmp_path / "trustcache-workspace"
    shutil.copytree(prepared_workspace.root, root)
    return Workspace(root)


@pytest.fixture(autouse=True)
def nothing_allowed() -> Iterator[None]:
    """Let no code run that is named as `package.module:function`, but what the test itself allows."""
    with code_permission(CodePermission()):
        yield


@pytest.fixture(scope="session", autouse=True)
def disk_not_waited_for() -> Iterator[None]:
    """Let files be safe from a killed process only: no power fails in a test, and waiting takes a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def short_training() -> None:
    """Let heads on few rows, and the largest network of the post-hoc scores, learn briefly; few tests ask what."""
    from trustcache.protocols import LEAST_STEPS
    from trustcache.scores.small_networks import ConfidenceNetwork

    LEAST_STEPS.update(adam=100, sgd=20)
    ConfidenceNetwork.hidden = (32,) * 4


@pytest.fixture(scope="session", autouse=True)
def processes_not_waited_for() -> None:
    """Let torch's loader wait for a decoding process that hangs half a second, not five."""
    from torch.utils.data import _utils, dataloader

    _utils.MP_STATUS_CHECK_INTERVAL = 0.5
    dataloader._MultiProcessingDataLoaderIter._try_get_data.__defaults__ = (0.5,)  # as it is without an argument


@pytest.fixture(autouse=True)
def figures_left_out(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave charts and the folder of figures out of reports, of whose time they take half, but in `figures` tests."""
    if not request.node.get_closest_marker("figures"):
        from trustcache.report.render import drawing

        monkeypatch.setattr(drawing, "_draw", lambda folder, name, chart: None)
        monkeypatch.setattr(drawing, "_svg", lambda spec: "<svg></svg>")


@pytest.fixture
def in_tmp_path(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in `tmp_path`, with no workspace or data root from the environment, and a user's settings of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
    monkeypatch.setattr(sys, "path", [*sys.path])  # a user's own module puts its folder there
    monkeypatch.delenv("TRUSTCACHE_WORKSPACE", raising=False)
    monkeypatch.delenv("TRUSTCACHE_DATA", raising=False)
    return tmp_path


@pytest.fixture
def run_cli(in_tmp_path: Path) -> Iterator[Callable[..., Result]]:
    """`run_cli("cache", "list")`: the command in this process, in `tmp_path`; its exit_code, stdout and stderr.

    An exception that the command line does not turn into a sentence is raised.
    """
    handler = signal.getsignal(signal.SIGTERM)

    def run(*args: object) -> Result:
        return CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def extract_digits(run_cli: Callable[..., Result], classifier_file: Path) -> Callable[..., Result]:
    """`extract_digits("--precision", "bf16")`: what made digits-test's cache in `workspace`, with options."""

    def run(*options: object, weights: Path = classifier_file, name: str = LABEL, data: str = "digits-test") -> Result:
        model = ("--classifier", "cifar-resnet8", "--weights", weights, "--preprocess", "input_size=8", "--as", name)
        work = ("--data", data, "--device", "cpu", "--workers", 0, "--batch-size", 100, "--shard-rows", 200)
        return run_cli("extract", *model, *work, *options)

    return run


@pytest.fixture(scope="session")
def command_server() -> Iterator[None]:
    """Run what commands in processes of their own are forked from."""
    from multiprocessing import forkserver

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        forkserver.ensure_running()
    yield
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture
def start_cli(in_tmp_path: Path, command_server: None) -> Iterator[Callable[..., CommandProcess]]:
    """`start_cli("extract", …)`: the command in a process of its own, to be killed; keywords of `CommandProcess`."""
    started: list[CommandProcess] = []

    def start(*args: object, **given: Any) -> CommandProcess:
        started.append(CommandProcess([str(arg) for arg in args], **given))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Run commands in forked processes."""
    from tests.faults.forks import Forks

    if not shutil.which("cc"):
        pytest.skip("needs a C compiler, for the calls that fail")
    started = Forks(tmp_path_factory.mktemp("forks"))
    yield started
    started.close()


@pytest.fixture
def install_entry_point(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`install_entry_point(LAYOUTS, "mine", "my_module:function")`: an installed package adds a name to a registry."""
    changed: list[Registry[Any]] = []

    def install(registry: Registry[Any], name: str, value: str) -> None:
        package = in_tmp_path / "site" / f"added_{name.replace('-', '_')}-1.0.dist-info"
        package.mkdir(parents=True)
        (package / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: added-{name}\nVersion: 1.0\n", encoding="utf-8"
        )
        (package / "entry_points.txt").write_text(f"[{registry.group}]\n{name} = {value}\n", encoding="utf-8")
        monkeypatch.syspath_prepend(in_tmp_path / "site")
        monkeypatch.syspath_prepend(in_tmp_path)  # where the function is
        vars(registry).pop("_points", None)
        registry._loaded.clear()
        changed.append(registry)

    yield install
    for registry in changed:
        vars(registry).pop("_points", None)
        registry._loaded.clear()


@pytest.fixture
def own_model(in_tmp_path: Path) -> Callable[..., str]:
    """`own_model("x * 2")`: a user's module:function for --classifier, whose features x are some pixels.

    Its last layer passes them on unchanged, so that logits are known exactly, on any machine and in any batch. With
    --model-arg classes=N it has N of them. SECONDS_A_BATCH in the environment makes it slow.
    """

    def make(logits: str = "x") -> str:
        name = f"model_of_{in_tmp_path.name}".replace("-", "_")
        (in_tmp_path / f"{name}.py").write_text(OWN_MODEL.replace("LOGITS", logits), encoding="utf-8")
        sys.modules.pop(name, None)
        return f"{name}:build"

    return make


OWN_MODEL = """
import os
import time

import torch


class Model(torch.nn.Module):
    pretrained_cfg = {"input_size": (3, 8, 8), "mean": (0, 0, 0), "std": (1, 1, 1), "crop_pct": 1.0}

    def __init__(self, classes):
        super().__init__()
        self.last = torch.nn.Linear(classes, classes, bias=False)
        torch.nn.init.eye_(self.last.weight)

    def forward(self, pixels):
        time.sleep(float(os.environ.get("SECONDS_A_BATCH", 0)))
        flat = pixels.flatten(1)
        x = flat[:, :: flat.shape[1] // self.last.in_features][:, : self.last.in_features]
        return self.last(LOGITS)


def build(classes=10):
    return Model(classes)
"""


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """`image_folder({"cat": 3, "dog": 2})`: a folder with so many small PNGs in each class folder, no two alike."""

    def make(counts: dict[str, int], name: str = "photos", size: tuple[int, int] = (8, 8)) -> Path:
        root = tmp_path / name
        for label, (folder, count) in enumerate(counts.items()):
            (root / folder).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", size, (label * 20, number * 5 % 256, 128)).save(root / folder / f"{number:03d}.png")
        return root

    return make


@pytest.fixture
def manifest_file(tmp_path: Path) -> Callable[..., Path]:
    """`manifest_file("birds", path="/data/birds")`: a manifest.toml of a data set in class folders."""

    def make(name: str, path: Path, role: str = "test", **entries: object) -> Path:
        lines = [f"{key} = {json.dumps(value)}" for key, value in {"name": name, "role": role, **entries}.items()]
        text = "\n".join([*lines, "[[files]]", 'layout = "folders"', f"path = {json.dumps(str(path))}"])
        file = tmp_path / f"{name}.toml"
        file.write_text(text + "\n", encoding="utf-8")
        return file

    return make


@pytest.fixture(scope="session")
def runs_workspace(prepared_workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """`prepared_workspace` with a frozen and a fine-tuned run of `ce`, scored on digits-test; to be read only."""
    from trustcache.evaluate.scoring import evaluate
    from trustcache.losses import LossChoice
    from trustcache.oracles.backbones import cached_oracle
    from trustcache.oracles.optim import Machine
    from trustcache.oracles.plan import TrainSettings, plan
    from trustcache.protocols import Optimiser

    workspace = Workspace(tmp_path_factory.mktemp("with-runs") / "workspace")
    shutil.copytree(prepared_workspace.root, workspace.root)
    index = workspace.find_cache("train")
    oracle = cached_oracle(workspace, index, None)
    quick = {True: Optimiser("adam", 30, 64, 1e-3), False: Optimiser("sgd", 1, 64, 0.02, 0.9)}
    machine, runs = Machine(device="cpu", workers=0), []
    for frozen in (True, False):
        settings = TrainSettings(frozen, quick[frozen], val_fraction=0.3, signed_distance=frozen)
        runs += plan(index, oracle, [LossChoice("ce", {})], settings).run(workspace, Path(), machine)
    evaluate(workspace, runs, Path(), machine)
    return workspace


@pytest.fixture
def with_runs(runs_workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy of `runs_workspace` to change at will; where `run_cli` finds it without --workspace."""
    root = tmp_path / "trustcache-workspace"
    shutil.copytree(runs_workspace.root, root)
    return Workspace(root)


@pytest.fixture(scope="session")
def digit_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images of digits-test as PNG files, named by their ids."""
    from trustcache.data.dataset import open_dataset
    from trustcache.data.known_data import find_manifests

    folder = tmp_path_factory.mktemp("digit-files")
    dataset = open_dataset(find_manifests("digits-test")[0], Path())
    for number, name in enumerate(dataset.ids):
        dataset.read(number).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def three_threads() -> Iterator[None]:
    """Torch computes in three threads, on any machine."""
    import torch

    usual = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(usual)


@pytest.fixture
def medium_products() -> Iterator[None]:
    """A program has asked torch for coarser products than float32's."""
    import torch

    usual = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(usual)
