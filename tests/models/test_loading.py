"""Every kind of file that the field saves a classifier in, made as it is made there, against timm's own loading of it.

The rows of `docs/classifiers.md` are the cases here.
"""

from __future__ import annotations

import argparse
import pathlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf
from timm.utils import CheckpointSaver, ModelEmaV3
from torch import nn

from tests.documented_tables import DOCS, DocumentedTable
from tests.refusals import refusal_of, tells
from trustcache.models.building import ModelSpec, new_model
from trustcache.models.checkpoints import state_sha256
from trustcache.models.classifiers import load_classifier
from trustcache.models.identity import Reading

State = dict[str, torch.Tensor]
CLASSES = 5


def small(name: str = "test_vit", **arguments: Any) -> nn.Module:
    """A model of timm's whose weights are none of its defaults."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=CLASSES, **arguments)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.rand(tensor.shape) / 10)
    return model


def by_timm(model: nn.Module, state: State, **arguments: Any) -> nn.Module:
    """The model with weights that timm's own loading of published weights gives it."""
    overlay = {"state_dict": dict(state), "num_classes": CLASSES}
    name = model.pretrained_cfg["architecture"]  # type: ignore[index]
    return timm.create_model(name, True, pretrained_cfg_overlay=overlay, num_classes=CLASSES, **arguments)


@dataclass
class Case:
    """A saved classifier, the options that name it, the same by timm, and a part of the note it is told of."""

    expected: nn.Module
    name: str = "test_vit"
    weights: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    use_ema: bool = True
    note: str = ""


def renamed(state: State, *rules: tuple[str, str]) -> State:
    for pattern, replacement in rules:
        state = {re.sub(pattern, replacement, name): tensor for name, tensor in state.items()}
    return state


def saved(content: Any, folder: Path) -> str:
    torch.save(content, folder / "w.pth")
    return str(folder / "w.pth")


def timm_saver(folder: Path, ema: bool) -> Case:
    model = small()
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    average = ModelEmaV3(model)
    for tensor in average.state_dict().values():
        tensor.add_(1)
    args = argparse.Namespace(model="test_vit", output=pathlib.Path("out"), lr=np.float64(0.1))
    settings = {"checkpoint_dir": str(folder), "recovery_dir": str(folder)}
    CheckpointSaver(model, optimiser, args, average, **settings).save_checkpoint(3, metric=np.float64(0.5))
    name = "state_dict_ema" if ema else "state_dict"
    expected = average.module if ema else model
    return Case(expected, weights=str(folder / "model_best.pth.tar"), use_ema=ema, note=f"'{name}' is taken")


def in_container(folder: Path, key: str) -> Case:
    model = small()
    return Case(model, weights=saved({"epoch": 3, key: model.state_dict()}, folder))


def with_prefix(folder: Path, prefix: str) -> Case:
    model = small()
    return Case(model, weights=saved({prefix + n: t for n, t in model.state_dict().items()}, folder))


def own_prefix(folder: Path) -> Case:
    """A wrapper's prefix that is also the first part of some of the model's own names."""
    return with_prefix(folder, "head.")


def partly_wrapped(folder: Path) -> Case:
    model = small()
    state = {f"module.{n}" if n.startswith("blocks") else n: t for n, t in model.state_dict().items()}
    return Case(model, weights=saved(state, folder))


def lightning(folder: Path) -> Case:
    model = small()
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    content = {
        "epoch": 3,
        "state_dict": {**state, "criterion.weight": torch.ones(CLASSES)},
        "hyper_parameters": {"lr": 0.1, "root": pathlib.Path("data")},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.tensor(0.5)}},
    }
    return Case(model, weights=saved(content, folder), note="1 other tensors are passed over (first 'criterion.weight'")


def averaged(folder: Path) -> Case:
    model = small()
    return Case(model, weights=saved(torch.optim.swa_utils.AveragedModel(model).state_dict(), folder))


def counted(folder: Path) -> Case:
    model = small()
    extra = {f"{name}.total_{what}": torch.zeros(1) for name in ("blocks.0", "head") for what in ("ops", "params")}
    return Case(model, weights=saved({**model.state_dict(), **extra}, folder))


def other_size(folder: Path) -> Case:
    model = small()
    expected = by_timm(model, model.state_dict(), img_size=96)
    note = "'pos_embed' from (1, 101, 64) to (1, 37, 64)"
    return Case(expected, weights=saved(model.state_dict(), folder), arguments={"img_size": 96}, note=note)


