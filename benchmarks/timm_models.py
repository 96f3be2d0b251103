"""Every architecture of timm as a classifier here: `python benchmarks/timm_models.py --limit 40`.

With random weights and small images: its logits are the model's own, its features through its last layer are its
logits, stages are found and pooled, and torch.export's graph gives the same. Results are kept by name in a JSON file,
so that a stopped sweep goes on; a fault is a line there and at the end.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from torch.nn import functional as F

from trustcache.deploy.network import Pair, Reads
from trustcache.errors import kind_and_line
from trustcache.models.building import ModelSpec
from trustcache.models.classifiers import Classifier

SIDES = (64, 128, 224)
CLASSES = 10
IMAGES = 3
EQUAL = 1e-3  # of the largest value


class TopLogit(nn.Module):
    """A score that a graph can hold."""

    def forward(self, images: torch.Tensor | None, outputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return outputs["logits"].amax(1)


def parameters(name: str) -> int:
    """Return an architecture's number of parameters, without making them."""
    with torch.device("meta"):
        return sum(p.numel() for p in timm.create_model(name).parameters())


def classifier(name: str) -> tuple[Classifier, torch.Tensor]:
    """Return an architecture with random weights at the smallest size that it takes, and images of that size."""
    usual: Any = timm.create_model(name, num_classes=CLASSES)
    own = tuple(usual.pretrained_cfg["input_size"][1:])
    for size in [*((side, side) for side in SIDES if side < own[0]), own]:
        try:
            fixed = usual.pretrained_cfg.get("fixed_input_size") and size != own
            model = timm.create_model(name, num_classes=CLASSES, img_size=size) if fixed else usual
            found = Classifier(ModelSpec(name, preprocessing={"input_size": size}), model)
            pixels = torch.randint(0, 256, (IMAGES, 3, *size), generator=torch.Generator().manual_seed(0))
            with torch.inference_mode():
                model(found.preprocessing.normalise(pixels))
        except Exception:  # too small for it, or img_size is none of its arguments
            if size == own:
                raise
        else:
            return found, pixels
    raise AssertionError


def differs(what: str, one: torch.Tensor, other: torch.Tensor) -> str:
    """Return a sentence on two tensors that differ, "" for equal ones."""
    apart = float((one - other).abs().max() / other.abs().max().clamp_min(1e-6))
    return "" if apart <= EQUAL else f"{what}: {apart:.2g} of the largest apart"


def faults(name: str, export: bool) -> list[str]:
    """Return what is wrong with an architecture as a classifier."""
    found, pixels = classifier(name)
    x = found.preprocessing.normalise(pixels)
    logits, features = found(pixels)
    with torch.inference_mode():
        wrong = [differs("logits", logits, found.model(x).float())]
        if last := found.last_layer():
            wrong.append(differs("last layer of the features", F.linear(features, *last), logits))
        places = found.stage_places()
        stages = found.outputs(x, places, views=("mirrored",))["stages"]
    wrong += [] if stages.isfinite().all() else ["stages: not finite"]
    if export:
        pair = Pair(Reads(found), TopLogit())
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shapes = {"images": {0: torch.export.Dim("N")}}
            graph = torch.export.export(pair, (pixels[:2].byte(),), dynamic_shapes=shapes)
            wrong.append(differs("export", graph.module()(pixels.byte())[0], logits))
    return [line for line in wrong if line]


def main() -> None:
    """Sweep over the architectures that are not done yet, and print those with faults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", help="a pattern of names, such as 'resnet*'")
    parser.add_argument("--limit", type=int, default=0, help="so many, spread evenly; 0: all")
    parser.add_argument("--parameters", type=float, default=30e6, help="at most")
    parser.add_argument("--no-export", dest="export", action="store_false", help="leave torch.export out")
    parser.add_argument("--out", type=Path, default=Path("timm-models.json"))
    asked = parser.parse_args()
    done: dict[str, dict[str, Any]] = json.loads(asked.out.read_text()) if asked.out.is_file() else {}
    names = [name for name in timm.list_models() if fnmatch(name, asked.only) and not name.endswith("_")]
    if asked.limit:
        names = names[:: max(1, len(names) // asked.limit)][: asked.limit]
    for name in names:
        if name in done:
            continue
        began, wrong, size = time.process_time(), [], 0
        try:
            size = parameters(name)
            if size > asked.parameters:
                continue
            wrong = faults(name, asked.export)
        except Exception as error:  # each is a line of the result
            wrong = [kind_and_line(error)]
        done[name] = {"parameters": size, "seconds": round(time.process_time() - began, 1), "faults": wrong}
        print(f"{name}: {'; '.join(wrong) or 'as it should be'}", flush=True)
        asked.out.write_text(json.dumps(done, indent=1))
    bad = {name: found["faults"] for name, found in done.items() if found["faults"]}
    print(f"{len(done)} architectures, {len(bad)} with faults{': ' if bad else ''}{', '.join(bad)}")


if __name__ == "__main__":
    main()
