"""The released protocol does what the released code does, and nothing of it reaches the paper's definitions."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from sklearn.metrics import average_precision_score

from tests.fitted_heads import fit
from trustcache import losses
from trustcache.cache import open_cache
from trustcache.cache.index import read_index
from trustcache.cache.provenance import original_dataset
from trustcache.cache.workspace import Workspace
from trustcache.data.loader import Viewer
from trustcache.data.splits import validation_rows
from trustcache.evaluate.scoring import Scoring
from trustcache.losses import RELEASED_LOSSES, LossChoice
from trustcache.metrics.ranking import METRICS, trust_metrics
from trustcache.metrics.released import released_trust_metrics
from trustcache.models.preprocessing import RELEASED_PREPROCESSING, Preprocessing
from trustcache.oracles.backbones import tuned_oracle
from trustcache.oracles.finetune import finetune
from trustcache.oracles.head_training import HeadTask
from trustcache.oracles.heads import score_heads
from trustcache.oracles.optim import Machine, build_optimiser
from trustcache.oracles.plan import TrainSettings, plan
from trustcache.oracles.runs import finished_runs, open_run
from trustcache.protocols import LEAST_STEPS, PROTOCOLS, Optimiser

RunCli = Callable[..., Result]
BROADCAST = {"ce": losses.broadcast_cross_entropy, "focal": losses.broadcast_focal}
RIGHT = {"ce": losses.cross_entropy, "focal": losses.focal}


# --- losses ----------------------------------------------------------------------------------------------------


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    z = 3 * torch.randn(50, generator=generator, dtype=torch.float64)
    return z, (torch.rand(50, generator=generator) > 0.3).double()


def naive(name: str, z: torch.Tensor, o: torch.Tensor) -> torch.Tensor:
    """Every prediction, down, against every label, across: (N, N), as outputs (N, 1) meet labels (N,)."""
    p = torch.sigmoid(z)[:, None]
    if name == "ce":
        return -o * p.log() - (1 - o) * (1 - p).log()
    return -o * (1 - p) ** 2 * p.log() - (1 - o) * p**2 * (1 - p).log()


@pytest.mark.parametrize("name", BROADCAST)
def test_a_broadcast_loss_is_the_mean_over_all_pairs_with_the_same_gradient(name: str, batch: tuple) -> None:
    z, o = batch
    ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
    torch.testing.assert_close(BROADCAST[name](ours, o.mean()), naive(name, theirs, o).mean(dim=1))
    BROADCAST[name](ours, o.mean()).mean().backward()
    naive(name, theirs, o).mean().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("name", BROADCAST)
def test_shuffled_labels_change_no_digit_of_a_broadcast_loss_but_the_right_one(name: str, batch: tuple) -> None:
    z, o = (part.float() for part in batch)
    shuffled = o[torch.randperm(50, generator=torch.Generator().manual_seed(1))]
    assert torch.equal(BROADCAST[name](z, o.mean()), BROADCAST[name](z, shuffled.mean()))
    assert not torch.isclose(RIGHT[name](z, o).mean(), RIGHT[name](z, shuffled).mean())


# --- heads -----------------------------------------------------------------------------------------------------


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=generator)
    chance = torch.sigmoid(2 * x[:, 0] + 1)
    return x, torch.rand(400, generator=generator) < chance, chance


def task(name: str, protocol: str, seed: int = 0) -> HeadTask:
    loss = PROTOCOLS[protocol].losses[name]
    return HeadTask(LossChoice(name, dict(loss.defaults)), loss.signed_distance, seed, protocol)


def test_released_heads_end_the_same_whichever_sample_a_label_belongs_to(features: tuple) -> None:
    x, correct, chance = features
    shuffled = correct[torch.randperm(400, generator=torch.Generator().manual_seed(1))]
    whole = Optimiser("adam", 20, 400, 0.01)
    tasks = [task(name, protocol) for protocol in PROTOCOLS for name in BROADCAST]
    one, _ = fit(x, correct, chance, tasks, whole, 0.0)
    other, _ = fit(x, shuffled, chance, tasks, whole, 0.0)
    same = [np.array_equal(a.weight, b.weight) for a, b in zip(one, other, strict=True)]
    assert dict(zip([(t.protocol, t.loss.name) for t in tasks], same, strict=True)) == {
        ("equations", "ce"): False, ("equations", "focal"): False, ("released", "ce"): True, ("released", "focal"): True
    }  # fmt: skip


def test_heads_of_both_protocols_side_by_side_end_where_each_ends_alone(features: tuple) -> None:
    tasks = [task(name, protocol, seed) for seed in (0, 1) for protocol in PROTOCOLS for name in RELEASED_LOSSES]
    optimiser = Optimiser("adam", 5, 40, 0.01)
    together, history = fit(*features, tasks, optimiser, 0.2)
    z = score_heads(together, features[0].numpy())
    for i, one in enumerate(tasks):
        (alone,), own = fit(*features, [one], optimiser, 0.2)
        np.testing.assert_allclose(z[:, i], score_heads([alone], features[0].numpy())[:, 0], atol=1e-4)
        np.testing.assert_allclose(history[:, i], own[:, 0], atol=1e-4)


def test_a_released_head_compares_with_the_accuracy_of_what_its_own_seed_trains_on(features: tuple) -> None:
    x, correct, chance = features
    still = Optimiser("adam", 1, 400, lr=0.0)
    (head,), history = fit(x, correct, chance, [task("ce", "released")], still, 0.3)
    mine = torch.from_numpy(~validation_rows(400, 0.3, 0))
    z, mine = torch.from_numpy(score_heads([head], x[mine].numpy())[:, 0]), correct[mine].double()
    assert history[0, 0] == pytest.approx(float(naive("ce", z, mine).mean()), rel=1e-5)


# --- metrics ---------------------------------------------------------------------------------------------------


def naive_fpr(z: np.ndarray, correct: np.ndarray) -> float:
    p = 1 / (1 + np.exp(-z))
    for i in range(10_000):
        delta = p.min() + (p.max() - p.min()) / 10_000 * i
        if 0.9495 <= (p[correct] >= delta).mean() <= 0.9505:
            return float((p[~correct] >= delta).mean())
    return float("nan")


@pytest.mark.parametrize("seed", range(5))
def test_released_metrics_flip_the_sign_and_read_a_grid_and_change_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    correct = rng.random(3000) < 0.8
    z = rng.normal(size=3000) + correct
    found, right = released_trust_metrics(z, correct), trust_metrics(z, correct)
    assert found["aupr_error"] == pytest.approx(average_precision_score(~correct, z))
    assert found["fpr_at_95_tpr"] == pytest.approx(naive_fpr(z, correct), abs=0)
    assert found.keys() == METRICS.keys()
    assert {key for key in found if found[key] != right[key]} <= {"aupr_error", "fpr_at_95_tpr"}


@pytest.mark.parametrize("z", [np.zeros(100), np.arange(100) // 10.0, np.append(np.full(99, 20.0), -20.0)])
def test_where_scores_clump_no_threshold_fits_and_the_released_fpr_is_missing(z: np.ndarray) -> None:
    correct = np.arange(100) % 4 > 0
    assert np.isnan(released_trust_metrics(z, correct)["fpr_at_95_tpr"])
    assert np.isfinite(trust_metrics(z, correct)["fpr_at_95_tpr"])


def test_a_better_score_has_a_lower_released_aupr_error() -> None:
    correct = np.arange(1000) % 5 > 0
    rng = np.random.default_rng(0)
    good, bad = (rng.normal(size=1000) + shift * correct for shift in (3, 1))
    released = [released_trust_metrics(z, correct)["aupr_error"] for z in (good, bad)]
    assert released[0] < released[1]


def test_one_class_data_leave_the_released_metrics_undefined() -> None:
    with pytest.warns(UserWarning, match="undefined"):
        found = released_trust_metrics([1.0, 2.0], [True, True])
    assert np.isnan(found["aupr_error"])
    assert np.isnan(found["auc"])


# --- the optimiser ---------------------------------------------------------------------------------------------


def course(optimiser: Optimiser, steps: int) -> tuple[list[float], list[float]]:
    """The rate and the momentum at every step."""
    weight = torch.nn.Parameter(torch.zeros(1))
    sgd, schedule = build_optimiser(optimiser, [weight], steps)
    assert schedule
    rates, momenta = [], []
    for _ in range(steps - 1):
        rates.append(sgd.param_groups[0]["lr"])
        momenta.append(sgd.param_groups[0]["momentum"])
        sgd.step()
        schedule.step()
    return rates, momenta


def test_the_scripts_optimiser_warms_up_for_100_steps_and_its_momentum_is_onecycles() -> None:
    optimiser = PROTOCOLS["released"].optimiser(frozen=False, rows=1_281_167)
    assert (optimiser.epochs, optimiser.batch_size, optimiser.lr, optimiser.momentum) == (1, 40, 1e-5, 0.05)
    rates, momenta = course(optimiser, 1000)
    assert int(np.argmax(rates)) == 99
    assert max(rates) == pytest.approx(1e-5)
    assert all(a > b for a, b in pairwise(rates[99:]))
    assert (max(momenta), min(momenta)) == pytest.approx((0.95, 0.85))


def test_a_momentum_that_is_given_stays_what_it_is() -> None:
    _, momenta = course(Optimiser("sgd", 1, 40, 0.02, momentum=0.3), 50)
    assert set(momenta) == {0.3}


# --- images ----------------------------------------------------------------------------------------------------


def test_an_image_goes_through_the_judged_classifiers_size_by_nearest_neighbours() -> None:
    own = Preprocessing((4, 4), 1.0, "squash", "bilinear", (0.5,) * 3, (0.5,) * 3)
    pixels = torch.arange(12, dtype=torch.uint8).view(1, 3, 2, 2)
    seen = Viewer(own, torch.device("cpu"), 0, via=(2, 2)).resized(pixels)
    assert torch.equal(seen, pixels.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_released_images_are_squashed_and_normalised_by_one_half(
    workspace: Workspace, extract_digits: Callable[..., Result], run_cli: RunCli, classifier_file: object
) -> None:
    model = ("--classifier", "cifar-resnet8", "--weights", classifier_file, "--preprocess", "input_size=8")
    done = run_cli("extract", *model, "--protocol", "released", "--data", "digits-test", "--workers", 0)
    assert done.exit_code == 0, done.stderr
    index = read_index(workspace.root / "cache" / "cifar-resnet8-released" / "digits-test")
    stored = index.identity.preprocessing
    assert stored.input_size == (8, 8)
    for key, value in RELEASED_PREPROCESSING.items():
        assert getattr(stored, key) == value


# --- through the command line ----------------------------------------------------------------------------------


def results(workspace: Workspace) -> list[dict]:
    return json.loads((workspace.report / "results.json").read_text())


def test_both_protocols_stand_apart_in_the_report_each_beside_the_classifiers_own_confidence(
    workspace: Workspace, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LEAST_STEPS, "adam", 1000)
    for protocol in PROTOCOLS:
        done = run_cli("train", "--frozen", "--loss", "ce,ss", "--seed", "0,1", "--protocol", protocol)
        assert done.exit_code == 0, done.stderr
        assert ("its own preprocessing" in done.stderr) == (protocol == "released")
    shown = run_cli("report").stdout
    found = {(r["protocol"], r["method"]): [] for r in results(workspace)}
    for r in results(workspace):
        found[r["protocol"], r["method"]].append(r["metrics"])
    assert {key[0] for key in found} == set(PROTOCOLS)
    assert all(("released", method) in found for protocol, method in found if protocol == "equations")
    assert {key: len(values) for key, values in found.items() if key[1] in ("mcp", "ce", "ss")} == {
        (protocol, method): 1 if method == "mcp" else 2 for protocol in PROTOCOLS for method in ("mcp", "ce", "ss")
    }
    (right,), (flipped,) = found["equations", "mcp"], found["released", "mcp"]
    assert right["auc"] == flipped["auc"]
    assert right["aupr_error"] > 2 * flipped["aupr_error"]
    assert min(m["aupr_error"] for m in found["released", "ce"]) > max(m["aupr_error"] for m in found["released", "ss"])
    assert all(m["tpr"] > 0.99 and m["tnr"] < 0.02 for m in found["released", "ce"])
    # A table each, and in the document its intervals.
    document = (workspace.report / "report.md").read_text(encoding="utf-8")
    for protocol in PROTOCOLS:
        assert shown.count(f" % · protocol {protocol}") == 1
        assert document.count(f" % · protocol {protocol}") == 2
    assert "Error ↓" in shown
    assert "Error ↑" in shown


def test_training_and_report_call_a_sample_untrustworthy_by_the_same_threshold(
    workspace: Workspace, run_cli: RunCli
) -> None:
    """tcp regresses a probability: its TNR counts what lies below chance level, 1/10 for ten classes."""
    done = run_cli("train", "--frozen", "--loss", "tcp", "--val-fraction", 0.3)
    assert done.exit_code == 0, done.stderr
    (run,) = finished_runs(workspace)
    learnt, tested = (workspace.find_cache(role) for role in ("train", "test"))
    rows, z = Scoring(workspace.caches(), Path(), Machine("cpu", 0)).of_validation(run, learnt)
    correct = open_cache(learnt.folder).correct[rows]
    tnr = {level: trust_metrics(z, correct, negative_threshold=level)["tnr"] for level in (0.1, 0.5)}
    assert run.log()[-1].validation["tnr"] == pytest.approx(tnr[0.1])
    assert tnr[0.1] != tnr[0.5]
    assert f"{100 * tnr[0.1]:.2f}" in done.stdout
    run_cli("report")
    (shown,) = (r["metrics"]["tnr"] for r in results(workspace) if r["method"] == "tcp")
    on_test = trust_metrics(run.scores(tested), open_cache(tested.folder).correct, negative_threshold=0.1)
    assert shown == pytest.approx(on_test["tnr"])


def test_without_released_runs_there_is_no_released_table(workspace: Workspace, run_cli: RunCli) -> None:
    run_cli("train", "--frozen", "--loss", "ce", "--epochs", 1)
    run_cli("report")
    assert {r["protocol"] for r in results(workspace)} == {"equations"}


def test_fine_tuning_by_the_scripts_sees_images_their_way(workspace: Workspace, run_cli: RunCli) -> None:
    done = run_cli("train", "--loss", "all", "--protocol", "released", "--workers", 0, "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    runs = finished_runs(workspace)
    assert sorted(run.config.loss.name for run in runs) == ["ce", "focal", "ss", "tcp"]  # the code has no more
    for run in runs:
        config = run.config
        assert (config.optimiser.epochs, config.optimiser.batch_size, config.optimiser.lr) == (1, 40, 1e-5)
        assert config.backbone.preprocessing.crop_mode == "squash"
        assert config.backbone.preprocessing.mean == (0.5, 0.5, 0.5)
        assert run.scores(workspace.find_cache("test")) is not None


def test_only_the_released_protocol_mirrors_images(
    workspace: Workspace, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrored: list[int] = []
    flip = torch.Tensor.flip
    monkeypatch.setattr(torch.Tensor, "flip", lambda self, *axes: mirrored.append(1) or flip(self, *axes))
    for protocol in PROTOCOLS:
        run_cli("train", "--loss", "ce", "--epochs", 1, "--workers", 0, "--device", "cpu", "--protocol", protocol)
        assert bool(mirrored) == (protocol == "released")


@pytest.mark.parametrize(("protocol", "same"), [("released", True), ("equations", False)])
def test_released_fine_tuning_too_ends_the_same_whichever_sample_a_label_belongs_to(
    workspace: Workspace, protocol: str, same: bool
) -> None:
    index = workspace.find_cache("train")
    oracle = tuned_oracle(workspace, index, None, protocol)
    whole = Optimiser("sgd", epochs=2, batch_size=index.samples, lr=0.02)
    settings = TrainSettings(False, whole, (0,), 0.0, None, protocol)
    (config,) = plan(index, oracle, [LossChoice("ce", {})], settings).configs
    ended = []
    for shuffle in (False, True):
        cache, run = open_cache(index.folder), open_run(workspace, config)
        if shuffle:
            cache.correct = np.random.default_rng(0).permutation(cache.correct)
        finetune([run], oracle.spec(), original_dataset(index, Path()), cache, Machine("cpu", workers=0))
        ended.append(run.weights())
    assert all(torch.equal(ended[0][name], ended[1][name]) for name in ended[0]) == same


def test_a_loss_that_the_released_code_lacks_is_refused(workspace: Workspace, run_cli: RunCli) -> None:
    done = run_cli("train", "--frozen", "--loss", "class-balanced", "--protocol", "released")
    assert done.exit_code == 2
    assert all(fact in done.stderr for fact in ("--loss class-balanced", "--protocol released", "ce, focal, tcp, ss"))
