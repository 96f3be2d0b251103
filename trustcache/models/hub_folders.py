"""Folders as Hugging Face's tools save a classifier: `config.json` with the weights beside it, `local-dir:PATH`.

A configuration that names timm's architecture is built by timm; any other belongs to the package transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from trustcache.errors import UsageError, first_line

SCHEME = "local-dir:"
_WEIGHTS = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")
_OF_IMAGES = ("input_size", "crop_pct", "crop_mode", "interpolation", "mean", "std")
# Pillow's numbers of its filters, as preprocessor_config.json holds them.
_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")


def folder_of(name: str) -> Path | None:
    """Return the folder that a classifier's name leads to, None for other names. Raises UsageError if it is none."""
    if not name.startswith(SCHEME):
        return None
    folder = Path(name.removeprefix(SCHEME))
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"--classifier {name}: {folder / 'config.json'} is not there; name the folder that save_pretrained or the "
            "Trainer wrote"
        )
    return folder


def is_timm_folder(folder: Path) -> bool:
    """Return True if a folder's configuration is one of timm's; transformers can wrap timm's models without theirs."""
    config = _json(folder / "config.json")
    return "architecture" in config and ("pretrained_cfg" in config or "model_type" not in config)


def weights_in(folder: Path) -> Path:
    """Return the file of a folder's weights. Raises UsageError if there is none."""
    found = [folder / name for name in _WEIGHTS if (folder / name).is_file()]
    if not found:
        raise UsageError(f"--classifier {SCHEME}{folder}: holds no weights; one of {', '.join(_WEIGHTS)} must be there")
    return found[0]


def transformers_model(folder: Path, arguments: Mapping[str, Any]) -> nn.Module:
    """Return the image classifier of a folder of transformers', with weights, class names and preprocessing.

    Its `missing` are the names of the tensors that the folder lacks, which have random numbers. arguments: as
    transformers takes them; `num_classes`, as timm's builders take it, gives it a last layer for as many. No code of
    the folder is run. Raises UsageError without the package, and for a folder that it cannot read.
    """
    try:
        from transformers import AutoModelForImageClassification, logging
    except ImportError:
        raise UsageError(
            f"--classifier {SCHEME}{folder}: is a folder of transformers', which is not installed here; "
            "pip install transformers"
        ) from None
    settings = {"local_files_only": True, "trust_remote_code": False, "output_loading_info": True, **arguments}
    if "num_classes" in settings:
        settings |= {"num_labels": settings.pop("num_classes"), "ignore_mismatched_sizes": True}
    loudness = logging.get_verbosity()
    logging.set_verbosity_error()  # its table of what is missing; we tell
    try:
        model, found = AutoModelForImageClassification.from_pretrained(folder, **settings)
    except Exception as error:  # the library raises many kinds for a folder that is no image classifier
        raise UsageError(
            f"--classifier {SCHEME}{folder}: transformers cannot read it as an image classifier ({first_line(error)}); "
            "name a folder that its Trainer wrote"
        ) from error
    finally:
        logging.set_verbosity(loudness)
    missing = {*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])}
    return _Logits(model, _json(folder / "preprocessor_config.json", {}), missing)


class _Logits(nn.Module):
    """A classifier of transformers' as a function from pixels to logits, with a configuration such as timm's."""

    def __init__(self, model: Any, preparation: Mapping[str, Any], missing: set[str]) -> None:
        super().__init__()
        self.model = model
        self.missing = {f"model.{name}" for name in missing}
        names = [model.config.id2label[i] for i in range(model.config.num_labels)]
        unnamed = names == [f"LABEL_{i}" for i in range(len(names))]
        if inner := getattr(model, "timm_model", None):
            config = {key: inner.pretrained_cfg[key] for key in _OF_IMAGES}
        else:
            config = _preprocessing(preparation, getattr(model.config, "image_size", 224))
        self.pretrained_cfg: dict[str, Any] = config | ({} if unnamed else {"label_names": names})

    def forward(self, pixels: Any) -> Any:
        return self.model(pixel_values=pixels).logits


def _preprocessing(preparation: Mapping[str, Any], side: int | list[int]) -> dict[str, Any]:
    """Return timm's terms for a `preprocessor_config.json`; side: of the model's images."""
    if not preparation:
        return {"input_size": (3, *([side] * 2 if isinstance(side, int) else side)), "assumed": True}
    size = preparation.get("size") or {}
    size = {"height": size, "width": size} if isinstance(size, int) else size
    cropped = preparation.get("crop_size") if preparation.get("do_center_crop") else None
    cropped = {"height": cropped, "width": cropped} if isinstance(cropped, int) else cropped
    shortest = size.get("shortest_edge")
    if cropped:
        sides, share = (cropped["height"], cropped["width"]), min(1.0, cropped["height"] / (shortest or size["height"]))
    elif shortest:  # ConvNeXt's: small images are cropped, large ones squashed
        sides, share = (shortest, shortest), preparation.get("crop_pct") or 1.0
    else:
        sides, share = (size.get("height", 224), size.get("width", 224)), 1.0
    squashed = not (cropped or shortest) or (not cropped and sides[0] >= 384)
    found = {
        "input_size": (3, *sides),
        "crop_pct": 1.0 if squashed else share,
        "crop_mode": "squash" if squashed else "center",
        "interpolation": _FILTERS[preparation.get("resample", 2)],
    }
    if preparation.get("do_normalize", True):
        return found | {"mean": tuple(preparation["image_mean"]), "std": tuple(preparation["image_std"])}
    return found | {"mean": (0.0,) * 3, "std": (1.0,) * 3}


def _json(path: Path, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    if missing is not None and not path.is_file():
        return missing
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UsageError(f"--classifier {SCHEME}{path.parent}: {path} cannot be read ({first_line(error)})") from None
    return found if isinstance(found, dict) else {}
