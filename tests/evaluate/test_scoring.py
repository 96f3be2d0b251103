"""Training and scoring through the command line: what is made, kept, refused and reported."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from sklearn.metrics import roc_auc_score

from tests.refusals import tells
from trustcache.cache import open_cache
from trustcache.cache.arrays import read_arrays, write_arrays
from trustcache.cache.index import Index
from trustcache.cache.provenance import original_dataset, original_model
from trustcache.cache.workspace import Workspace
from trustcache.data.dataset import Dataset
from trustcache.data.loader import Viewer, shard_batches, viewed_batches
from trustcache.data.splits import validation_rows
from trustcache.data.variants.variation import Batch
from trustcache.evaluate import forward
from trustcache.losses import LOSSES
from trustcache.models.classifiers import load_classifier
from trustcache.oracles.finetune import load_oracle
from trustcache.oracles.runs import RunScores, finished_runs, open_run
from trustcache.scores import POST_HOC, post_hoc_score

RunCli = Callable[..., Result]
COMPUTED = [name for name, entry in POST_HOC.items() if not {"mc_dropout", "mirrored_logits"} & {*entry.columns}]
QUICK = ("--epochs", "30", "--batch-size", "64")


def results(workspace: Workspace) -> list[dict]:
    return json.loads((workspace.report / "results.json").read_text())


def test_all_losses_and_seeds_become_runs_with_scores_on_the_test_set(workspace: Workspace, run_cli: RunCli) -> None:
    done = run_cli("train", "--frozen", "--loss", "all", "--seed", "0,1", *QUICK)
    assert done.exit_code == 0, done.stderr
    runs = finished_runs(workspace)
    assert len(runs) == 2 * len(LOSSES)
    cache = open_cache(workspace.find_cache("test").folder)
    for run in runs:
        z = run.scores(cache.index)
        assert z is not None
        assert z.shape == (len(cache),)
        files = {path.name for path in run.folder.iterdir()}
        assert files == {"config.json", "weights.safetensors", "log.jsonl", "scores"}
        assert run.log()[-1].validation["auc"] == pytest.approx(0.5, abs=0.5)
        assert re.search(rf"{run.config.loss.name}.* {run.config.seed} ", done.stdout)


def test_a_training_scores_the_caches_of_its_own_classifier_alone(
    with_runs: Workspace, run_cli: RunCli, tmp_path: Path
) -> None:
    np.save(tmp_path / "z.npy", np.random.default_rng(0).normal(size=(60, 3)))
    np.save(tmp_path / "y.npy", np.arange(60) % 3)
    files = ("--logits", tmp_path / "z.npy", "--labels", tmp_path / "y.npy")
    assert run_cli("import", *files, "--as", "other", "--data", "photos-test").exit_code == 0
    done = run_cli("train", "--frozen", "--loss", "ce", "--classifier", "digits-net", "--epochs", 1)
    assert done.exit_code == 0, done.stderr
    assert [folder.name for folder in (with_runs.root / "scores").iterdir()] == ["digits-net"]


@pytest.mark.parametrize(("wrong", "told"), [(20, True), (40, False)])
def test_few_errors_to_learn_from_are_told(run_cli: RunCli, tmp_path: Path, wrong: int, told: bool) -> None:
    labels = np.arange(90) % 3
    logits = np.eye(3)[labels] * 2 + np.random.default_rng(0).random((90, 3))
    np.save(tmp_path / "z.npy", logits)
    np.save(tmp_path / "y.npy", np.where(np.arange(90) < wrong, (labels + 1) % 3, labels))
    files = ("--logits", tmp_path / "z.npy", "--labels", tmp_path / "y.npy", "--features", tmp_path / "z.npy")
    assert run_cli("import", *files, "--as", "net", "--data", "birds", "--role", "train").exit_code == 0
    done = run_cli("train", "--frozen", "--loss", "ce", "--epochs", 1)
    assert done.exit_code == 0, done.stderr
    assert tells(done.stderr, "note:", f"{wrong} of the 90", "birds", "mcp") == told


def test_the_report_holds_every_run_and_mcp_with_the_metrics_of_its_scores(
    workspace: Workspace, run_cli: RunCli
) -> None:
    run_cli("train", "--frozen", "--loss", "ce,ss", "--alpha-neg", "2,3", *QUICK)
    done = run_cli("report")
    assert done.exit_code == 0, done.stderr
    cache = open_cache(workspace.find_cache("test").folder)
    found = {(r["method"], r["settings"].get("alpha_neg")): r for r in results(workspace)}
    assert set(found) == {("ce", None), ("ss", 2.0), ("ss", 3.0), *((name, None) for name in COMPUTED)}
    mcp = found["mcp", None]
    assert mcp["metrics"]["auc"] == pytest.approx(roc_auc_score(cache.correct, post_hoc_score("mcp", cache)))
    assert (mcp["oracle"], mcp["seed"], mcp["n"]) == (None, None, len(cache))
    for run in finished_runs(workspace):
        record = found[run.config.loss.name, run.config.loss.settings.get("alpha_neg")]
        assert record["metrics"]["auc"] == pytest.approx(roc_auc_score(cache.correct, run.scores(cache.index)))
        assert record["run"] == run.name
        assert record["protocol"] == "equations"
    for name in ("report.md", "results.csv", "index.html"):
        assert (workspace.report / name).stat().st_size > 0


def test_runs_that_learnt_differently_are_not_averaged_as_seeds(workspace: Workspace, run_cli: RunCli) -> None:
    for epochs in ("5", "30"):
        run_cli("train", "--frozen", "--loss", "ce", "--seed", "0,1", "--epochs", epochs)
    run_cli("report")
    found = [r["settings"] for r in results(workspace) if r["method"] == "ce"]
    assert sorted(settings["epochs"] for settings in found) == [5, 5, 30, 30]
    assert all(settings.keys() == {"epochs"} for settings in found)  # only what differs


def test_a_finished_run_is_not_trained_again(workspace: Workspace, run_cli: RunCli) -> None:
    run_cli("train", "--frozen", "--loss", "ce", *QUICK)
    (run,) = finished_runs(workspace)
    before = (run.folder / "weights.safetensors").stat().st_mtime_ns
    done = run_cli("train", "--frozen", "--loss", "ce,ss", *QUICK)
    assert (run.folder / "weights.safetensors").stat().st_mtime_ns == before
    assert len(finished_runs(workspace)) == 2
    assert "1 scores made" in done.stderr  # ss, and no post-hoc score again


def test_runs_are_scored_on_data_that_came_later(workspace: Workspace, run_cli: RunCli, classifier_file: Path) -> None:
    run_cli("train", "--frozen", "--loss", "ss", *QUICK)
    run_cli("train", "--loss", "ss", "--epochs", "1", "--workers", "0")
    run_cli(
        "extract", "--classifier", "cifar-resnet8", "--weights", classifier_file, "--as", "digits-net",
        "--preprocess", "input_size=8", "--data", "digits-c/gaussian_noise/3", "--workers", "0",
    )  # fmt: skip
    gaps = run_cli("report")
    assert tells(gaps.stderr, "2 runs", "digits-c/gaussian_noise/3", "`trustcache evaluate`")
    done = run_cli("evaluate", "--workers", "0")
    fitted = [name for name in COMPUTED if POST_HOC[name].fitted]  # the report made the others
    assert done.stdout.splitlines()[0] == f"{2 + len(fitted)} scores made"
    assert "already" in run_cli("evaluate").stdout
    assert "note:" not in run_cli("report").stderr
    corrupted = [r for r in results(workspace) if r["dataset"] == "digits-c/gaussian_noise/3"]
    oracles = {(r["method"], r["training"]) for r in corrupted if r["oracle"]}
    assert oracles == {("ss", "frozen"), ("ss", "fine-tuned")}
    assert len(corrupted) == 2 + len(COMPUTED)


def place(folder: Path) -> Path:
    """As a command that works in the folder with the workspace names it."""
    return folder.relative_to(folder.parents[3])


@pytest.fixture
def unfinished(workspace: Workspace, extract_digits: Callable[..., Result]) -> Path:
    """A cache that comes first in the workspace and lacks a shard, as while it is being extracted."""
    assert extract_digits("--data", "digits-fourier").exit_code == 0
    folder = workspace.cache_folder("digits-net", "digits-fourier")
    (folder / "00001.json").unlink()
    return folder


def test_a_cache_that_is_still_being_extracted_stops_no_other_from_being_scored(
    workspace: Workspace, run_cli: RunCli, unfinished: Path
) -> None:
    note = f"note: passed over: {place(unfinished)}: 1 of 4 shards are not extracted yet; run the same"
    done = run_cli("train", "--frozen", "--loss", "ce", *QUICK)
    assert (done.exit_code, done.stderr.count(note)) == (0, 1), done.stderr
    (run,) = finished_runs(workspace)
    assert run.scores(workspace.find_cache("test", data="digits-test")) is not None
    again = run_cli("evaluate")
    assert (again.exit_code, again.stderr.count(note)) == (0, 1)
    assert "already" not in again.stdout


def test_where_no_evaluation_cache_can_be_opened_evaluate_fails(
    workspace: Workspace, run_cli: RunCli, unfinished: Path
) -> None:
    shutil.rmtree(workspace.find_cache("test", data="digits-test").folder)
    failed = run_cli("evaluate")
    assert failed.exit_code == 1
    assert failed.stderr.startswith(f"error: {place(unfinished)}: 1 of 4 shards")


def test_frozen_scores_do_not_depend_on_who_is_scored_beside(workspace: Workspace, run_cli: RunCli) -> None:
    run_cli("train", "--frozen", "--loss", "ss", "--seed", "0,1,2", *QUICK)
    index = workspace.find_cache("test")
    before = {run.name: run.scores(index) for run in finished_runs(workspace)}
    for run in finished_runs(workspace):
        shutil.rmtree(run.folder / "scores")
        assert "1 scores made" in run_cli("evaluate").stdout
        np.testing.assert_array_equal(run.scores(index), before[run.name])


def test_tcp_calls_a_sample_untrustworthy_below_chance_level(workspace: Workspace, run_cli: RunCli) -> None:
    run_cli("train", "--frozen", "--loss", "tcp", *QUICK)
    run_cli("report")
    cache = open_cache(workspace.find_cache("test").folder)
    (run,) = finished_runs(workspace)
    p = 1 / (1 + np.exp(-run.scores(cache.index)))
    metrics = next(r["metrics"] for r in results(workspace) if r["method"] == "tcp")
    assert metrics["tnr"] == pytest.approx((p < 0.1)[~cache.correct].mean())
    assert metrics["tpr"] == pytest.approx((p > 0.5)[cache.correct].mean())


def test_a_run_of_another_classifier_is_left_out_with_a_note(workspace: Workspace, run_cli: RunCli) -> None:
    run_cli("train", "--frozen", "--loss", "ce", *QUICK)
    (run,) = finished_runs(workspace)
    other = open_run(workspace, replace(run.config, judged="0" * 64))
    run.folder.rename(other.folder)
    other.begin()
    done = run_cli("report")
    assert tells(done.stderr, "1 runs", "another digits-net")
    assert [r["method"] for r in results(workspace)] == COMPUTED


@pytest.mark.parametrize(
    ("command", "fact"),
    [
        (
            ("train", "--loss", "ss", "--alpha-pos", "1", "--alpha-neg", "3"),
            "trustcache extract --classifier NAME --data FOLDER:train",
        ),
        (("extract", "--classifier", "vit"), "imagenet/train/<class>/"),
        (("report",), "trustcache extract --classifier NAME --data NAME"),
        (("evaluate",), "trustcache train --loss all --frozen"),
    ],
)
def test_a_command_with_nothing_prepared_says_what_is_missing(
    run_cli: RunCli, in_tmp_path: Path, command: tuple[str, ...], fact: str
) -> None:
    done = run_cli(*command)
    assert done.exit_code == 2
    assert fact in done.stderr
    assert "Traceback" not in done.output
    assert not list(in_tmp_path.iterdir())  # nothing is made where nothing is done


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (("--loss", "sss"), "--loss sss: unknown; one of ce, focal, tcp, ss, class-balanced"),
        (("--loss", "ce", "--gamma", "2"), "--gamma: means nothing to ce"),
        (("--loss", "focal", "--gamma", "two"), "--gamma two: expected a number"),
        (("--loss", "ce", "--seed", "0,x"), "--seed 0,x"),
        (("--loss", "ce", "--seed", "0,-1"), "must be a whole number from 0 to 4294967295, not -1"),
        (("--loss", "focal", "--gamma", "nan", "--frozen"), "--gamma (how fast focal forgets samples"),
        (("--loss", "ce", "--frozen", "--momentum", "0.5"), "--momentum: means nothing to --frozen"),
        (("--loss", "ce", "--classifier", "vit"), "digits-net/digits-train (train), digits-net/digits-test (test)"),
        (("--loss", "ce", "--frozen", "--device", "cuda:99"), "--device cuda:99: not available here"),
        (("--loss", "ce", "--frozen", "--device", "hpu"), "--device hpu: not available here (this torch"),
        (("--loss", "ce", "--frozen", "--device", "vulkan"), "--device vulkan: not available here (this torch"),
    ],
)
def test_a_training_that_cannot_be_done_is_refused_in_a_sentence(
    workspace: Workspace, run_cli: RunCli, options: tuple[str, ...], fact: str
) -> None:
    done = run_cli("train", *options)
    assert done.exit_code == 2
    assert fact in done.stderr
    assert not workspace.runs.exists()


# More than a float32 holds for nearly any score.
INFINITE = "def infinite(z, correct): return (1e4 * z.abs()).exp()\n"


def test_a_head_that_diverges_is_named_and_nothing_of_it_is_kept_while_the_others_are(
    workspace: Workspace, run_cli: RunCli
) -> None:
    Path("my_steep.py").write_text(INFINITE)
    losses = ("--loss", "tcp,my_steep:infinite")
    done = run_cli("train", "--frozen", *losses, "--seed", "0,1", "--val-fraction", 0, *QUICK)
    assert done.exit_code == 1
    assert re.match(r"error: (digits-net-my_steep\S+ \(epoch \d+\)(, |: )){2}", done.stderr)
    assert "use a smaller --lr" in done.stderr
    assert "the 2 others are trained" in done.stderr
    assert [path.name.split("-")[2] for path in workspace.runs.iterdir()] == ["tcp", "tcp"]
    assert run_cli("evaluate").exit_code == 0
    assert run_cli("report").exit_code == 0


def test_scores_that_are_not_finite_are_not_kept_and_older_ones_are_a_gap_in_the_report(
    with_runs: Workspace, run_cli: RunCli
) -> None:
    run = next(run for run in finished_runs(with_runs) if run.config.training == "frozen")
    path, folder = run.folder / "scores" / "digits-test.safetensors", run.folder.relative_to(Path.cwd())
    about, arrays = read_arrays(path, RunScores, "")
    broken = {name: torch.full_like(tensor, torch.nan) for name, tensor in run.weights().items()}
    run.finish(broken, [{"epoch": 1, "loss": 0.0}])
    path.unlink()
    refused = run_cli("evaluate")
    assert refused.exit_code == 1
    assert tells(refused.stderr, f"{run.name}: ", "digits-test", "not finite", f"remove {folder} ")
    assert not path.exists()
    write_arrays(path, {"z": np.full_like(arrays["z"], np.nan)}, about)
    done = run_cli("report")
    assert done.exit_code == 0, done.stderr
    assert tells(done.stderr, f"{run.name} is left out", "digits-test", f"remove {folder} ")
    assert {record["run"] for record in results(with_runs) if record["run"]}.isdisjoint({run.name})


def test_damaged_scores_of_a_run_are_named_and_made_anew(with_runs: Workspace, run_cli: RunCli) -> None:
    run = next(run for run in finished_runs(with_runs) if run.config.training == "frozen")
    path = run.folder / "scores" / "digits-test.safetensors"
    sound = path.read_bytes()
    path.write_bytes(sound[:-1])
    refused = run_cli("report")
    assert refused.exit_code == 1
    done = run_cli("evaluate")
    assert done.exit_code == 0
    for said in (refused.stderr, done.stderr):
        assert tells(said, f"{path.relative_to(Path.cwd())}: damaged", "trustcache evaluate")
    assert path.read_bytes() == sound


@pytest.fixture
def extract_always_a(run_cli: RunCli, in_tmp_path: Path, image_folder: Callable[..., Path]) -> RunCli:
    """`extract_always_a({"a": 6, "b": 1})`: a training cache of so many images, all of which are called a."""

    def run(counts: dict[str, int]) -> Result:
        (in_tmp_path / "oneclass.py").write_text(ALWAYS_A)
        (in_tmp_path / "only.toml").write_text(
            "name = 'only'\nrole = 'train'\nclasses = ['a', 'b']\n"
            f"[[files]]\nlayout = 'folders'\npath = '{image_folder(counts)}'\n"
        )
        return run_cli("extract", "--classifier", "oneclass:Always", "--data", "only.toml", "--workers", "0")

    return run


ALWAYS_A = """
import torch