def grey(folder: Path) -> Case:
    model = small(in_chans=1)
    return Case(model, weights=saved(model.state_dict(), folder), arguments={"in_chans": 1})


def greyed(folder: Path) -> Case:
    model = small()
    expected = by_timm(model, model.state_dict(), in_chans=1)
    note = "(64, 3, 16, 16) to (64, 1, 16, 16)"
    return Case(expected, weights=saved(model.state_dict(), folder), arguments={"in_chans": 1}, note=note)


CONVNEXT = (
    (r"^stem\.", "downsample_layers.0."),
    (r"stages\.(\d+)\.downsample\.(\d+)", r"downsample_layers.\1.\2"),
    (r"stages\.(\d+)\.blocks\.(\d+)", r"stages.\1.\2"),
    (r"conv_dw", "dwconv"),
    (r"mlp\.fc", "pwconv"),
    (r"^head\.norm", "norm"),
    (r"^head\.fc", "head"),
)
SMALL_SWIN = {"img_size": 64, "window_size": 4, "embed_dim": 8, "depths": (1, 1, 1), "num_heads": (1, 2, 4)}
SMALL_VIT = {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 2}


def convnext(folder: Path) -> Case:
    model = small("test_convnext")
    original = renamed(model.state_dict(), *CONVNEXT)
    return Case(model, "test_convnext", saved({"model": original}, folder))


def swin(folder: Path) -> Case:
    name = "swin_tiny_patch4_window7_224"
    model = small(name, **SMALL_SWIN)
    # The paper's code takes every map to half its size at the end of a stage, and has buffers in its files.
    back = {f"layers.{i + 1}.downsample": f"layers.{i}.downsample" for i in range(2)}
    original = {re.sub(r"layers\.\d+\.downsample", lambda m: back[m[0]], n): t for n, t in model.state_dict().items()}
    original = renamed(original, (r"^head\.fc", "head"))
    original["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16)
    return Case(model, name, saved({"model": original}, folder), SMALL_SWIN)


def beit(folder: Path) -> Case:
    name = "beit_base_patch16_224"
    model = small(name, **SMALL_VIT)
    index = {f"blocks.{i}.attn.relative_position_index": torch.zeros(5, 5) for i in range(2)}
    return Case(model, name, saved({"module": {**model.state_dict(), **index}}, folder), SMALL_VIT)


def deit(folder: Path) -> Case:
    name = "deit3_small_patch16_224"
    model = small(name, **SMALL_VIT)
    original = renamed(model.state_dict(), (r"ls([12])\.gamma", r"gamma_\1"))
    return Case(model, name, saved({"model": original}, folder), SMALL_VIT)


def hub_folder(folder: Path) -> Case:
    model = small()
    save_for_hf(model, str(folder / "hub"), model_config={"label_names": list("abcde")}, safe_serialization=True)
    return Case(model, f"local-dir:{folder / 'hub'}")


def jax(folder: Path) -> Case:
    """The weights of a Vision Transformer as Google's Flax code saves them."""
    model = small()
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    wide = state["norm.weight"].shape[0]
    found = {
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": state["head.weight"].T,
        "head/bias": state["head.bias"],
    }
    heads = model.blocks[0].attn.num_heads  # type: ignore[index,union-attr]
    for number in range(len(model.blocks)):  # type: ignore[arg-type]
        ours, theirs = f"blocks.{number}.", f"Transformer/encoderblock_{number}/"
        attention = f"{theirs}MultiHeadDotProductAttention_1/"
        for i, part in enumerate(("query", "key", "value")):
            rows = slice(i * wide, (i + 1) * wide)
            found[f"{attention}{part}/kernel"] = state[f"{ours}attn.qkv.weight"][rows].T.reshape(wide, heads, -1)
            found[f"{attention}{part}/bias"] = state[f"{ours}attn.qkv.bias"][rows].reshape(heads, -1)
        found[f"{attention}out/kernel"] = state[f"{ours}attn.proj.weight"].T.reshape(heads, -1, wide)
        found[f"{attention}out/bias"] = state[f"{ours}attn.proj.bias"]
        for norm, place in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")):
            found[f"{theirs}{place}/scale"] = state[f"{ours}{norm}.weight"]
            found[f"{theirs}{place}/bias"] = state[f"{ours}{norm}.bias"]
        for layer, place in (("fc1", "Dense_0"), ("fc2", "Dense_1")):
            found[f"{theirs}MlpBlock_3/{place}/kernel"] = state[f"{ours}mlp.{layer}.weight"].T
            found[f"{theirs}MlpBlock_3/{place}/bias"] = state[f"{ours}mlp.{layer}.bias"]
    np.savez(folder / "w.npz", **found)
    return Case(model, weights=str(folder / "w.npz"))


def bit(folder: Path) -> Case:
    """The weights of a BiT ResNet as Google's code saves them."""
    name, sizes = "resnetv2_50x1_bit", {"channels": (128,) * 4, "stem_chs": 32}
    model = small(name, **sizes)
    conv, norm = "standardized_conv2d/kernel", {"weight": "group_norm/gamma", "bias": "group_norm/beta"}
    ends = {"stem.conv.weight": f"root_block/{conv}", **{f"norm.{part}": name for part, name in norm.items()}}
    ends |= {"head.fc.weight": "head/conv2d/kernel", "head.fc.bias": "head/conv2d/bias"}

    def of_jax(key: str) -> str:
        found = re.fullmatch(r"stages\.(\d)\.blocks\.(\d)\.(?:downsample\.)?(conv|norm)(\d?)\.(weight|bias)", key)
        if not found:
            return ends[key]
        stage, block, kind, number, part = found.groups()
        layer = "abc"[int(number) - 1] if number else "a/proj"
        return f"block{int(stage) + 1}/unit{int(block) + 1:02d}/{layer}/{conv if kind == 'conv' else norm[part]}"

    state = {f"resnet/{of_jax(key)}": tensor.numpy() for key, tensor in model.state_dict().items()}
    state = {key: array.transpose(2, 3, 1, 0) if array.ndim == 4 else array for key, array in state.items()}
    np.savez(folder / "w.npz", **state)
    return Case(model, name, str(folder / "w.npz"), sizes)


def averaged_beside(folder: Path, key: str) -> Case:
    model, average = small(), small()
    for tensor in average.state_dict().values():
        tensor.add_(1)
    weights = saved({"model": model.state_dict(), key: average.state_dict()}, folder)
    return Case(average, weights=weights, note=f"'{key}' is taken")


TABLE = DocumentedTable("classifiers.md", "Which files of weights are read?")
CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "module", "params", "weights")
AVERAGED = ("model_ema", "state_dict_ema", "ema_state_dict", "params_ema", "ema", "ema_model", "model_ema_state_dict",
            "ema_weights", "swa_model")  # fmt: skip
