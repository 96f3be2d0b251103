"""Oracles on all that a classifier computes: trained, scored, calibrated, shipped; and fitted on a held-out half."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from trustcache import TrustedClassifier
from trustcache.cache import open_cache
from trustcache.cache.workspace import Workspace
from trustcache.data.splits import half_rows
from trustcache.metrics.ranking import trust_metrics
from trustcache.models.classifiers import Classifier
from trustcache.models.views import VIEWS, view_column
from trustcache.oracles.head_inputs import INPUTS, head_inputs, parse_inputs, read_columns
from trustcache.oracles.heads import score_heads
from trustcache.oracles.plan import frozen_head
from trustcache.oracles.presets.preset import read_preset
from trustcache.oracles.runs import Run, finished_runs
from trustcache.report.names import run_names

RunCli = Callable[..., Result]
LABEL = "digits-net"
EVERYTHING = ("--features", "stages", "--views", "all")
STRONG = ("--frozen", "--head", "mlp", "--inputs", "all", "--loss", "ce", "--batch-size", 64)


def extract_stages(run_cli: RunCli, weights: Path, *data: str) -> None:
    """Caches with features of stages and all views, in place of those that are there."""
    shutil.rmtree("trustcache-workspace/cache", ignore_errors=True)
    model = ("--classifier", "cifar-resnet8", "--weights", weights, "--preprocess", "input_size=8", "--as", LABEL)
    for name in data:
        done = run_cli("extract", *model, "--data", name, *EVERYTHING, "--workers", 0, "--batch-size", 100)
        assert done.exit_code == 0, done.stderr


@pytest.fixture(scope="module")
def strong_workspace(tmp_path_factory: pytest.TempPathFactory, classifier_file: Path) -> Path:
    """A workspace with stages of digits-train and digits-test, and a strong oracle of two members; to be read only."""
    from trustcache.data.dataset import open_dataset
    from trustcache.data.known_data import find_manifests
    from trustcache.evaluate.scoring import evaluate
    from trustcache.extract.on_disk import extract
    from trustcache.extract.settings import ExtractSettings
    from trustcache.losses import LossChoice
    from trustcache.models.building import ModelSpec
    from trustcache.models.classifiers import load_classifier
    from trustcache.oracles.backbones import cached_oracle
    from trustcache.oracles.heads import HEADS
    from trustcache.oracles.optim import Machine
    from trustcache.oracles.plan import TrainSettings, plan
    from trustcache.protocols import Optimiser

    workspace = Workspace(tmp_path_factory.mktemp("strong"))
    classifier = load_classifier(ModelSpec("cifar-resnet8", str(classifier_file), preprocessing={"input_size": (8, 8)}))
    settings = ExtractSettings(
        batch_size=100, workers=0, device="cpu", shard_rows=200, features="stages", views=("all",)
    )
    for name in ("digits-train", "digits-test"):
        dataset = open_dataset(find_manifests(name)[0], Path())
        extract(classifier, LABEL, dataset, Path(), workspace.cache_folder(LABEL, name), settings)
    index = workspace.find_cache("train")
    oracle = cached_oracle(workspace, index, None)
    head = replace(HEADS["mlp"], inputs=tuple(INPUTS), hidden=32, members=2)
    planned = TrainSettings(True, Optimiser("adam", 20, 64, 1e-3), val_fraction=0.3, head=head)
    training = plan(index, oracle, [LossChoice("ce", {})], planned)
    machine = Machine(device="cpu", workers=0)
    evaluate(workspace, training.run(workspace, Path(), machine), Path(), machine)
    return workspace.root


@pytest.fixture
def strong(strong_workspace: Path, in_tmp_path: Path) -> Workspace:
    """A copy of `strong_workspace`, where `run_cli` finds it."""
    shutil.copytree(strong_workspace, in_tmp_path / "trustcache-workspace")
    return Workspace(in_tmp_path / "trustcache-workspace")


def index_of(workspace: Workspace, data: str):
    return next(index for index in workspace.caches() if index.data == data)


def only_run(workspace: Workspace) -> Run:
    (run,) = finished_runs(workspace)
    return run


# --- extraction ------------------------------------------------------------------------------------------------


def test_a_cache_with_stages_says_so_and_holds_the_rest_as_before(
    strong: Workspace, prepared_workspace: Workspace
) -> None:
    with_stages, without = (open_cache(w.cache_folder(LABEL, "digits-test")) for w in (strong, prepared_workspace))
    assert with_stages.index.meaning.features == "stages"
    assert with_stages.index.stages == ("layer1.0", "layer2.0", "layer3.0")
    assert with_stages.stages.shape == (len(without), 3 * (16 + 32 + 64))
    assert with_stages.stages.dtype == np.float16
    np.testing.assert_allclose(with_stages.logits.astype(float), without.logits.astype(float), atol=1e-2)
    # The last stage's mean over positions is what the last layer sees.
    np.testing.assert_allclose(with_stages.stages[:, -192:-128], with_stages.features, rtol=2e-3, atol=1e-3)


def test_a_cache_holds_what_the_classifier_says_of_each_view(strong: Workspace, digits_classifier: Classifier) -> None:
    from trustcache.data.dataset import open_dataset
    from trustcache.data.known_data import find_manifests

    cache = open_cache(strong.cache_folder(LABEL, "digits-test"))
    samples = open_dataset(find_manifests("digits-test")[0], Path()).samples
    images = np.stack([np.asarray(samples.read(int(i))) for i in cache.sample_indices[:20]])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    assert cache.index.meaning.views == tuple(VIEWS)
    for name, view in VIEWS.items():
        said = digits_classifier(view.make(pixels))[0].numpy()
        kept = cache.column(view_column(name))[:20].astype(float)
        np.testing.assert_allclose(kept, said, atol=2e-2)
        assert np.abs(kept - cache.logits[:20]).max() > 1


def test_what_was_not_kept_is_refused_with_the_remedy(
    workspace: Workspace, run_cli: RunCli, extract_digits: RunCli
) -> None:
    refused = run_cli("train", *STRONG)
    assert refused.exit_code == 2
    assert all(
        fact in refused.stderr for fact in ("without stages", "--features stages --views mirrored,shrunk,tilted")
    )
    again = extract_digits("--features", "stages")
    assert again.exit_code == 2
    assert all(fact in again.stderr for fact in ("features", "'last'", "'stages'", "trustcache cache rm"))
    assert extract_digits("--features", "none", name="bare").exit_code == 0
    shown = json.loads(run_cli("cache", "show", "bare/digits-test", "--json").stdout)
    assert (shown["features"], shown["stages"]) == (0, 0)
    bare = open_cache(workspace.cache_folder("bare", "digits-test"))
    assert bare.logits.shape[1] == 10
    with pytest.raises(Exception, match=r"without features.*--features last"):
        _ = bare.features
    done = run_cli("evaluate")  # scores of logits alone are made of it all the same
    assert done.exit_code == 0, done.stderr
    assert (workspace.scores_folder("bare", "digits-test") / "mcp.safetensors").is_file()
    assert not (workspace.scores_folder("bare", "digits-test") / "knn.safetensors").is_file()


# --- training and scoring --------------------------------------------------------------------------------------


def test_the_run_holds_what_it_is_and_its_log_ends_with_the_epoch_that_was_kept(strong: Workspace) -> None:
    run = only_run(strong)
    assert run.name.startswith("digits-net-ce-mlp-frozen-seed0-")
    assert run.config.head.inputs == tuple(INPUTS)
    assert run.config.stages == ("layer1.0", "layer2.0", "layer3.0")
    log = run.log()
    best = max(log, key=lambda entry: entry.validation["auc"])
    assert log[-1] == best
    epochs = [entry.epoch for entry in log]
    assert epochs[:-1] == list(range(1, len(epochs))) or epochs == list(range(1, len(epochs) + 1))
    # What the run scores on its validation part is what that entry says.
    from trustcache.evaluate.scoring import Scoring
    from trustcache.oracles.optim import Machine

    index = index_of(strong, "digits-train")
    rows, z = Scoring(strong.caches(), Path(), Machine("cpu", 0)).of_validation(run, index)
    found = trust_metrics(z, open_cache(index.folder).correct[rows])
    assert found["auc"] == pytest.approx(log[-1].validation["auc"], abs=1e-6)


def test_scores_are_those_of_the_head_on_the_caches_columns_and_rank_better_than_the_linear_head(
    strong: Workspace, run_cli: RunCli
) -> None:
    run, cache = only_run(strong), open_cache(index_of(strong, "digits-test").folder)
    x = head_inputs(tuple(INPUTS), read_columns(tuple(INPUTS), cache)).numpy()
    z = run.scores(cache.index)
    np.testing.assert_allclose(z, score_heads([frozen_head(run)], x)[:, 0], atol=1e-9)
    assert run_cli("train", "--frozen", "--loss", "ce").exit_code == 0
    linear = next(r for r in finished_runs(strong) if r.config.head.kind == "linear")
    auc = [trust_metrics(scores, cache.correct)["auc"] for scores in (z, linear.scores(cache.index))]
    assert auc[0] > auc[1]


def test_the_report_never_averages_heads_of_two_kinds(strong: Workspace, run_cli: RunCli) -> None:
    done = run_cli("train", "--frozen", "--loss", "ce", "--seed", "0,1")
    assert done.exit_code == 0, done.stderr
    assert run_cli("train", *STRONG, "--epochs", 2, "--hidden", 8).exit_code == 0
    assert run_cli("report").exit_code == 0
    records = json.loads((strong.report / "results.json").read_text())
    rows = {(r["settings"].get("head"), r["settings"].get("hidden")) for r in records if r["method"] == "ce"}
    assert rows == {("linear", 0.0), ("mlp on all, 2 members", 32.0), ("mlp on all", 8.0)} or len(rows) == 3
    assert "mlp on all, 2 members" in (strong.report / "report.md").read_text()


def test_only_heads_on_the_presets_inputs_or_fewer_are_called_strong(strong: Workspace) -> None:
    run, preset = only_run(strong), read_preset("strong").head
    assert preset is not None

    def name(*inputs: str) -> str:
        config = replace(run.config, head=replace(preset, inputs=parse_inputs(inputs)))
        return run_names([Run(run.folder, config)])[config.name]

    assert name("strong") == "strong"
    assert name("log-probs", "sorted-log-probs", "prediction", "mirrored") == "strong, no features, 1 view (mirrored)"
    assert not name("all").startswith("strong")


def test_attacked_and_other_caches_without_stages_are_named_as_what_is_lacking(
    strong: Workspace, run_cli: RunCli, extract_digits: RunCli
) -> None:
    shutil.rmtree(index_of(strong, "digits-test").folder)
    assert extract_digits().exit_code == 0
    done = run_cli("evaluate")
    assert done.exit_code == 0, done.stderr
    assert f"--features stages --views {','.join(VIEWS)} --data digits-test" in done.stderr
    poorer = strong.cache_folder(LABEL, "digits-test").relative_to(strong.root.parent)
    assert f"are not cached: remove {poorer}, run `trustcache extract" in done.stderr


def test_confidence_averaged_over_the_mirror_image_is_a_score_of_caches_that_have_both(
    strong: Workspace, run_cli: RunCli, extract_digits: RunCli, digit_files: Path
) -> None:
    assert extract_digits(name="bare").exit_code == 0
    assert run_cli("report").exit_code == 0
    results = json.loads((strong.report / "results.json").read_text())
    records = [r for r in results if r["method"] == "mcp-mirrored"]
    (record,) = records  # none of the cache without the mirror images' logits
    cache = open_cache(strong.cache_folder(LABEL, "digits-test"))
    p = (
        softmax(cache.logits.astype(float), axis=1) + softmax(cache.column("mirrored_logits").astype(float), axis=1)
    ) / 2
    p = p[np.arange(len(cache)), cache.predictions]
    assert record["classifier"] == LABEL
    assert record["metrics"]["auc"] == pytest.approx(roc_auc_score(cache.correct, p))
    assert record["metrics"]["tnr"] == pytest.approx(np.mean(p[~cache.correct] <= 0.5))
    answers = list(
        TrustedClassifier.load(strong.root, "mcp-mirrored", classifier="bare", device="cpu")(
            digit_files / f"{name}.png" for name in cache.sample_ids[:50]
        )
    )
    np.testing.assert_allclose([1 / (1 + np.exp(-a.score)) for a in answers], p[:50], atol=0.01)
    refused = run_cli("calibrate", "mcp-mirrored", "--classifier", "bare", "--data", "digits-test", "--coverage", 0.5)
    assert refused.exit_code == 2
    assert all(fact in refused.stderr for fact in ("without mirrored_logits", "--views mirrored"))


# --- shipping --------------------------------------------------------------------------------------------------


def test_predictions_say_what_the_cache_says(strong: Workspace, digit_files: Path) -> None:
    run, cache = only_run(strong), open_cache(index_of(strong, "digits-test").folder)
    trusted = TrustedClassifier.load(strong.root, run.name, device="cpu")
    answers = list(trusted(digit_files / f"{name}.png" for name in cache.sample_ids[:50]))
    # Both round to float16, which a last digit of the forward pass may turn the other way.
    apart = np.abs(np.array([a.score for a in answers]) - run.scores(cache.index)[:50])
    assert apart.max() < 0.02
    assert (apart < 1e-5).mean() > 0.8
    assert [a.class_number for a in answers] == cache.predictions[:50].tolist()


@pytest.mark.parametrize("format", ["torch", "onnx"])
def test_one_graph_gives_logits_and_the_strong_score(
    strong: Workspace, run_cli: RunCli, digit_files: Path, tmp_path: Path, format: str
) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    run = only_run(strong)
    assert run_cli("calibrate", run.name, "--data", "digits-test", "--coverage", 0.7).exit_code == 0
    done = run_cli("export", run.name, "--format", format)
    assert done.exit_code == 0, done.stderr
    path, beside = map(Path, done.stdout.split())
    assert json.loads(beside.read_text())["checked"]["largest_difference"] <= 1e-4
    from PIL import Image

    files = sorted(digit_files.iterdir())[:9]
    images = np.stack([np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1) for file in files])
    if format == "onnx":
        import onnxruntime

        score = onnxruntime.InferenceSession(path).run(["score"], {"images": images})[0]
    else:
        score = torch.export.load(path).module()(torch.from_numpy(images))[1].numpy()
    answers = TrustedClassifier.load(strong.root, run.name, device="cpu")(files)
    # Predictions round outputs to float16, as the cache does; a graph does not.
    np.testing.assert_allclose(score, [a.score for a in answers], atol=5e-3)


# --- a held-out half -------------------------------------------------------------------------------------------

# Of other images than digits-test's, and of as many.
OTHERS = """
name = "others"
role = "test"
rows = [450, 1097]
[[files]]
layout = "digits"
"""


def test_an_oracle_fitted_on_one_half_is_scored_reported_and_calibrated_on_the_other_only(
    strong: Workspace, run_cli: RunCli
) -> None:
    half = ("--data", "digits-test", "--part", "first-half")
    assert run_cli("train", *STRONG, "--epochs", 3, *half).exit_code == 0
    run = next(r for r in finished_runs(strong) if r.config.part)
    assert "-mlp-frozen-first-half-seed0-" in run.name
    cache = open_cache(index_of(strong, "digits-test").folder)
    learnt = np.zeros(len(cache), dtype=bool)
    learnt[half_rows(len(cache), "first-half")] = True
    assert learnt.sum() == len(cache) // 2
    np.testing.assert_array_equal(np.isnan(run.scores(cache.index)), learnt)

    assert run_cli("report").exit_code == 0
    records = json.loads((strong.report / "results.json").read_text())
    (mine,) = (r for r in records if r["run"] == run.name)
    assert mine["n"] == (~learnt).sum()
    expected = trust_metrics(run.scores(cache.index)[~learnt], cache.correct[~learnt])
    assert mine["metrics"]["auc"] == pytest.approx(expected["auc"])
    (beside,) = (r for r in records if r["method"] == "mcp" and "rows" in r["settings"])
    assert (beside["n"], beside["settings"]) == (mine["n"], {"rows": "second-half"})
    assert mine["settings"]["rows"] == "second-half"

    done = run_cli("calibrate", run.name, "--data", "digits-test", "--coverage", 0.5)
    assert done.exit_code == 0, done.stderr
    assert "digits-test, its second-half" in done.stdout
    assert f"of {(~learnt).sum():,})" in done.stdout


def test_intervals_of_an_oracle_fitted_on_one_half_are_of_the_samples_that_it_is_scored_on(
    strong: Workspace, run_cli: RunCli, classifier_file: Path, in_tmp_path: Path
) -> None:
    assert run_cli("train", *STRONG, "--epochs", 3, "--data", "digits-test", "--part", "first-half").exit_code == 0
    (in_tmp_path / "others.toml").write_text(OTHERS)
    model = ("--classifier", "cifar-resnet8", "--weights", classifier_file, "--preprocess", "input_size=8")
    others = ("--data", "others.toml", *EVERYTHING, "--workers", 0)
    assert run_cli("extract", *model, "--as", LABEL, *others).exit_code == 0
    assert run_cli("evaluate").exit_code == 0
    assert run_cli("report").exit_code == 0
    records = json.loads((strong.report / "results.json").read_text())
    rows = json.loads((strong.report / "intervals.json").read_text())
    for data, half in (("digits-test", "second-half"), ("others", None)):
        (mine,) = (r for r in rows if r["dataset"] == data and r["settings"].get("rows") and r["method"] == "ce")
        (own,) = (r for r in records if r["dataset"] == data and r["settings"] == mine["settings"])
        baselines = {r["settings"].get("rows"): r for r in records if r["dataset"] == data and r["method"] == "mcp"}
        difference, low, high = mine["difference_to_mcp"]["auc"]
        auc = own["metrics"]["auc"]
        assert difference == pytest.approx(auc - baselines[half]["metrics"]["auc"])
        assert low < difference < high
        assert mine["intervals"]["auc"][0] < auc < mine["intervals"]["auc"][1]


def test_the_half_that_is_not_learnt_from_does_not_reach_the_head(strong: Workspace, run_cli: RunCli) -> None:
    half = ("--data", "digits-test", "--part", "second-half", "--epochs", 3)
    assert run_cli("train", *STRONG, *half).exit_code == 0
    run = next(r for r in finished_runs(strong) if r.config.part)
    cache = open_cache(index_of(strong, "digits-test").folder)
    mine = half_rows(len(cache), "second-half")
    x = head_inputs(tuple(INPUTS), read_columns(tuple(INPUTS), cache)).numpy()[mine].astype(float)
    np.testing.assert_allclose(frozen_head(run).mean, x.mean(0), rtol=1e-3, atol=1e-3)
    z = run.weights()
    assert run_cli("train", *STRONG, *half).exit_code == 0  # finished already
    assert all(torch.equal(z[name], tensor) for name, tensor in run.weights().items())


@pytest.fixture
def extract_more(workspace: Workspace, run_cli: RunCli, classifier_file: Path, in_tmp_path: Path) -> RunCli:
    """`extract_more("others.toml", "--subset", 300)`: a cache of that data set beside those of `workspace`."""
    (in_tmp_path / "others.toml").write_text(OTHERS)

    def extract(data: str, *options: object) -> None:
        model = ("--classifier", "cifar-resnet8", "--weights", classifier_file, "--preprocess", "input_size=8")
        done = run_cli("extract", *model, "--as", LABEL, "--data", data, "--workers", 0, *options)
        assert done.exit_code == 0, done.stderr

    return extract


@pytest.mark.parametrize("learnt", ["digits-test", "digits-c/contrast/4"])
def test_the_half_that_was_learnt_from_is_left_out_of_the_same_images_changed_and_of_no_others(
    workspace: Workspace, run_cli: RunCli, extract_more: RunCli, learnt: str
) -> None:
    for data in ("digits-c/contrast/4", "digits-fourier", "others.toml"):
        extract_more(data)
    done = run_cli("train", "--frozen", "--loss", "ce", "--epochs", 3, "--data", learnt, "--part", "first-half")
    assert done.exit_code == 0, done.stderr
    (run,) = finished_runs(workspace)
    half = np.isin(np.arange(647), half_rows(647, "first-half"))
    for data in ("digits-test", "digits-c/contrast/4", "digits-fourier"):
        np.testing.assert_array_equal(np.isnan(run.scores(index_of(workspace, data))), half)
    assert not np.isnan(run.scores(index_of(workspace, "others"))).any()
    assert "others, its" not in run_cli("calibrate", run.name, "--data", "others", "--coverage", 0.5).stdout


def test_where_nothing_tells_the_half_that_was_learnt_from_no_score_is_made_shown_or_calibrated(
    workspace: Workspace, run_cli: RunCli, extract_more: RunCli
) -> None:
    data = "digits-c/gaussian_noise/2"
    extract_more(data, "--subset", 300)

    def explained(text: str) -> bool:
        return all(fact in text for fact in ("first half of 647 ", "digits-test", f"300 of {data}", "same --subset"))

    half = ("--data", "digits-test", "--part", "first-half")
    assert explained(run_cli("train", "--frozen", "--loss", "ce", "--epochs", 3, *half).stderr)
    (run,) = finished_runs(workspace)
    assert run.scores(index_of(workspace, data)) is None
    assert explained(run_cli("evaluate").stderr)
    assert explained(run_cli("report").stderr)
    shown = json.loads((workspace.report / "results.json").read_text())
    assert [r["dataset"] for r in shown if r["run"]] == ["digits-test"]
    refused = run_cli("calibrate", run.name, "--data", data, "--coverage", 0.5)
    assert refused.exit_code == 2
    assert explained(refused.stderr)


def test_a_run_that_learnt_from_changed_images_is_not_calibrated_on_the_unchanged_ones(
    workspace: Workspace, run_cli: RunCli, extract_more: RunCli, in_tmp_path: Path
) -> None:
    (in_tmp_path / "bent.toml").write_text(BENT)
    extract_more("bent.toml")
    assert run_cli("train", "--frozen", "--loss", "ce", "--epochs", 3, "--data", "digits-train-bent").exit_code == 0
    (run,) = finished_runs(workspace)
    refused = run_cli("calibrate", run.name, "--data", "digits-train", "--coverage", 0.5)
    assert refused.exit_code == 2
    assert "learnt from its images" in refused.stderr


# --- the same images, changed ----------------------------------------------------------------------------------

BENT = """
name = "digits-train-bent"
variant_of = "digits-train"

