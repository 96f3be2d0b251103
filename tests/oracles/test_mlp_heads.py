"""Heads with a hidden layer: many at once, each as it would be alone, with the epoch kept that ranks best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from trustcache.data.splits import validation_rows
from trustcache.losses import LOSSES, LossChoice
from trustcache.metrics.ranking import trust_metrics
from trustcache.oracles.head_training import Diverged, HeadTask, Trained, train_heads
from trustcache.oracles.heads import HeadSpec, score_heads
from trustcache.oracles.mlp_heads import MlpHead
from trustcache.protocols import Optimiser

Data = tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]
OPTIMISER = Optimiser("adam", epochs=4, batch_size=64, lr=1e-2)
SPEC = HeadSpec("mlp", hidden=16, members=2, dropout=0.3, input_dropout=0.1, weight_decay=0.01, patience=3)


@pytest.fixture(scope="module")
def data() -> Data:
    """Features whose product decides: no linear head can tell."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1200, 6, generator=generator)
    chance = torch.sigmoid(3 * x[:, 0] * x[:, 1] + 1)
    correct = torch.rand(1200, generator=generator) < chance
    return {"features": x * torch.logspace(-2, 2, 6) + 3}, correct, chance


def task(name: str, seed: int = 0) -> HeadTask:
    return HeadTask(LossChoice(name, dict(LOSSES[name].defaults)), LOSSES[name].signed_distance, seed)


def fit(data: Data, tasks: list[HeadTask], spec: HeadSpec = SPEC, optimiser: Optimiser = OPTIMISER) -> list[Trained]:
    return train_heads(*data, tasks, optimiser, 0.2, spec)


def test_every_loss_and_seed_in_a_batch_ends_where_it_ends_alone(data: Data) -> None:
    tasks = [task(name, seed) for seed in (0, 1) for name in LOSSES]
    together = fit(data, tasks)
    x = data[0]["features"].numpy()
    z = score_heads([head for head, _ in together], x)
    for i, one in enumerate(tasks):
        (alone,) = fit(data, [one])
        np.testing.assert_allclose(z[:, i], score_heads([alone.head], x)[:, 0], atol=2e-3)
        assert [entry["epoch"] for entry in alone.log] == [entry["epoch"] for entry in together[i].log]
        np.testing.assert_allclose([e["loss"] for e in alone.log], [e["loss"] for e in together[i].log], atol=1e-4)


@pytest.mark.parametrize("name", list(LOSSES))
def test_with_every_loss_it_tells_apart_what_a_linear_head_cannot(data: Data, name: str) -> None:
    optimiser = replace(OPTIMISER, epochs=25)
    (mlp,), (linear,) = (
        fit(data, [task(name)], replace(SPEC, patience=10), optimiser),
        fit(data, [task(name)], HeadSpec(), optimiser),
    )
    aucs = [mlp.log[-1]["validation"]["auc"], linear.log[-1]["validation"]["auc"]]
    assert aucs[0] > 0.75
    assert aucs[1] < 0.65


def test_the_score_is_the_mean_over_members_of_what_the_formula_gives(data: Data) -> None:
    head = fit(data, [task("ss")])[0].head
    assert isinstance(head, MlpHead)
    x = (data[0]["features"].numpy().astype(float) - head.mean) / head.std
    members = []
    for m in range(2):
        hidden = np.maximum(x @ head.first_weight[:, m].astype(float) + head.first_bias[m], 0)
        members.append((hidden @ head.weight[m].astype(float) + head.bias[m]) / np.linalg.norm(head.weight[m]))
    np.testing.assert_allclose(score_heads([head], data[0]["features"].numpy())[:, 0], np.mean(members, 0), atol=1e-4)
    assert not np.allclose(members[0], members[1], atol=0.1)


def test_the_first_epoch_of_best_validation_auc_is_kept_and_sought_no_longer_than_patience_lasts(data: Data) -> None:
    optimiser = replace(OPTIMISER, epochs=60)
    ((head, log),) = fit(data, [task("ce", 3)], replace(SPEC, patience=4), optimiser)
    aucs = [entry["validation"]["auc"] for entry in log[:-1]]
    best = int(np.argmax(aucs)) + 1
    assert log[-1]["epoch"] == best < len(aucs)
    assert len(aucs) == best + 4 < 60
    held_out = validation_rows(1200, 0.2, 3)
    z = score_heads([head], data[0]["features"].numpy()[held_out])[:, 0]
    assert trust_metrics(z, data[1].numpy()[held_out])["auc"] == pytest.approx(max(aucs), abs=1e-3)