PREFIXES = ("model.", "net.", "module.", "backbone.", "_orig_mod.", "encoder.")
Make = Callable[[Path], Case]
CASES: dict[str, Make | tuple[Make, ...]] = {
    "`timm/train.py`: `model_best.pth.tar`": partial(timm_saver, ema=True),
    "the same with `--no-ema`": partial(timm_saver, ema=False),
    "Lightning: `epoch=3.ckpt`": lightning,
    **{f"`{{'{key}': state dict, …}}`": partial(in_container, key=key) for key in CONTAINERS},
    "`{'model_ema': state dict, …}`": tuple(partial(averaged_beside, key=key) for key in AVERAGED),
    **{f"all names begin with `{prefix}`": partial(with_prefix, prefix=prefix) for prefix in PREFIXES},
    "all names begin with a part that some of the model's names begin with": own_prefix,
    "some names begin with `module.`": partly_wrapped,
    "`torch.optim.swa_utils.AveragedModel` (`n_averaged`)": averaged,
    "counters of thop (`total_ops`, `total_params`)": counted,
    "other `--model-arg img_size=N`": other_size,
    "`in_chans=1`, trained so": grey,
    "`in_chans=1`, of weights for colours": greyed,
    "original ConvNeXt names": convnext,
    "original Swin names": swin,
    "original BEiT names": beit,
    "original DeiT III names": deit,
    "JAX: `.npz` of Vision Transformers, BiT ResNets": (jax, bit),
    "`local-dir:FOLDER` of `push_to_hf_hub`": hub_folder,
}
FILES = [
    pytest.param(make, id=f"{row}{number or ''}")
    for row, makes in CASES.items()
    for number, make in enumerate(makes if isinstance(makes, tuple) else (makes,))
]


