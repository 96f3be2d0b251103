"""Promises of the checkpoint reader: which files it takes, that none of them runs code, and how others are named."""

from __future__ import annotations

import os
import pickle
import re
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.refusals import refusal_of, tells
from trustcache.errors import UsageError
from trustcache.models.checkpoints import load_into, read_checkpoint, read_weights, state_sha256

State = dict[str, torch.Tensor]


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    model[1].running_mean.uniform_()  # type: ignore[union-attr]
    return model


@pytest.fixture
def state() -> State:
    return network().state_dict()


def refusal(path: Path) -> str:
    return refusal_of(lambda: read_weights(path), f"--weights {path}: ")


def assert_same(found: State, wanted: State) -> None:
    assert found.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=0)


# --- what is read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin", "w"])
def test_safetensors_are_read_whatever_the_file_is_called(tmp_path: Path, state: State, name: str) -> None:
    save_file(state, tmp_path / name)
    assert_same(read_weights(tmp_path / name), state)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_torch_files_are_read_old_and_new(tmp_path: Path, state: State, name: str, zipped: bool) -> None:
    torch.save(state, tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert_same(read_weights(tmp_path / name), state)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net", "weights"])
def test_what_training_scripts_wrap_around_a_state_dict_is_taken_off(tmp_path: Path, state: State, key: str) -> None:
    torch.save({"epoch": 7, "optimizer": {"lr": 0.1}, key: state}, tmp_path / "w.pt")
    assert_same(read_weights(tmp_path / "w.pt"), state)
    torch.save({"model": {"state_dict": {f"module.{k}": v for k, v in state.items()}}}, tmp_path / "w.pt")
    assert_same(read_weights(tmp_path / "w.pt"), state)


@pytest.mark.parametrize(
    ("beside", "taken"),
    [
        ({"state_dict": "plain", "ema": {"decay": 0.9, "updates": 5}}, "plain"),
        ({"model": {"name": "resnet18"}, "weights": "plain"}, "plain"),
        ({"params": {"lr": 0.1}, "weights": "plain"}, "plain"),
        ({"model": {"state_dict": "plain", "state_dict_ema": "averaged"}}, "averaged"),
        *(
            ({"state_dict": "plain", key: "averaged"}, "averaged")
            for key in ("ema_model", "model_ema_state_dict", "ema_weights", "swa_model")
        ),
    ],
)
def test_settings_are_no_weights_and_averaged_ones_are_told(
    tmp_path: Path, state: State, beside: dict[str, Any], taken: str
) -> None:
    states = {"plain": state, "averaged": {name: tensor + 1 for name, tensor in state.items()}}

    def filled(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: filled(value) for key, value in part.items()}
        return states.get(part, part)

    torch.save(filled(beside), tmp_path / "w.pt")
    found = read_checkpoint(tmp_path / "w.pt")
    assert_same(found.weights, states[taken])
    assert [tells(note, "--weights", "'state_dict'", "--no-ema") for note in found.notes] == [True] * (taken != "plain")
    if taken != "plain":
        assert_same(read_checkpoint(tmp_path / "w.pt", use_ema=False).weights, state)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_wrappers_prefixes_are_dropped(tmp_path: Path, state: State, prefix: str) -> None:
    torch.save({prefix + name: tensor for name, tensor in state.items()}, tmp_path / "w.pt")
    assert_same(read_weights(tmp_path / "w.pt"), state)


def test_a_prefix_that_only_some_names_have_is_part_of_the_names(tmp_path: Path) -> None:
    state = {"module.weight": torch.ones(2), "head.weight": torch.ones(3)}
    torch.save(state, tmp_path / "w.pt")
    assert_same(read_weights(tmp_path / "w.pt"), state)


def test_a_tensor_that_is_called_like_a_container_is_a_tensor(tmp_path: Path) -> None:
    state = {"weights": torch.ones(2), "net": torch.ones(1)}
    torch.save(state, tmp_path / "w.pt")
    assert_same(read_weights(tmp_path / "w.pt"), state)


# --- what is refused -------------------------------------------------------------------------------------------


class Bomb:
    """Unpickling it leaves a folder behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize(
    "save", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x, 2))], ids=["torch", "pickle"]
)
def test_a_file_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, state: State, save: Callable[[Any, Path], object]
) -> None:
    trace, path = tmp_path / "it ran", tmp_path / "w.pt"
    save({"state_dict": state, "extra": Bomb(trace)}, path)
    assert "running code" in refusal(path)
    assert not trace.exists()
    if save is torch.save:
        torch.load(path, weights_only=False)
        assert trace.exists(), "the bomb is one"


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: {"epoch": 3, "model": model}])
def test_a_whole_pickled_model_is_refused_with_lines_that_work(
    tmp_path: Path, state: State, wrap: Callable[[Any], Any], zipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(wrap(network()), "it's.pth", _use_new_zipfile_serialization=zipped)
    _, _, lines = refusal(Path("it's.pth")).partition("state dict: ")
    exec(lines.replace("FILE", "'state.pth'"), {})
    assert_same(read_weights(Path("state.pth")), state)


def test_harmless_collections_are_read_and_no_culprits(tmp_path: Path, state: State) -> None:
    path = tmp_path / "w.pt"
    kept = {"log": defaultdict(list, loss=[1.0]), "last": deque([1, 2], 5)}
    torch.save({"state_dict": state, **kept}, path)
    assert_same(read_weights(path), state)
    torch.save({"state_dict": state, **kept, "extra": Bomb(tmp_path)}, path)
    assert not {"list", "deque"} & {*re.findall(r"[a-z]+", refusal(path))}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",
        b"hello, I am no checkpoint\n" * 5,
        b"\xff\xd8\xff\xe0" * 40,
        b'\x08\0\0\0\0\0\0\0{"a": 1}',
        b"PK\3\4",
    ],
    ids=["empty", "one byte", "text", "image", "half safetensors", "half zip"],
)
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    assert "not a checkpoint" in refusal(path)


def test_truncated_checkpoints_are_named(tmp_path: Path, state: State) -> None:
    path = tmp_path / "w"
    for save in (
        lambda: save_file(state, path),
        lambda: torch.save(state, path),
        lambda: torch.save(state, path, _use_new_zipfile_serialization=False),
    ):
        save()
        whole = path.read_bytes()
        for share in (0.1, 0.5, 0.9, 0.99):
            path.write_bytes(whole[: int(len(whole) * share)])
            assert "not a checkpoint" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [{}, [1, 2], torch.ones(3), {"epoch": 3}, {"state_dict": {"a": torch.ones(1), "b": "text"}}, {0: torch.ones(1)}],
    ids=["nothing", "list", "tensor", "no tensors", "not only tensors", "numbered"],
)
def test_a_torch_file_without_a_state_dict_is_named(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    assert "holds no state dict" in refusal(tmp_path / "w.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").touch()
    assert tells(refusal(tmp_path / "mien.pth"), "no such file", f"did you mean {tmp_path / 'mine.pth'}?")
    assert "no such file" in refusal(tmp_path)


# --- into a model ----------------------------------------------------------------------------------------------


def test_weights_are_loaded_every_one(state: State) -> None:
    model = network(seed=1)
    load_into(model, state, "here")
    assert_same(model.state_dict(), state)


def test_half_precision_weights_fill_a_float32_model_with_their_values(state: State) -> None:
    model = network(seed=1)
    load_into(model, {k: v.half() if v.is_floating_point() else v for k, v in state.items()}, "here")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model[3].weight, state["3.weight"].half().float(), rtol=0, atol=0)


def test_step_counters_of_batch_norms_may_be_missing_and_nothing_else(state: State) -> None:
    load_into(network(1), {k: v for k, v in state.items() if "num_batches" not in k}, "here")
    for name in state:
        if "num_batches" not in name:
            with pytest.raises(UsageError) as caught:
                load_into(network(1), {k: v for k, v in state.items() if k != name}, "--weights w.pt")
            assert str(caught.value).startswith("--weights w.pt: ")
            assert f"1 missing (first '{name}')" in str(caught.value)


def test_another_architecture_s_tensors_are_counted_and_the_first_named(state: State) -> None:
    renamed = {f"body.{k}" if k.startswith("0.") else k: v for k, v in state.items()}
    with pytest.raises(UsageError, match=r"2 missing \(.*'0.bias'\).* 2 unknown \(.*'body.0.bias'\).*--classifier"):
        load_into(network(1), renamed, "here")


def test_a_tensor_of_another_shape_is_named_and_nothing_is_loaded(state: State) -> None:
    model = network(seed=1)
    before = state_sha256(model)
    with pytest.raises(UsageError, match=r"'3.weight' .*\(5, 4\).*\(2, 4\)"):
        load_into(model, {**state, "3.weight": torch.zeros(5, 4)}, "here")
    assert state_sha256(model) == before


# --- identity --------------------------------------------------------------------------------------------------


def test_the_hash_sees_names_values_buffers_and_dtypes_but_not_memory_layout() -> None:
    before = state_sha256(network())
    assert state_sha256(network()) == before
    assert state_sha256(network().to(memory_format=torch.channels_last)) == before
    assert state_sha256(network(seed=1)) != before
    assert state_sha256(network().half()) != before
    nudged, counted = network(), network()
    nudged[0].weight.data[0, 0, 0, 0] += 1e-6
    counted[1].num_batches_tracked += 1  # type: ignore[operator]
    renamed = nn.Sequential(*network(), nn.Identity())
    renamed = nn.ModuleDict({"a": renamed})  # type: ignore[assignment]
    assert len({before, state_sha256(nudged), state_sha256(counted), state_sha256(renamed)}) == 4


def test_the_hash_takes_empty_and_boolean_tensors() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("none", torch.zeros(0, 3))
            self.register_buffer("mask", torch.tensor([True, False]))
            self.register_buffer("brief", torch.ones(2, dtype=torch.bfloat16))

    assert len(state_sha256(Odd())) == 64


def holding_itself() -> dict[str, Any]:
    table: dict[str, Any] = {}
    table["model"] = table
    return table


@pytest.mark.parametrize(
    "content",
    [
        {"head.weight": torch.zeros(1).expand(2**40)},
        {"head.weight": torch.zeros(1, 2).expand(2**33, 2)},
        {"head.weight": torch.zeros(3, 2).to_sparse()},
        {"head.weight": torch.zeros(3, 2, device="meta")},
        {"head.weight": [[[1.0]]]},
        {3: torch.zeros(2)},
        holding_itself(),
        [],
    ],
    ids=[
        "a number repeated",
        "classes repeated",
        "sparse",
        "meta",
        "a list",
        "a number for a name",
        "itself",
        "no table",
    ],
)
def test_a_file_without_plain_weights_is_refused_at_once(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pt")
    said = refusal_of(lambda: read_weights(tmp_path / "w.pt"))
    assert tells(said, "--weights", "w.pt", "torch.save")
