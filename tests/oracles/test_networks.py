"""Oracles that read a second network beside the classifier: trained, scored, shipped, or refused with the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from safetensors.torch import save_file

from tests.caches_in_memory import cache_of
from tests.refusals import refusal_of, tells
from tests.running import call
from trustcache import Oracle, TrustedClassifier, side_by_side
from trustcache.cache import CacheView, open_cache
from trustcache.cache.index import Index
from trustcache.cache.workspace import Workspace
from trustcache.command_lines import extraction_options
from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import Classifier, load_classifier
from trustcache.models.zoo.cifar_resnet import CifarResNet
from trustcache.oracles.head_inputs import head_inputs
from trustcache.oracles.heads import score_heads
from trustcache.oracles.plan import frozen_head
from trustcache.oracles.runs import Run, finished_runs
from trustcache.report.names import run_names

RunCli = Callable[..., Result]
JUDGED, SECOND = "digits-net", "second-net"
TRAIN = ("train", "--loss", "ce", "--classifier", JUDGED, "--frozen", "--epochs", "2", "--device", "cpu")
INPUTS = ("--inputs", "features,log-probs")


@pytest.fixture(scope="module")
def second_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that nobody trained; it sees images at another size than the classifier."""
    path = tmp_path_factory.mktemp("weights") / f"{SECOND}.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        save_file(CifarResNet(8).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def both_once(prepared_workspace: Workspace, second_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with both networks' caches of the digits, and a run that reads both; to be read only."""
    root = tmp_path_factory.mktemp("both") / "workspace"
    shutil.copytree(prepared_workspace.root, root)
    model = ("--classifier", "cifar-resnet8", "--weights", str(second_weights), "--preprocess", "input_size=12")
    data = ("--data", "digits-train", "--data", "digits-test")
    call(Workspace(root), "extract", *model, "--as", SECOND, *data, "--workers", "0", "--device", "cpu")
    call(Workspace(root), *TRAIN, *INPUTS, "--also-features", SECOND)
    return root


@pytest.fixture
def both(both_once: Path, in_tmp_path: Path) -> Workspace:
    """A copy of it, where `run_cli` finds it."""
    return Workspace(Path(shutil.copytree(both_once, in_tmp_path / "trustcache-workspace")))


def index_of(workspace: Workspace, model: str, data: str) -> Index:
    return next(index for index in workspace.caches() if (index.classifier, index.data) == (model, data))


def only_run(workspace: Workspace) -> Run:
    (run,) = finished_runs(workspace)
    return run


def test_the_head_is_scored_on_what_both_networks_say_of_each_image(both_once: Path) -> None:
    workspace = Workspace(both_once)
    run, judged = only_run(workspace), index_of(workspace, JUDGED, "digits-test")
    own, second = open_cache(judged.folder), open_cache(index_of(workspace, SECOND, "digits-test").folder)
    agreed = torch.from_numpy(second.logits).float().log_softmax(1)[torch.arange(len(own)), own.predictions]
    x = [
        head_inputs(["features", "log-probs"], {n: torch.from_numpy(c.column(n)) for n in ("features", "logits")})
        for c in (own, second)
    ]
    z = score_heads([frozen_head(run)], torch.cat([*x, agreed[:, None]], 1).numpy())[:, 0]
    np.testing.assert_allclose(run.scores(judged), z, atol=1e-5)


def test_the_run_says_which_network_it_reads(both: Workspace, run_cli: RunCli) -> None:
    config = only_run(both).config
    assert config.second.label == SECOND
    assert config.second.caches == {"digits-train": index_of(both, SECOND, "digits-train").fingerprint()}
    assert f"{JUDGED}-with-{SECOND}-" in config.name
    assert run_cli(*TRAIN, *INPUTS).exit_code == 0
    names = run_names(finished_runs(both))
    assert {name.endswith(f"and {SECOND}, frozen") for name in names.values()} == {True, False}
    assert run_cli("evaluate").exit_code == 0
    assert SECOND in (both.runs / config.name / "README.md").read_text()


