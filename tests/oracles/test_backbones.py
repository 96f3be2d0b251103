"""Oracles built on another model than the one they judge: its features, weights and size, the judged one's labels."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file, save_file

from tests.refusals import tells
from tests.running import call
from trustcache.cache import open_cache
from trustcache.cache.index import Index
from trustcache.cache.provenance import original_dataset
from trustcache.cache.workspace import Workspace
from trustcache.data.loader import Viewer, viewed_batches
from trustcache.data.variants.attacks import attack
from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import Classifier, load_classifier
from trustcache.models.zoo.cifar_resnet import CifarResNet
from trustcache.oracles.backbones import tuned_oracle
from trustcache.oracles.finetune import in_batches, load_oracle
from trustcache.oracles.head_training import HeadTask, train_heads
from trustcache.oracles.heads import score_heads
from trustcache.oracles.plan import frozen_head
from trustcache.oracles.runs import finished_runs

RunCli = Callable[..., Result]
JUDGED, OTHER = "digits-net", "other-net"
QUIET = ("--workers", 0, "--device", "cpu")


@pytest.fixture(scope="module")
def other_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a cifar-resnet14 that nobody trained: its features differ from the judged classifier's."""
    path = tmp_path_factory.mktemp("weights") / f"{OTHER}.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(7)
        save_file(CifarResNet(14).state_dict(), path)
    return path


def other(weights: Path) -> tuple[str, ...]:
    """The extraction by that model, under the name `OTHER`, at 12 pixels a side."""
    model = ("--classifier", "cifar-resnet14", "--weights", str(weights), "--preprocess", "input_size=12")
    return ("extract", *model, "--as", OTHER, "--workers", "0")