class Always(torch.nn.Module):
    pretrained_cfg = {"input_size": (3, 8, 8)}

    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(3, 2)
        torch.nn.init.zeros_(self.last.weight)
        self.last.bias.data = torch.tensor([2.0, 0.0])

    def forward(self, x):
        return self.last(x.mean(dim=(2, 3)))
"""


def test_a_classifier_that_is_always_right_leaves_nothing_to_learn(run_cli: RunCli, extract_always_a: RunCli) -> None:
    assert "right on 100.00 %" in extract_always_a({"a": 5}).stdout
    done = run_cli("train", "--loss", "ce", "--frozen")
    assert done.exit_code == 2
    assert tells(done.stderr, "always right", "5 samples")


@pytest.mark.parametrize("kind", ["wrong", "right"])
@pytest.mark.parametrize("how", [("--frozen",), ("--workers", 0, "--batch-size", 2)])
def test_a_seed_that_validates_on_all_mistakes_or_on_none_is_refused_before_anything_is_trained(
    run_cli: RunCli, extract_always_a: RunCli, in_tmp_path: Path, kind: str, how: tuple[str, ...]
) -> None:
    assert extract_always_a({"a": 6, "b": 1} if kind == "wrong" else {"a": 1, "b": 6}).exit_code == 0
    row = 6 if kind == "wrong" else 0
    bad = next(seed for seed in range(99) if validation_rows(7, 0.3, seed)[row])
    good = next(seed for seed in range(99) if not validation_rows(7, 0.3, seed)[row])
    request = ("train", "--loss", "class-balanced", "--epochs", 1, "--device", "cpu", "--val-fraction", 0.3, *how)
    done = run_cli(*request, "--seed", f"{good},{bad}")
    assert done.exit_code == 2
    assert f"only: seed {bad} sets all {kind} answers aside" in done.stderr
    assert not (in_tmp_path / "trustcache-workspace" / "runs").exists()
    done = run_cli(*request, "--seed", good)
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        (torch.cuda.OutOfMemoryError("Tried to allocate 2 GiB"), "the GPU's memory is full (Tried to allocate 2 GiB)"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "a decoding process died"),
    ],
)
def test_a_machine_at_its_limits_while_scoring_is_said_in_a_sentence(
    with_runs: Workspace, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, error: Exception, fact: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    for path in with_runs.runs.glob("*-fine-tuned-*/scores/*.safetensors"):
        path.unlink()
    monkeypatch.setattr("trustcache.oracles.network.Oracle.forward", fail)
    failed = run_cli("evaluate", "--workers", 0, "--device", "cpu")
    assert failed.exit_code == 1
    assert failed.stderr.splitlines()[-1].startswith(f"error: digits-test: {fact}")
    assert "--batch-size" not in failed.stderr  # which evaluate does not have


def test_a_data_set_whose_images_are_gone_does_not_stop_the_others(
    with_runs: Workspace, run_cli: RunCli, extract_digits: Callable[..., Result], image_folder: Callable[..., Path]
) -> None:
    photos = image_folder({f"{digit}": 2 for digit in range(10)})
    assert extract_digits("--data", photos).exit_code == 0
    for path in with_runs.runs.glob("*-fine-tuned-*/scores/*.h5"):
        path.unlink()
    shutil.rmtree(photos)
    failed = run_cli("evaluate", "--workers", 0, "--device", "cpu")
    assert failed.exit_code == 1
    assert tells(failed.stderr.splitlines()[-1], "error: ", str(photos))
    (run,) = (run for run in finished_runs(with_runs) if run.config.training == "fine-tuned")
    judged = {index.data: run.scores(index) is not None for index in with_runs.caches() if index.role == "test"}
    assert judged == {"digits-test": True, "photos": False}


# --- adversarial images ----------------------------------------------------------------------------------------


@pytest.fixture
def attacked(workspace: Workspace, extract_digits: Callable[..., Result]) -> Index:
    """The cache of the digits' test part under attack, made in batches of 100."""
    assert extract_digits("--data", "digits-pgd").exit_code == 0
    return workspace.find_cache("test", data="digits-pgd")


