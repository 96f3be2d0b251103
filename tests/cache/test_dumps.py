"""The dumps of other projects: fd-shifts' folders and OpenOOD's features with a checkpoint's last layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.refusals import refusal_of, tells
from trustcache.cache import CacheView
from trustcache.cache.importing import ImportRequest, import_cache
from trustcache.cache.workspace import Workspace

RNG = np.random.default_rng(0)
LOGITS, FEATURES = RNG.normal(size=(6, 3)) * 4, RNG.normal(size=(6, 5))
LABELS, SETS = np.array([0, 1, 2, 0, 1, 2]), np.array([0, 0, 0, 0, 1, 1])


def imported(folder: Path, **options: str) -> CacheView:
    return import_cache(Workspace(folder / "workspace"), ImportRequest("net", "photos", **options))


def fd_shifts(folder: Path, name: str = "raw_logits.npz", outputs: np.ndarray = LOGITS) -> Path:
    """What fd-shifts writes: label and data set are the last two columns."""
    folder.mkdir()
    np.savez_compressed(folder / name, np.column_stack([outputs, LABELS, SETS]))
    np.savez_compressed(folder / "encoded_output.npz", np.column_stack([FEATURES, SETS]))
    return folder


def test_a_data_set_of_fd_shifts_is_its_rows_without_the_last_columns(tmp_path: Path) -> None:
    cache = imported(tmp_path, dump=f"{fd_shifts(tmp_path / 'run')}:0")
    np.testing.assert_array_equal(cache.logits, LOGITS[:4].astype(np.float32))
    np.testing.assert_array_equal(cache.features, FEATURES[:4].astype(np.float32))
    assert cache.labels.tolist() == [0, 1, 2, 0]
    assert set(cache.index.made_from.imported or {}) == {
        str(tmp_path / "run" / name) for name in ("raw_logits.npz", "encoded_output.npz")
    }


def test_fd_shifts_softmax_is_kept_as_logarithms(tmp_path: Path) -> None:
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    cache = imported(tmp_path, dump=f"{fd_shifts(tmp_path / 'run', 'raw_output.npz', shares)}:1")
    np.testing.assert_allclose(cache.logits, np.log(shares[4:]), rtol=1e-5)


def test_the_data_sets_of_fd_shifts_are_listed_where_none_is_named(tmp_path: Path) -> None:
    folder = fd_shifts(tmp_path / "run")
    for dump in (str(folder), f"{folder}:7"):
        message = refusal_of(lambda dump=dump: imported(tmp_path, dump=dump), str(folder))  # type: ignore[misc]
        assert tells(message, "0 (4 rows)", "1 (2 rows)", f"--dump {folder}:NUMBER")


def open_ood(folder: Path) -> dict[str, str]:
    """OpenOOD's features, and a checkpoint whose last layer gives the logits."""
    np.savez(folder / "feature.npz", feat_list=FEATURES.astype(np.float32), label_list=LABELS)
    generator = torch.Generator().manual_seed(0)
    layers = {"conv.weight": (5, 5), "conv.bias": (5,), "fc.weight": (3, 5), "fc.bias": (3,)}
    state = {name: torch.randn(*shape, generator=generator) for name, shape in layers.items()}
    torch.save(state, folder / "best.ckpt")
    return {"dump": str(folder / "feature.npz"), "last_layer": str(folder / "best.ckpt")}


def test_open_ood_has_logits_by_the_last_layer_of_its_checkpoint(tmp_path: Path) -> None:
    cache = imported(tmp_path, **open_ood(tmp_path))
    state = torch.load(tmp_path / "best.ckpt", weights_only=True)
    wanted = torch.nn.functional.linear(torch.tensor(FEATURES).float(), state["fc.weight"], state["fc.bias"])
    np.testing.assert_allclose(cache.logits, wanted.numpy(), rtol=1e-4, atol=1e-5)
    assert cache.labels.tolist() == LABELS.tolist()


def test_features_of_ones_own_have_logits_by_a_last_layer_too(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", FEATURES)
    np.save(tmp_path / "y.npy", LABELS)
    weight, bias = RNG.normal(size=(3, 5)), RNG.normal(size=3)
    np.savez(tmp_path / "last_layer.npz", weight, bias)
    files = {key: str(tmp_path / name) for key, name in (("features", "f.npy"), ("labels", "y.npy"))}
    cache = imported(tmp_path, **files, last_layer=str(tmp_path / "last_layer.npz"))
    np.testing.assert_allclose(cache.logits, FEATURES @ weight.T + bias, rtol=1e-5)


def test_a_dump_that_lacks_something_says_what(tmp_path: Path) -> None:
    options = open_ood(tmp_path)
    assert tells(refusal_of(lambda: imported(tmp_path, dump=options["dump"])), "--logits", "--last-layer")
    assert tells(
        refusal_of(lambda: imported(tmp_path, **{**options, "last_layer": f"{tmp_path / 'best.ckpt'}:head"})),
        "best.ckpt:head",
        "5 features",
    )
    np.savez(tmp_path / "scores.npz", pred=LABELS, conf=np.ones(6), label=LABELS)
    message = refusal_of(lambda: imported(tmp_path, dump=str(tmp_path / "scores.npz")), str(tmp_path / "scores.npz"))
    assert tells(message, "no logits", "feature.npz", "--last-layer")
    (tmp_path / "damaged.npz").write_bytes(b"PK rest")
    assert tells(refusal_of(lambda: imported(tmp_path, dump=str(tmp_path / "damaged.npz"))), "damaged.npz", "npz")
    (tmp_path / "empty").mkdir()
    assert tells(refusal_of(lambda: imported(tmp_path, dump=str(tmp_path / "empty"))), "raw_logits.npz")
    assert tells(refusal_of(lambda: imported(tmp_path, **options, labels="y.npy")), "--labels", "--dump")


@pytest.mark.parametrize("label", [3, -1])
def test_samples_of_no_class_are_refused_by_their_row(tmp_path: Path, label: int) -> None:
    np.savez(tmp_path / "raw_logits.npz", np.column_stack([LOGITS, [0, 1, 2, 0, label, 2], np.zeros(6)]))
    assert tells(refusal_of(lambda: imported(tmp_path, dump=str(tmp_path))), "row 4", str(label), "0 to 2")