def test_heads_learn_from_further_data_if_the_second_network_has_seen_it(both: Workspace, run_cli: RunCli) -> None:
    Path("more.toml").write_text('variant_of = "digits-test"\nname = "more"\nrole = "train"\nrows = [1150, 1300]\n')
    options = ("--workers", 0, "--device", "cpu", "--data", "more.toml")
    own, second = (extraction_options(index_of(both, name, "digits-test")) for name in (JUDGED, SECOND))
    train = (*TRAIN, "--data", "digits-train", "--also", "more", "--also-features", SECOND)
    assert run_cli("extract", *own, *options).exit_code == 0
    assert tells(run_cli(*train).stderr, f"--also-features {SECOND}", "more", "trustcache extract", f"--as {SECOND}")
    assert run_cli("extract", *second, *options).exit_code == 0
    done = run_cli(*train, "--inputs", "second:features")
    assert done.exit_code == 0, done.stderr
    (config,) = (run.config for run in finished_runs(both) if run.config.also)
    assert config.head.inputs == ("second:features",)
    assert list(config.second.caches) == ["digits-train", "more"]


def test_a_missing_cache_is_refused_with_the_command(both: Workspace, run_cli: RunCli, second_weights: Path) -> None:
    shutil.rmtree(both.cache_folder(SECOND, "digits-train"))
    done = run_cli(*TRAIN, "--also-features", SECOND)
    assert done.exit_code == 2
    model = f"trustcache extract --classifier cifar-resnet8 --weights {second_weights} --as {SECOND}"
    assert tells(done.stderr, f"--also-features {SECOND}", "digits-train", model, "--data digits-train")


def test_other_images_are_refused_with_the_command(both: Workspace, run_cli: RunCli) -> None:
    folder = both.cache_folder(SECOND, "digits-train")
    shutil.rmtree(folder)
    model = ("--classifier", "cifar-resnet8", "--preprocess", "input_size=8", "--as", SECOND, "--workers", 0)
    weights = ("--weights", index_of(both, SECOND, "digits-test").made_from.weights)
    assert run_cli("extract", *model, *weights, "--data", "digits-train", "--subset", 40).exit_code == 0
    done = run_cli(*TRAIN, "--also-features", SECOND)
    assert done.exit_code == 2
    assert tells(done.stderr, str(folder.relative_to(both.root.parent)), "40", "trustcache extract", "digits-train")


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (("--also-features", JUDGED), (JUDGED, "judged")),
        (("--also-features", SECOND, "--oracle", SECOND), ("--also-features", "--oracle")),
        (("--inputs", "features,second:logits"), ("second:logits", "second:")),
        (("--inputs", "features,second:features"), ("second:features", "--also-features")),
    ],
)
def test_what_cannot_be_is_refused(both: Workspace, run_cli: RunCli, options: tuple, facts: tuple) -> None:
    done = run_cli(*TRAIN, *options)
    assert done.exit_code == 2
    assert tells(done.stderr, *facts)


def test_where_the_second_network_is_not_cached_the_gap_is_told_and_the_rest_goes_on(
    both: Workspace, run_cli: RunCli
) -> None:
    shutil.rmtree(both.cache_folder(SECOND, "digits-test"))
    shutil.rmtree(only_run(both).folder / "scores")
    done = run_cli("evaluate")
    assert tells(done.stderr, SECOND, "digits-test", "trustcache extract", f"--as {SECOND}", "--data digits-test")
    assert only_run(both).scores(index_of(both, JUDGED, "digits-test")) is None
    assert (both.scores_folder(JUDGED, "digits-test") / "mcp.safetensors").is_file()


def test_caches_that_runs_read_are_named_before_they_are_removed(both: Workspace, run_cli: RunCli) -> None:
    done = run_cli("cache", "rm", f"{SECOND}/digits-train")
    assert tells(done.stdout + done.stderr, only_run(both).name)


# --- new images ------------------------------------------------------------------------------------------------