def test_a_fine_tuned_oracle_sees_the_very_images_that_the_classifier_saw(
    workspace: Workspace, run_cli: RunCli, attacked: Index
) -> None:
    assert run_cli("train", "--loss", "ce,ss", "--epochs", 1, "--workers", 0, "--device", "cpu").exit_code == 0
    cache = open_cache(attacked.folder)
    classifier = load_classifier(original_model(attacked))
    viewer = Viewer(classifier.preprocessing, torch.device("cpu"), 0, judged=classifier)
    batches = shard_batches(attacked.ranges(), 100)
    again = list(viewed_batches(original_dataset(attacked, Path()), viewer, batches))
    # The classifier says of images made again what it said of the first ones, to the last bit that is stored.
    logits = np.concatenate([classifier(batch.pixels)[0].numpy() for batch in again])
    np.testing.assert_array_equal(logits.astype(np.float16), cache.logits)
    for run in finished_runs(workspace):
        oracle = load_oracle(run).eval()
        with torch.inference_mode():
            z = torch.cat([oracle(oracle.preprocessing.normalise(batch.pixels)) for batch in again]).double().numpy()
        np.testing.assert_array_equal(run.scores(attacked), z)


def test_adversarial_images_that_come_out_otherwise_are_refused_not_scored(
    workspace: Workspace, run_cli: RunCli, attacked: Index
) -> None:
    # As if another device or torch had made them: the cache holds what the classifier said of other images.
    (clean,) = (index for index in workspace.caches() if index.data == "digits-test")
    for shard, (start, stop) in enumerate(attacked.ranges()):
        part = open_cache(clean.folder)[start:stop]
        columns = {"logits": part.logits, "features": part.features, "labels": part.labels, "content": part.content}
        columns |= {"predictions": part.predictions, "correct": part.correct, "true_class_prob": part.true_class_prob}
        columns |= {"sample_indices": part.sample_indices, "sample_ids": np.array(part.sample_ids, dtype=bytes)}
        attacked.add(shard, columns, {}, original_dataset(attacked, Path()).fingerprint(start, stop))
    failed = run_cli("train", "--loss", "ce", "--epochs", 1, "--workers", 0, "--device", "cpu")
    assert failed.exit_code == 1
    assert "adversarial images" in failed.stderr
    (run,) = finished_runs(workspace)
    assert run.scores(attacked) is None