def test_without_patience_or_without_a_validation_part_the_last_epoch_is_kept(data: Data) -> None:
    ((_, log),) = fit(data, [task("ce")], replace(SPEC, patience=0))
    assert [entry["epoch"] for entry in log] == [1, 2, 3, 4]
    assert "auc" in log[-1]["validation"]
    ((_, log),) = train_heads(*data, [task("ce")], OPTIMISER, 0.0, SPEC)
    assert [entry["epoch"] for entry in log] == [1, 2, 3, 4]
    assert log[-1]["validation"] == {}


@pytest.mark.parametrize("part", [0.0, 0.2])
def test_networks_that_diverge_are_told_by_their_epoch(data: Data, part: float) -> None:
    optimiser = replace(OPTIMISER, lr=1e19)
    assert train_heads(*data, [task("ce"), task("ss", 1)], optimiser, part, SPEC) == [Diverged(1), Diverged(1)]


def test_a_network_whose_weights_are_finite_and_whose_scores_are_not_has_diverged_too(data: Data) -> None:
    one_step = Optimiser("adam", epochs=1, batch_size=1200, lr=1e19)
    assert train_heads(*data, [task("ce")], one_step, 0.2, SPEC) == [Diverged(1)]


def test_rows_held_out_for_validation_do_not_reach_their_seed(data: Data) -> None:
    said, correct, chance = data
    held_out = torch.from_numpy(validation_rows(1200, 0.2, 5))
    changed = torch.where(held_out, ~correct, correct)
    last = replace(SPEC, patience=0)
    (one,), (same,), (other,) = (
        fit((said, labels, chance), [task("ce", seed)], last)
        for labels, seed in ((correct, 5), (changed, 5), (changed, 6))
    )
    np.testing.assert_array_equal(one.head.weight, same.head.weight)
    assert not np.allclose(other.head.weight, same.head.weight)


def test_dropout_and_decay_act(data: Data) -> None:
    plain = replace(SPEC, dropout=0.0, input_dropout=0.0, weight_decay=0.0, patience=0)
    changes = [{}, {"dropout": 0.5}, {"input_dropout": 0.5}, {"weight_decay": 5.0}]
    heads = [fit(data, [task("ce")], replace(plain, **change))[0].head for change in changes]
    assert all(not np.allclose(heads[0].weight, head.weight) for head in heads[1:])
    assert np.linalg.norm(heads[3].first_weight) < 0.8 * np.linalg.norm(heads[0].first_weight)


def test_samples_that_are_shown_again_are_learnt_from_but_where_they_are_held_out(data: Data) -> None:
    said, correct, chance = data
    last = replace(SPEC, patience=0)
    held_out = validation_rows(1200, 0.2, 5)
    again = np.concatenate([np.arange(1200), np.full(100, -1)])  # all of them, and 100 strangers
    x = said["features"]
    more = {"features": torch.cat([x, x + 0.1, x[:100]])}

    def trained(flipped: np.ndarray) -> Trained:
        labels = torch.cat([correct, torch.where(torch.from_numpy(flipped), ~correct, correct), correct[:100]])
        targets = labels, torch.cat([chance, chance, chance[:100]])
        (found,) = train_heads(more, *targets, [task("ce", 5)], OPTIMISER, 0.2, last, shown_again=again)
        return found

    plain, held, learnt = (trained(rows) for rows in (np.zeros(1200, bool), held_out, ~held_out))
    np.testing.assert_array_equal(plain.head.weight, held.head.weight)
    assert not np.allclose(plain.head.weight, learnt.head.weight)
    z = score_heads([plain.head], x.numpy()[held_out])[:, 0]
    expected = trust_metrics(z, correct.numpy()[held_out])["auc"]
    assert plain.log[-1]["validation"]["auc"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_same_seed_learns_the_same_and_as_well_as_on_the_cpu(data: Data) -> None:
    there = {name: column.cuda() for name, column in data[0].items()}, data[1].cuda(), data[2].cuda()
    first, second = (fit(there, [task("ss")])[0] for _ in range(2))
    np.testing.assert_allclose(first.head.weight, second.head.weight, atol=1e-4)
    here = fit(data, [task("ss")])[0]
    assert first.log[-1]["validation"]["auc"] == pytest.approx(here.log[-1]["validation"]["auc"], abs=0.05)