def test_predictions_ask_both_networks_each_at_its_own_size(both_once: Path, digit_files: Path) -> None:
    workspace = Workspace(both_once)
    index = index_of(workspace, JUDGED, "digits-test")
    cache, trusted = open_cache(index.folder)[:40], TrustedClassifier.load(both_once, JUDGED, device="cpu")
    files = [digit_files / f"{sample}.png" for sample in cache.sample_ids]
    answers = list(trusted(files, batch_size=15))
    assert list(trusted.of_files(files, batch_size=15)) == answers
    assert [answer.class_number for answer in answers] == cache.predictions.tolist()
    z = only_run(workspace).scores(index)[:40]
    np.testing.assert_allclose([answer.score for answer in answers], z, rtol=1e-3, atol=2e-2)
    with pytest.raises(ValueError, match="two networks"):
        list(trusted([torch.zeros(3, 8, 8)]))


def test_the_exported_graph_takes_the_image_at_both_sizes(both: Workspace, run_cli: RunCli) -> None:
    done = run_cli("export", JUDGED, "--format", "torch")
    assert done.exit_code == 0, done.stderr
    path, beside = map(Path, done.stdout.split())
    described = json.loads(beside.read_text())
    sizes = [described["input"]["shape"], described["second"]["input"]["shape"]]
    assert sizes == [["N", 3, 8, 8], ["N", 3, 12, 12]]
    assert described["second"]["input"]["name"] == "second_images"
    images = [torch.randint(0, 256, (5, *shape[1:]), dtype=torch.uint8) for shape in sizes]
    graph = torch.export.load(path).module()
    (_, score), (_, moved) = graph(*images), graph(images[0], 255 - images[1])
    assert not torch.allclose(score, moved)


def test_without_a_cache_of_the_second_network_predictions_are_refused(both: Workspace) -> None:
    shutil.rmtree(both.root / "cache" / SECOND)
    message = refusal_of(lambda: TrustedClassifier.load(both.root, JUDGED))
    assert tells(message, SECOND, "trustcache extract", SECOND)


# --- in Python -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def training() -> CacheView:
    return side_by_side(cache_of(400, 1), cache_of(400, 1, classifier="second"))


@pytest.fixture(scope="module")
def fitted(training: CacheView) -> Oracle:
    return Oracle("ce", inputs=["log-probs"], epochs=3).fit(training)


def test_an_oracle_in_python_reads_both_and_is_saved_with_that(
    fitted: Oracle, training: CacheView, tmp_path: Path
) -> None:
    assert fitted.config_.head.inputs == ("log-probs", "second:log-probs", "second:agreement")
    fitted.save(tmp_path / "oracle")
    test = side_by_side(cache_of(90, 2), cache_of(90, 3, classifier="second"))
    z = fitted.decision_function(test)
    np.testing.assert_array_equal(Oracle.load(tmp_path / "oracle").decision_function(test), z)
    assert (
        np.abs(z - fitted.decision_function(side_by_side(test.own, cache_of(90, 2, classifier="second")))).max() > 0.1
    )
    assert fitted.learnt_rows(training) == 400


def test_an_oracle_of_two_networks_refuses_one(fitted: Oracle) -> None:
    assert tells(refusal_of(lambda: fitted.decision_function(cache_of(90, 2))), "second", "side_by_side")


def test_a_trusted_classifier_takes_both_models(
    both_once: Path, second_weights: Path, digits_classifier: Classifier
) -> None:
    workspace = Workspace(both_once)
    caches = [open_cache(index_of(workspace, name, "digits-train").folder) for name in (JUDGED, SECOND)]
    oracle = Oracle("ce", epochs=2).fit(side_by_side(*caches))
    second = load_classifier(ModelSpec("cifar-resnet8", str(second_weights), preprocessing={"input_size": (12, 12)}))
    image = np.full((8, 8), 99, np.uint8)
    (answer,) = TrustedClassifier(digits_classifier, oracle, second=second, device="cpu")([image])
    assert np.isfinite(answer.score)
    assert "second=" in refusal_of(lambda: TrustedClassifier(digits_classifier, oracle))
    wrong = refusal_of(lambda: TrustedClassifier(digits_classifier, oracle, second=digits_classifier))
    assert tells(wrong, SECOND, "other weights")
