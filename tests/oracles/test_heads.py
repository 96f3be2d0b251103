"""Many heads at once: each must become what it becomes alone."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tests.fake_gpu import watched
from tests.fitted_heads import fit
from trustcache.data.splits import validation_rows
from trustcache.losses import LOSSES, LossChoice
from trustcache.oracles import head_training
from trustcache.oracles.head_inputs import _ALL, Outputs, head_inputs
from trustcache.oracles.head_rows import BLOCK_ROWS, WholeColumns
from trustcache.oracles.head_training import Diverged, HeadTask, _Inputs, train_heads
from trustcache.oracles.heads import LINEAR, HeadSpec, LinearHead, score_heads
from trustcache.protocols import Optimiser
from trustcache.registry.permission import allow_code

OPTIMISER = Optimiser("adam", epochs=5, batch_size=64, lr=1e-2)


@pytest.fixture(scope="module")
def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features on very different scales, one of them constant, and targets that depend on them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1500, 12, generator=generator)
    chance = torch.sigmoid(2 * x[:, 0] - x[:, 1] + 1.5)
    correct = torch.rand(1500, generator=generator) < chance
    x = x * torch.logspace(-3, 3, 12) + 5
    x[:, 7] = 3.25
    return x.half().float(), correct, chance


def task(name: str, seed: int = 0, **settings: float) -> HeadTask:
    return HeadTask(LossChoice(name, {**LOSSES[name].defaults, **settings}), LOSSES[name].signed_distance, seed)


def test_a_head_in_a_batch_of_64_scores_as_the_same_head_trained_alone(data: tuple) -> None:
    tasks = [task(name, seed) for name in LOSSES for seed in range(8)]
    tasks += [task("ss", seed, alpha_neg=a) for a in (2.0, 5.0, 8.0) for seed in range(8)]
    assert len(tasks) == 64
    together, history = fit(*data, tasks, OPTIMISER, 0.1)
    z = score_heads(together, data[0].numpy())
    for i in range(0, 64, 7):
        (alone,), own_history = fit(*data, [tasks[i]], OPTIMISER, 0.1)
        np.testing.assert_allclose(z[:, i], score_heads([alone], data[0].numpy())[:, 0], atol=1e-4)
        np.testing.assert_allclose(history[:, i], own_history[:, 0], atol=1e-4)


def test_cross_entropy_ends_where_logistic_regression_does(data: tuple) -> None:
    x, correct, _ = data
    (head,), _ = fit(*data, [task("ce")], Optimiser("adam", 300, 1500, 2e-2), 0.0)
    scaled = (x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-6)
    reference = LogisticRegression(C=1e6, max_iter=1000).fit(scaled.numpy(), correct.numpy())
    z = score_heads([head], x.numpy())[:, 0]
    expected = reference.decision_function(scaled.numpy())
    assert np.corrcoef(z, expected)[0, 1] > 0.9999
    np.testing.assert_allclose(z, expected, atol=0.05)


def test_losses_fall_over_the_epochs(data: tuple) -> None:
    _, history = fit(*data, [task(name) for name in LOSSES], OPTIMISER, 0.1)
    assert (history[-1] < history[0]).all()


def test_rows_held_out_for_validation_do_not_reach_their_seed(data: tuple) -> None:
    x, correct, chance = data
    held_out = torch.from_numpy(validation_rows(len(x), 0.3, seed=5))
    (head,), _ = fit(x, correct, chance, [task("ce", 5)], OPTIMISER, 0.3)
    changed = torch.where(held_out, ~correct, correct)
    (same,), _ = fit(x, changed, chance, [task("ce", 5)], OPTIMISER, 0.3)
    (other,), _ = fit(x, changed, chance, [task("ce", 6)], OPTIMISER, 0.3)
    np.testing.assert_array_equal(head.weight, same.weight)
    assert not np.allclose(other.weight, same.weight)


def test_heads_come_back_in_the_order_of_their_tasks(data: tuple) -> None:
    tasks = [task("tcp"), task("ce"), task("ss"), task("ce", 1), task("focal")]
    together, history = fit(*data, tasks, OPTIMISER, 0.1)
    reversed_, reversed_history = fit(*data, tasks[::-1], OPTIMISER, 0.1)
    for head, twin in zip(together, reversed_[::-1], strict=True):
        np.testing.assert_allclose(head.weight, twin.weight, atol=1e-4)
        assert head.signed_distance == twin.signed_distance
    np.testing.assert_allclose(history, reversed_history[:, ::-1], atol=1e-4)


@pytest.mark.parametrize("part", [0.0, 0.2])
def test_a_head_that_diverges_leaves_those_beside_it_as_they_are_alone(data: tuple, part: float) -> None:
    x, correct, chance = data
    tasks = [task("tcp"), task("ss", alpha_neg=1e4), task("tcp", 1)]  # of which float32 holds no power of e
    first, lost, last = train_heads({"features": x}, correct, chance, tasks, OPTIMISER, part)
    assert isinstance(lost, Diverged)
    for one, own in ((first, tasks[0]), (last, tasks[2])):
        (alone,) = train_heads({"features": x}, correct, chance, [own], OPTIMISER, part)
        np.testing.assert_allclose(one.head.weight, alone.head.weight, atol=1e-4)
        assert all(np.isfinite(entry["loss"]) for entry in one.log)


def test_a_head_whose_last_step_goes_astray_after_a_finite_loss_has_diverged(data: tuple) -> None:
    x, correct, chance = data
    one_step = Optimiser("adam", epochs=1, batch_size=1500, lr=1e37)
    assert train_heads({"features": x}, correct, chance, [task("ss", alpha_neg=30.0)], one_step, 0.0) == [Diverged(1)]


def test_a_signed_distance_is_the_distance_from_the_plane() -> None:
    rng = np.random.default_rng(0)
    w, mean, std, x = rng.normal(size=4), rng.normal(size=4), rng.random(4) + 0.5, rng.normal(size=(9, 4))
    z = score_heads([LinearHead(w.astype(np.float32), 0.7, mean, std, True)], x)[:, 0]
    scaled = (x - mean) / std
    w = w.astype(np.float32).astype(float)
    nearest = scaled - ((scaled @ w + 0.7) / (w @ w))[:, None] * w  # on the plane w.x + b = 0
    np.testing.assert_allclose(np.abs(z), np.linalg.norm(scaled - nearest, axis=1), rtol=1e-9)
    assert (np.sign(z) == np.sign(scaled @ w + 0.7)).all()


def test_half_precision_features_train_like_the_same_values_in_single_precision(data: tuple) -> None:
    x, correct, chance = data
    (single,), _ = fit(x, correct, chance, [task("ce")], OPTIMISER, 0.1)
    (half,), _ = fit(x.half(), correct, chance, [task("ce")], OPTIMISER, 0.1)
    np.testing.assert_array_equal(single.weight, half.weight)


def test_the_validation_part_has_the_asked_share_and_depends_on_the_seed_alone() -> None:
    rows = validation_rows(1000, 0.1, 3)
    assert rows.sum() == 100
    assert (rows == validation_rows(1000, 0.1, 3)).all()
    assert (rows != validation_rows(1000, 0.1, 4)).any()


@pytest.mark.parametrize("spec", [LINEAR, HeadSpec("mlp", hidden=8, dropout=0.2, input_dropout=0.1, patience=2)])
@pytest.mark.parametrize("names", [("log-probs",), ("features", "sorted-log-probs", "prediction")])
def test_inputs_made_once_have_the_bits_of_those_made_for_each_step(
    data: tuple, spec: HeadSpec, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, correct, chance = data
    outputs = {"features": x.half(), "logits": x[:, 5:].half()}
    spec, needed = replace(spec, inputs=names), 4 * len(x) * head_inputs(names, outputs).shape[1]
    made: dict[int, int] = {}
    heads, entry = {}, _ALL[names[-1]]
    for spare in (needed, needed - 1):

        def counted(logits: torch.Tensor, spare: int = spare) -> torch.Tensor:
            made[spare] = made.get(spare, 0) + len(logits)
            return entry.make(logits)

        monkeypatch.setitem(_ALL, names[-1], replace(entry, make=counted))
        rows = WholeColumns({name: column.clone() for name, column in outputs.items()}, spare)
        heads[spare] = train_heads(rows, correct, chance, [task("ce"), task("ss")], OPTIMISER, 0.2, spec)
    assert made[needed] == len(x)
    assert made[needed - 1] > 5 * len(x)
    for ours, theirs in zip(*heads.values(), strict=True):
        assert ours.log == theirs.log
        np.testing.assert_array_equal(ours.head.weight, theirs.head.weight)


DROPPING = HeadSpec("mlp", hidden=8, dropout=0.2, input_dropout=0.1, members=2)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(
    ("spec", "threads", "least", "beside"),
    [(LINEAR, 3, 64 * 12, True), (DROPPING, 3, 64 * 20, True), (LINEAR, 1, 64 * 12, False), (LINEAR, 3, 1000, False)],
    ids=["linear", "dropout", "one-thread", "small"],
)
def test_large_minibatches_are_made_beside_the_steps_to_the_same_bits(
    data: tuple, spec: HeadSpec, threads: int, least: int, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, correct, chance = data
    torch.set_num_threads(threads)
    makers: list[set[bool]] = []
    logs = []

    class Noted(WholeColumns):
        def at(self, rows: torch.Tensor) -> Outputs:
            if len(rows) <= OPTIMISER.batch_size:  # else these are validated
                makers[-1].add(threading.current_thread() is threading.main_thread())
            return super().at(rows)

    for numbers in (least, 10**9):
        monkeypatch.setattr(head_training, "WORTH_BESIDE", numbers)
        makers.append(set())
        trained = train_heads(Noted({"features": x}), correct, chance, [task("ss")], OPTIMISER, 0.2, spec)
        logs.append([each.log for each in trained])
    assert makers == [{not beside}, {True}]
    assert logs[0] == logs[1]


@pytest.mark.usefixtures("three_threads")
def test_an_error_of_reading_rows_beside_ends_a_training(data: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    x, correct, chance = data
    monkeypatch.setattr(head_training, "WORTH_BESIDE", 0)

    class Torn(WholeColumns):
        def at(self, rows: torch.Tensor) -> Outputs:
            raise OSError("torn" if threading.current_thread() is not threading.main_thread() else "not beside")

    with pytest.raises(OSError, match="torn"):
        train_heads(Torn({"features": x}), correct, chance, [task("ss")], OPTIMISER, 0.2)


def test_moments_ask_no_double_precision_of_a_gpu() -> None:
    with watched() as watch:
        features = torch.empty(BLOCK_ROWS + 1, 4, device="cuda", dtype=torch.float16)
        rows = WholeColumns({"features": features}, spare=0)
        moments = _Inputs(LINEAR, rows)
    assert {part.device.type for part in (moments.mean, moments.std)} == {"cuda"}
    assert watch.doubles == []


@pytest.mark.gpu
@pytest.mark.parametrize("number", range(2))
def test_heads_trained_on_a_gpu_score_as_on_the_cpu(data: tuple, number: int) -> None:
    if torch.cuda.device_count() <= number:
        pytest.skip(f"needs {number + 1} CUDA devices")
    tasks = [task(name, seed) for name in LOSSES for seed in range(2)]
    here, _ = fit(*data, tasks, OPTIMISER, 0.1)
    there, _ = fit(*(part.cuda(number) for part in data), tasks, OPTIMISER, 0.1)
    np.testing.assert_allclose(score_heads(there, data[0].numpy()), score_heads(here, data[0].numpy()), atol=1e-3)


def looking(z: torch.Tensor, correct: torch.Tensor) -> torch.Tensor:
    """A loss that waits for its numbers, which a CUDA graph cannot."""
    assert bool(z.isfinite().all())
    return (z - correct) ** 2


threads_seen: set[int] = set()
precisions_seen: set[str] = set()


def noting(z: torch.Tensor, correct: torch.Tensor) -> torch.Tensor:
    """A loss that notes how many threads torch has, and how exact its products are."""
    threads_seen.add(torch.get_num_threads())
    precisions_seen.add(torch.get_float32_matmul_precision())
    return (z - correct) ** 2


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(("hidden", "threads"), [(8, 1), (8000, 3)])
def test_small_steps_are_taken_in_one_thread_and_large_ones_in_all(data: tuple, hidden: int, threads: int) -> None:
    allow_code("tests.oracles.test_heads:noting")
    own = HeadTask(LossChoice("tests.oracles.test_heads:noting", {}), False, 0)
    threads_seen.clear()
    x, correct, chance = data
    spec = HeadSpec("mlp", hidden=hidden)
    train_heads({"features": x}, correct, chance, [own], replace(OPTIMISER, epochs=1, batch_size=1500), 0.1, spec)
    assert torch.get_num_threads() == 3
    assert threads_seen == {threads}


@pytest.mark.usefixtures("medium_products")
def test_heads_learn_in_float32_whatever_a_program_has_set(data: tuple) -> None:
    allow_code("tests.oracles.test_heads:noting")
    own = HeadTask(LossChoice("tests.oracles.test_heads:noting", {}), False, 0)
    precisions_seen.clear()
    fit(*data, [own], replace(OPTIMISER, epochs=1), 0.1)
    assert torch.get_float32_matmul_precision() == "medium"
    assert precisions_seen == {"highest"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_loss_that_looks_at_its_numbers_trains_on_a_gpu_too(data: tuple) -> None:
    allow_code("tests.oracles.test_heads:looking")
    own = HeadTask(LossChoice("tests.oracles.test_heads:looking", {}), False, 0)
    here, _ = fit(*data, [own], OPTIMISER, 0.1)
    there, _ = fit(*(part.cuda() for part in data), [own], OPTIMISER, 0.1)
    np.testing.assert_allclose(score_heads(there, data[0].numpy()), score_heads(here, data[0].numpy()), atol=1e-3)