@TABLE.row(*CASES)
@pytest.mark.parametrize("make", FILES)
def test_a_saved_classifier_has_the_weights_that_timm_gives_it(make: Callable[[Path], Case], tmp_path: Path) -> None:
    case = make(tmp_path)
    notes: list[str] = []
    spec = ModelSpec(case.name, case.weights, case.arguments, reading=Reading(case.use_ema))
    classifier = load_classifier(spec, notes.append)
    assert classifier.num_classes == CLASSES
    assert state_sha256(classifier.model) == state_sha256(case.expected)
    assert case.note in " ".join(notes)
    assert bool(notes) == bool(case.note)


@pytest.mark.parametrize(
    ("make", "arguments", "part"),
    [
        (deit, SMALL_VIT | {"img_size": 64}, "'pos_embed' from (1, 4, 24) to (1, 16, 24)"),
        (swin, SMALL_SWIN | {"img_size": 96, "window_size": 6}, "relative_position_bias_table"),
        (convnext, {"in_chans": 1}, "'stem.0.weight' to "),
    ],
)
def test_new_sizes_are_told_of_original_names_too(
    make: Callable[[Path], Case], arguments: dict[str, Any], part: str, tmp_path: Path
) -> None:
    case, notes = make(tmp_path), []
    load_classifier(ModelSpec(case.name, case.weights, arguments), notes.append)
    assert tells(*notes, "--weights", part, "img_size=N", "in_chans=N")


def test_each_kind_of_file_in_the_document_has_its_test() -> None:
    TABLE.require_tests()
    averaged = next(line for line in (DOCS / "classifiers.md").read_text().splitlines() if "model_ema'" in line)
    assert {*re.findall(r"`(\w+)`", averaged)} == {*AVERAGED} - {"model_ema"}


def test_two_networks_in_one_file_are_a_choice_for_the_user(tmp_path: Path) -> None:
    state = small().state_dict()
    both = {f"{name}.{key}": tensor for name in ("student", "teacher") for key, tensor in state.items()}
    said = refusal_of(lambda: load_classifier(ModelSpec("test_vit", saved(both, tmp_path))))
    assert tells(said, "--weights", "student., teacher.")
    other = {key: tensor + 1 for key, tensor in state.items()}
    both = {f"{n}.{key}": t for n, part in (("net", state), ("net_ema", other)) for key, t in part.items()}
    for use_ema, wanted in ((True, other), (False, state)):
        spec = ModelSpec("test_vit", saved(both, tmp_path), reading=Reading(use_ema))
        torch.testing.assert_close(load_classifier(spec).model.state_dict(), wanted, rtol=0, atol=0)