def test_adversarial_images_are_made_again_in_the_batches_of_their_extraction(
    workspace: Workspace, run_cli: RunCli, attacked: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[np.ndarray]] = {}

    def watched(dataset: Dataset, viewer: Viewer, batches: list[np.ndarray]) -> Iterator[Batch]:
        seen[dataset.manifest.name] = list(batches)
        return viewed_batches(dataset, viewer, batches)

    monkeypatch.setattr(forward, "viewed_batches", watched)
    assert run_cli("train", "--loss", "ce", "--epochs", 1, "--workers", 0, "--device", "cpu").exit_code == 0
    # Shards of 200 samples in batches of 100, as `extract_digits` asks for.
    assert [len(batch) for batch in seen["digits-pgd"]] == [100, 100, 100, 100, 100, 100, 47]
    assert [len(batch) for batch in seen["digits-test"]] == [128, 128, 128, 128, 128, 7]


def test_adversarial_images_of_another_batch_size_are_another_cache(
    attacked: Index, extract_digits: Callable[..., Result]
) -> None:
    refused = extract_digits("--data", "digits-pgd", "--batch-size", 50)
    assert refused.exit_code != 0
    assert tells(refused.stderr, "data.batch_size", "100", "50")


def test_an_oracle_learns_from_and_is_scored_on_the_images_of_a_subset_alone(
    workspace: Workspace, run_cli: RunCli, extract_digits: Callable[..., Result]
) -> None:
    shutil.rmtree(workspace.root / "cache")
    assert extract_digits("--data", "digits-train", "--data", "digits-pgd", "--subset", 250).exit_code == 0
    assert run_cli("train", "--loss", "ce", "--epochs", 1, "--workers", 0, "--device", "cpu").exit_code == 0
    (run,) = finished_runs(workspace)
    # Of the attacked images the classifier is asked again, and others than those extracted would be refused.
    for data, part in (("digits-test", "250 of 647"), ("digits-pgd", "250 of 647")):
        index = workspace.find_cache("test", data=data)
        assert (index.meaning.data.subset, len(run.scores(index))) == (part, 250)  # type: ignore[arg-type]
    assert workspace.find_cache("train").meaning.data.subset == "250 of 700"