[variant]
kind = "corruption"
name = "contrast"
severity = 1
"""


def test_changed_images_are_learnt_from_too_and_named(
    strong: Workspace, run_cli: RunCli, classifier_file: Path, in_tmp_path: Path
) -> None:
    (in_tmp_path / "bent.toml").write_text(BENT)
    model = (
        "--classifier",
        "cifar-resnet8",
        "--weights",
        classifier_file,
        "--preprocess",
        "input_size=8",
        "--as",
        LABEL,
    )
    made = run_cli("extract", *model, "--data", "bent.toml", *EVERYTHING, "--workers", 0)
    assert made.exit_code == 0, made.stderr
    options = (*STRONG, "--epochs", 2, "--data", "digits-train")
    assert run_cli("train", *options, "--also", "digits-train-bent").exit_code == 0
    assert run_cli("train", *options).exit_code == 0
    with_bent, without = (
        next(r for r in finished_runs(strong) if bool(r.config.also) == also and r.config.head.members == 1)
        for also in (True, False)
    )
    assert list(with_bent.config.also) == ["digits-train-bent"]
    caches = [open_cache(index_of(strong, name).folder) for name in ("digits-train", "digits-train-bent")]
    x = np.concatenate([head_inputs(tuple(INPUTS), read_columns(tuple(INPUTS), cache)).numpy() for cache in caches])
    np.testing.assert_allclose(frozen_head(with_bent).mean, x.mean(0), rtol=1e-3, atol=1e-3)
    assert not np.allclose(frozen_head(without).mean, x.mean(0), rtol=1e-3, atol=1e-3)
    assert run_cli("report").exit_code == 0
    assert "with digits-train-bent" in (strong.report / "report.md").read_text()
    for data in ("digits-train-bent", "digits-train"):
        refused = run_cli("calibrate", with_bent.name, "--data", data, "--coverage", 0.5)
        assert refused.exit_code == 2
        assert f"--data {data}: {with_bent.name} learnt from its images" in refused.stderr
    refused = run_cli("calibrate", without.name, "--data", "digits-train-bent", "--coverage", 0.5)
    assert "learnt from its images" in refused.stderr  # changed, but the very ones
    refused = run_cli("train", *options, "--also", "digits-train")
    assert refused.exit_code == 2
    assert all(fact in refused.stderr for fact in ("--also digits-train", "--data digits-train"))


# --- what is asked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (("--head", "mlp", "--loss", "ce"), ("--head and --inputs", "add --frozen")),
        (("--frozen", "--loss", "ce", "--dropout", 0.2), ("--dropout", "linear head", "--head mlp")),
        (("--frozen", "--loss", "ce", "--ensemble", 3), ("--ensemble", "linear head")),
        (("--frozen", "--loss", "ce", "--part", "first-half"), ("--part first-half", "--data")),
        (("--loss", "ce", "--part", "first-half", "--data", "digits-test"), ("--part", "add --frozen")),
        (("--frozen", "--loss", "ce", "--inputs", "x"), ("--inputs x", "last, strong, all")),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    workspace: Workspace, run_cli: RunCli, options: tuple, facts: tuple[str, ...]
) -> None:
    refused = run_cli("train", *options)
    assert refused.exit_code == 2
    assert all(fact in refused.stderr for fact in facts), refused.stderr


def test_the_preset_is_what_head_mlp_on_its_inputs_is_by_default(strong: Workspace, run_cli: RunCli) -> None:
    assert run_cli("train", "--preset", "strong", "--seed", 3, "--epochs", 2).exit_code == 0
    before = {run.name for run in finished_runs(strong)}
    same = ("--frozen", "--head", "mlp", "--inputs", "strong", "--loss", "ce", "--batch-size", 512, "--lr", 1e-3)
    assert run_cli("train", *same, "--seed", 3, "--epochs", 2).exit_code == 0
    assert {run.name for run in finished_runs(strong)} == before
    done = run_cli("train", "--preset", "strong", "--seed", 3, "--epochs", 2, "--ensemble", 2, "--hidden", 4)
    assert done.exit_code == 0, done.stderr
    (new,) = (run for run in finished_runs(strong) if run.name not in before)
    assert (new.config.head.members, new.config.head.hidden) == (2, 4)