def test_weights_without_a_classifier_lead_to_fit_classifier(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in small().state_dict().items() if not name.startswith("head.")}
    save_file(state, tmp_path / "w")
    said = refusal_of(lambda: load_classifier(ModelSpec("test_vit", str(tmp_path / "w"))))
    assert tells(said, "no classifier", "fit-classifier", "--start", str(tmp_path / "w"))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_small_patch14_dinov2", SMALL_VIT | {"patch_size": 8}),
        ("vit_base_patch16_siglip_224", SMALL_VIT | {"patch_size": 8}),
        ("vit_base_patch16_clip_224.openai", SMALL_VIT | {"patch_size": 8}),
        ("vit_base_patch16_clip_224", SMALL_VIT | {"patch_size": 8, "num_classes": 512}),
        ("folder", {}),
    ],
)
def test_what_is_fitted_on_features_is_extracted_with(name: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    if name == "folder":
        save_for_hf(timm.create_model("test_vit", num_classes=0), str(tmp_path / "f"), safe_serialization=True)
        spec = ModelSpec(f"local-dir:{tmp_path / 'f'}")
    else:
        start = saved(timm.create_model(name, **arguments).state_dict(), tmp_path)
        arguments = {key: value for key, value in arguments.items() if key != "num_classes"}
        spec = ModelSpec(name, start, arguments, {"crop_pct": 0.9})
        offered = "--model-arg embed_dim=24", "--preprocess crop_pct=0.9", f"--start {start}"
        assert tells(refusal_of(lambda: load_classifier(spec)), "no classifier", "fit-classifier", *offered)
    save_file(new_model(spec, CLASSES).state_dict(), tmp_path / "fitted")
    assert load_classifier(replace(spec, weights=str(tmp_path / "fitted"))).num_classes == CLASSES


def test_what_a_start_is_taken_from_is_told(tmp_path: Path) -> None:
    state = small().state_dict()
    start = saved({"state_dict": state, "ema": {name: tensor + 1 for name, tensor in state.items()}}, tmp_path)
    notes: list[str] = []
    new_model(ModelSpec("test_vit", start), CLASSES, notes.append)
    assert tells(*notes, "--start", "'ema' is taken", "'state_dict'", "--no-ema")


def test_as_many_classes_as_a_projection_has_are_said(tmp_path: Path) -> None:
    name = "vit_base_patch16_clip_224.openai"
    weights = saved(timm.create_model(name, **SMALL_VIT).state_dict(), tmp_path)
    assert load_classifier(ModelSpec(name, weights, SMALL_VIT | {"num_classes": 512})).num_classes == 512


JAX_REFUSED = [("resnet18", "-"), ("test_vit", "MlpBlock_3/Dense_1"), ("test_vit2", "-")]


@pytest.mark.parametrize(("name", "dropped"), JAX_REFUSED)
def test_jax_weights_that_are_not_the_model_s_are_refused(tmp_path: Path, name: str, dropped: str) -> None:
    jax(tmp_path)
    with np.load(tmp_path / "w.npz") as file:
        kept = {key: file[key] for key in file.files if dropped not in key}
    np.savez(tmp_path / "w.npz", **kept)
    refused = refusal_of(lambda: load_classifier(ModelSpec(name, str(tmp_path / "w.npz"))))
    assert tells(refused, str(tmp_path / "w.npz"), name, "--classifier")


def test_jax_weights_without_a_classifier_lead_to_fit_classifier(tmp_path: Path) -> None:
    jax(tmp_path)
    with np.load(tmp_path / "w.npz") as file:
        kept = {key: file[key] for key in file.files if not key.startswith("head/")}
    np.savez(tmp_path / "w.npz", **kept)
    refused = refusal_of(lambda: load_classifier(ModelSpec("test_vit", str(tmp_path / "w.npz"))))
    assert tells(refused, "fit-classifier", f"--start {tmp_path / 'w.npz'}")


def test_weights_for_grey_images_name_the_argument_that_they_need(tmp_path: Path) -> None:
    weights = saved(small(in_chans=1).state_dict(), tmp_path)
    assert "--model-arg in_chans=1" in refusal_of(lambda: load_classifier(ModelSpec("test_vit", weights)))


def test_one_value_for_all_colours_is_refused_but_for_grey_images(tmp_path: Path) -> None:
    weights, one = saved(small().state_dict(), tmp_path), {"mean": (0.485,)}
    said = refusal_of(lambda: load_classifier(ModelSpec("test_vit", weights, preprocessing=one)))
    assert tells(said, "--preprocess mean=0.485", "3 channels", "mean=R,G,B")
    weights = saved(small(in_chans=1).state_dict(), tmp_path)
    grey = load_classifier(ModelSpec("test_vit", weights, {"in_chans": 1}, one))
    assert grey.preprocessing.mean == (0.485,)


def test_a_name_with_terminal_codes_is_shown_without_them(tmp_path: Path) -> None:
    state = {**small().state_dict(), "a\x1b[2Jb": torch.ones(1)}
    said = refusal_of(lambda: load_classifier(ModelSpec("test_vit", saved(state, tmp_path))))
    assert "\x1b" not in said
    assert r"a\x1b[2Jb" in said


def test_grey_images_are_luma_as_pillow_has_it(tmp_path: Path) -> None:
    from PIL import Image

    classifier = load_classifier(
        ModelSpec("test_vit", saved(small(in_chans=1).state_dict(), tmp_path), {"in_chans": 1})
    )
    colours = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    grey = torch.from_numpy(np.asarray(Image.fromarray(colours).convert("L"), dtype=np.float32))
    pixels = torch.from_numpy(colours).permute(2, 0, 1)[None]
    p = classifier.preprocessing
    torch.testing.assert_close(
        p.normalise(pixels)[0, 0], (grey / 255 - p.mean[0]) / p.std[0], rtol=0, atol=0.6 / 255 / p.std[0]
    )
    assert len(p.mean) == len(p.std) == 1
    assert classifier(pixels)[0].shape == (1, CLASSES)