@pytest.fixture
def extract_other(run_cli: RunCli, other_weights: Path) -> RunCli:
    """`extract_other("--data", "digits-test")`: that model's cache."""

    def run(*options: object) -> Result:
        done = run_cli(*other(other_weights), *options)
        assert done.exit_code == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def paired_once(prepared_workspace: Workspace, other_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with both models' caches of the digits' training and test parts; to be read only."""
    root = tmp_path_factory.mktemp("paired") / "workspace"
    shutil.copytree(prepared_workspace.root, root)
    call(Workspace(root), *other(other_weights), "--data", "digits-train", "--data", "digits-test")
    return root


@pytest.fixture
def paired(paired_once: Path, tmp_path: Path) -> Workspace:
    """A copy of it to change at will."""
    return Workspace(Path(shutil.copytree(paired_once, tmp_path / "trustcache-workspace")))


def cache_of(workspace: Workspace, model: str, data: str) -> Index:
    return next(index for index in workspace.caches() if (index.classifier, index.data) == (model, data))


def train(run_cli: RunCli, *options: object) -> Result:
    return run_cli("train", "--loss", "tcp", "--classifier", JUDGED, *QUIET, *options)


# --- heads on cached features ----------------------------------------------------------------------------------


def test_heads_see_the_oracles_features_and_the_judged_classifiers_answers(paired: Workspace, run_cli: RunCli) -> None:
    done = train(run_cli, "--frozen", "--oracle", OTHER)
    assert done.exit_code == 0, done.stderr
    (run,) = finished_runs(paired)
    config = run.config
    judged, other = (open_cache(cache_of(paired, name, "digits-train").folder) for name in (JUDGED, OTHER))
    task = HeadTask(config.loss, config.signed_distance, config.seed)
    arrays = (other.features, judged.correct, judged.true_class_prob)
    x, *targets = map(torch.from_numpy, arrays)
    ((expected, _),) = train_heads({"features": x}, *targets, [task], config.optimiser, config.val_fraction)
    np.testing.assert_allclose(frozen_head(run).weight, expected.weight, atol=1e-6)
    features = open_cache(cache_of(paired, OTHER, "digits-test").folder).features
    scores = run.scores(cache_of(paired, JUDGED, "digits-test"))
    np.testing.assert_allclose(scores, score_heads([expected], features)[:, 0], atol=1e-5)


def test_the_report_names_oracle_and_classifier_and_keeps_pairs_apart(paired: Workspace, run_cli: RunCli) -> None:
    for oracle in (JUDGED, OTHER):
        for judged in (JUDGED, OTHER):
            command = ("--loss", "ss", "--classifier", judged, "--oracle", oracle, "--seed", "0,1")
            done = run_cli("train", "--frozen", *command, "--epochs", 3, "--device", "cpu")
            assert done.exit_code == 0, done.stderr
    done = run_cli("report")
    assert "note:" not in done.stderr
    records = json.loads((paired.report / "results.json").read_text())
    pairs = [(r["oracle"], r["classifier"]) for r in records if r["method"] == "ss"]
    assert sorted(pairs) == sorted([(o, c) for o in (JUDGED, OTHER) for c in (JUDGED, OTHER)] * 2)
    aucs = {r["metrics"]["auc"] for r in records if r["method"] == "ss"}
    assert len(aucs) == 8
    assert f"oracle {OTHER}, 2 seeds" in done.stdout


def test_an_oracle_without_cached_features_is_refused_with_the_command(workspace: Workspace, run_cli: RunCli) -> None:
    done = train(run_cli, "--frozen", "--oracle", "resnet50.a1_in1k")
    assert done.exit_code == 2
    assert tells(done.stderr, "digits-net", "trustcache extract --classifier resnet50.a1_in1k", "--data digits-train")
    assert not workspace.runs.exists()


def test_the_command_names_the_weights_of_an_oracle_that_is_known(
    workspace: Workspace, run_cli: RunCli, extract_other: RunCli, other_weights: Path
) -> None:
    extract_other("--data", "digits-test")
    done = train(run_cli, "--frozen", "--oracle", OTHER)
    assert done.exit_code == 2
    model = f"--classifier cifar-resnet14 --weights {other_weights} --as {OTHER} --preprocess input_size=12,12"
    assert f"extract {model} --data digits-train" in done.stderr


@pytest.fixture
def extract_pets(
    run_cli: RunCli, own_model: Callable[..., str], manifest_file: Callable[..., Path], tmp_path: Path
) -> RunCli:
    """`extract_pets("--as", "one")`: the extraction of `image_folder`'s cats and dogs, with options."""
    model = (
        "--classifier",
        own_model("x * torch.tensor([1.0, -1.0], device=x.device)"),
        "--model-arg",
        "classes=2",
        "--workers",
        0,
    )
    manifest = manifest_file("pets", tmp_path / "photos", role="train")
    return lambda *options: run_cli("extract", *model, "--data", manifest, *options)


def test_features_of_other_images_are_refused_with_the_difference(
    run_cli: RunCli, image_folder: Callable[..., Path], extract_pets: RunCli
) -> None:
    folder = image_folder({"cat": 3, "dog": 3})
    for name in ("one", "two"):
        assert extract_pets("--as", name).exit_code == 0
        (folder / "cat" / "000.png").write_bytes((folder / "dog" / "000.png").read_bytes() + b"more")
    done = run_cli("train", "--frozen", "--loss", "ce", "--classifier", "one", "--oracle", "two")
    assert done.exit_code == 2
    assert "data.fingerprint" in done.stderr
    assert " --as two " in done.stderr
    assert done.stderr.endswith(" --data pets\n")


def test_caches_that_skipped_different_images_are_refused(
    run_cli: RunCli, image_folder: Callable[..., Path], extract_pets: RunCli
) -> None:
    folder = image_folder({"cat": 3, "dog": 3})
    whole = (folder / "dog" / "001.png").read_bytes()
    for name, data in (("one", whole), ("two", bytes(len(whole)))):  # sizes tell nothing
        (folder / "dog" / "001.png").write_bytes(data)
        done = extract_pets("--as", name, "--on-bad-image", "skip")
        assert done.exit_code == 0, done.stderr
    done = run_cli("train", "--frozen", "--loss", "ce", "--classifier", "one", "--oracle", "two")
    assert done.exit_code == 2
    assert "1 images are only" in done.stderr


def test_scores_that_wait_for_the_oracles_features_are_named_and_made_when_these_are_there(
    workspace: Workspace, run_cli: RunCli, extract_other: RunCli
) -> None:
    extract_other("--data", "digits-train")
    done = train(run_cli, "--frozen", "--oracle", OTHER, "--seed", "0,1")
    assert done.exit_code == 0, done.stderr
    lacking = f"the features of oracle {OTHER} on digits-test are not cached"
    assert done.stderr.count(lacking) == 1
    assert lacking in run_cli("report").stderr
    assert lacking in run_cli("evaluate").stderr
    (command,) = re.findall(r"run `trustcache (extract [^`]+)`", done.stderr)
    done = run_cli(*shlex.split(command))
    assert done.exit_code == 0, done.stderr
    done = run_cli("evaluate")
    assert done.stdout.splitlines()[0].endswith(" scores made")
    assert lacking not in done.stderr
    index = cache_of(workspace, JUDGED, "digits-test")
    assert [run.scores(index) is not None for run in finished_runs(workspace)] == [True, True]


def test_features_that_are_still_being_extracted_are_waited_for(paired: Workspace, run_cli: RunCli) -> None:
    (cache_of(paired, OTHER, "digits-test").folder / "00000.json").unlink()
    done = train(run_cli, "--frozen", "--oracle", OTHER)
    assert done.exit_code == 0, done.stderr
    assert tells(done.stderr, f"oracle {OTHER} ", "digits-test", "not cached")
    assert run_cli("report").exit_code == 0


def test_heads_score_the_images_that_were_attacked_for_the_judged_classifier(
    paired: Workspace,
    run_cli: RunCli,
    extract_digits: RunCli,
    extract_other: RunCli,
    digits_classifier: Classifier,
    other_weights: Path,
) -> None:
    extract_other("--data", "digits-pgd", "--subset", 200)  # attacked for the other model: other images
    done = extract_digits("--subset", 200, data="digits-pgd")
    assert done.exit_code == 0, done.stderr
    done = train(run_cli, "--frozen", "--oracle", OTHER)
    assert done.exit_code == 0, done.stderr
    assert "note:" not in done.stderr
    index = cache_of(paired, JUDGED, "digits-pgd")
    loaded = load_classifier(ModelSpec("cifar-resnet14", str(other_weights), preprocessing={"input_size": (12, 12)}))
    viewer = Viewer(loaded.preprocessing, torch.device("cpu"), 0, judged=digits_classifier)
    first = next(viewed_batches(original_dataset(index, Path()), viewer, [np.arange(100)]))
    (run,) = finished_runs(paired)
    expected = score_heads([frozen_head(run)], loaded(first.pixels)[1].numpy())[:, 0]
    scores = run.scores(index)
    assert scores is not None
    np.testing.assert_allclose(scores[:100], expected, atol=1e-4)
    theirs = open_cache(cache_of(paired, OTHER, "digits-pgd").folder)[:100].features
    assert np.abs(score_heads([frozen_head(run)], theirs)[:, 0] - expected).max() > 0.01


def test_heads_score_attacked_images_in_the_precision_that_either_model_was_extracted_in(
    workspace: Workspace,
    run_cli: RunCli,
    extract_digits: RunCli,
    extract_other: RunCli,
    digits_classifier: Classifier,
    other_weights: Path,
) -> None:
    shutil.rmtree(workspace.root / "cache")
    low = ("--precision", "bf16", "--device", "cpu")
    assert extract_digits("--data", "digits-train", *low).exit_code == 0
    assert extract_digits("--subset", 200, *low, data="digits-pgd").exit_code == 0
    extract_other("--data", "digits-train", *low)
    done = train(run_cli, "--frozen", "--oracle", OTHER)
    assert done.exit_code == 0, done.stderr
    (run,) = finished_runs(workspace)
    index = cache_of(workspace, JUDGED, "digits-pgd")
    loaded = load_classifier(ModelSpec("cifar-resnet14", str(other_weights), preprocessing={"input_size": (12, 12)}))
    viewer = Viewer(loaded.preprocessing, torch.device("cpu"), 0, judged=digits_classifier)
    first = next(viewed_batches(original_dataset(index, Path()), viewer, [np.arange(100)]))
    with torch.autocast("cpu", torch.bfloat16):
        features = loaded(first.pixels)[1].numpy()
    np.testing.assert_allclose(run.scores(index)[:100], score_heads([frozen_head(run)], features)[:, 0], atol=1e-4)


def test_an_attack_is_made_again_once_for_all_that_are_to_see_its_images(
    paired: Workspace, run_cli: RunCli, extract_digits: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for options in (("--loss", "ce,ss"), ("--loss", "ce", "--inputs", "log-probs"), ("--loss", "ce", "--head", "mlp")):
        done = run_cli("train", "--classifier", JUDGED, "--frozen", "--oracle", OTHER, "--epochs", 1, *options)
        assert done.exit_code == 0, done.stderr
    for oracle in ((), ("--oracle", OTHER)):
        assert train(run_cli, "--epochs", 1, "--protocol", "released", *oracle).exit_code == 0
    assert extract_digits("--subset", 200, data="digits-pgd").exit_code == 0
    attacked = []

    def counted(name: str, logits: object, images: torch.Tensor, *rest: object) -> torch.Tensor:
        attacked.append(len(images))
        return attack(name, logits, images, *rest)

    monkeypatch.setattr("trustcache.data.variants.attacks.attack", counted)
    done = run_cli("evaluate", *QUIET)
    assert done.exit_code == 0, done.stderr
    index = cache_of(paired, JUDGED, "digits-pgd")
    assert [run.scores(index) is not None for run in finished_runs(paired)] == [True] * 6
    assert sum(attacked) == len(open_cache(index.folder)) == 200


# --- fine-tuning -----------------------------------------------------------------------------------------------


def test_an_oracle_begins_with_the_preprocessing_that_its_own_weights_were_fitted_with(
    prepared_workspace: Workspace, classifier_file: Path
) -> None:
    judged = cache_of(prepared_workspace, JUDGED, "digits-train")
    asked = ModelSpec("cifar-resnet8", str(classifier_file), preprocessing={"crop_pct": 0.5})
    oracle = tuned_oracle(prepared_workspace, judged, asked, "equations")
    assert oracle.spec().preprocessing == asdict(oracle.identity.images)
    assert (oracle.identity.images.input_size, oracle.identity.images.crop_pct) == ((8, 8), 0.5)


def test_fine_tuning_begins_with_the_oracles_own_weights_at_its_own_size(
    workspace: Workspace, run_cli: RunCli, other_weights: Path, tmp_path: Path
) -> None:
    weights_file = Path(shutil.copy(other_weights, tmp_path))
    own = ("--oracle-weights", weights_file, "--oracle-preprocess", "input_size=12")
    done = train(run_cli, "--oracle", "cifar-resnet14", *own, "--epochs", 1, "--lr", 1e-12)
    assert done.exit_code == 0, done.stderr
    (run,) = finished_runs(workspace)
    config, weights = run.config, run.weights()
    assert (config.oracle, config.classifier) == ("cifar-resnet14", JUDGED)
    assert config.backbone.preprocessing.input_size == (12, 12)
    for name, tensor in load_file(other_weights).items():
        if name.endswith("weight") and not name.startswith("linear"):
            torch.testing.assert_close(weights[f"backbone.{name}"], tensor, atol=1e-6, rtol=0)
    # It is scored from the run alone: the weights it began with may go.
    weights_file.unlink()
    (run.folder / "scores" / "digits-test.safetensors").unlink()
    assert run_cli("evaluate", *QUIET).stdout.splitlines()[0] == "1 scores made"
    index = cache_of(workspace, JUDGED, "digits-test")
    oracle = load_oracle(run).eval()
    viewer = Viewer(oracle.preprocessing, torch.device("cpu"), 0)
    views = viewed_batches(original_dataset(index, Path()), viewer, in_batches(np.arange(index.samples)))
    with torch.inference_mode():
        z = torch.cat([oracle(oracle.preprocessing.normalise(batch.pixels)) for batch in views])
    assert viewer.preprocessing.input_size == (12, 12)
    np.testing.assert_allclose(run.scores(index), z.double().numpy(), atol=1e-5)


def test_a_model_of_the_workspace_is_tuned_by_its_name_there(
    paired: Workspace, run_cli: RunCli, other_weights: Path
) -> None:
    done = train(run_cli, "--oracle", OTHER, "--epochs", 1)
    assert done.exit_code == 0, done.stderr
    (run,) = finished_runs(paired)
    assert run.config.oracle == OTHER
    assert run.config.backbone.preprocessing.input_size == (12, 12)
    judged = open_cache(cache_of(paired, JUDGED, "digits-train").folder)
    assert run.judges(judged.index)
    assert not run.judges(cache_of(paired, OTHER, "digits-train"))


def test_released_fine_tuning_shows_a_larger_oracle_the_judged_classifiers_images(
    paired: Workspace, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trustcache.oracles import finetune as module

    seen: list[torch.Tensor] = []
    loss = module._Training._loss
    monkeypatch.setattr(module._Training, "_loss", lambda self, batch: seen.append(batch[0]) or loss(self, batch))
    done = train(run_cli, "--oracle", OTHER, "--protocol", "released")
    assert done.exit_code == 0, done.stderr
    assert {tuple(pixels.shape[2:]) for pixels in seen} == {(12, 12)}
    # 8 rows on 12 by nearest neighbours: every third one repeats the one before.
    assert all(torch.equal(pixels[:, :, 0::3], pixels[:, :, 1::3]) for pixels in seen)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--frozen", "--oracle", OTHER, "--oracle-weights", "w"), "--oracle-weights: means nothing to --frozen"),
        (("--oracle-preprocess", "input_size=9"), "--oracle-preprocess: says something of an oracle's model"),
        (("--oracle", OTHER, "--oracle-preprocess", "size=9"), "--oracle-preprocess size=9: expected"),
        (("--frozen", "--start", "ce"), "--start: means nothing to --frozen"),
        (("--oracle", "no-such-net"), "error: --oracle no-such-net: "),
        (("--oracle", "cifar-resnet14"), "pass yours with --oracle-weights FILE"),
    ],
)
def test_an_oracle_that_cannot_be_is_refused(
    workspace: Workspace, run_cli: RunCli, options: tuple[object, ...], said: str
) -> None:
    done = train(run_cli, *options)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not workspace.runs.exists()
