"""Time of `train --together` against the same runs one by one: `python benchmarks/together.py`.

A small network learns from JPEGs of 384 x 384 pixels, whose decoding takes most of the time. `--classifier
cifar-resnet32 --pixels 32 --images 256` is the other end: the network takes nearly all of it. The times are those of
whole commands, their start included; processor time is that of all their processes.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pictures import write_photographs

ROOT = Path(__file__).parent.parent
NETWORK = """
import torch
from torch import nn


def build(classes=2):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 4, 4), nn.ReLU())
    model = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes))
    model.pretrained_cfg = {"input_size": (3, 64, 64), "crop_pct": 1.0}
    return model
"""


def command(folder: str, *words: str) -> tuple[float, float]:
    """Run a command in a folder, and return its wall and processor time in seconds."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1"}
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    common = ("--workers", "2", "--device", "cpu")
    line = [sys.executable, "-m", "trustcache", *words, *common]
    subprocess.run(line, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return time.perf_counter() - began, processor


def random_weights(folder: str, classifier: str) -> str:
    """Write random weights of a timm model, or of a built-in one, for two classes."""
    from safetensors.torch import save_file

    from trustcache.models.building import ModelSpec, new_model

    path = Path(folder) / "random.safetensors"
    save_file(new_model(ModelSpec(classifier, None), 2).state_dict(), path)
    return str(path)


def main() -> None:
    """Print the times of twelve runs one by one and in one pass, and that they wrote the same weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--classifier", default="small:build")
    parser.add_argument("--pixels", type=int, default=384, help="width and height of the JPEGs")
    options = parser.parse_args()
    train = ("train", "--loss", "ss", "--alpha-pos", "1,2,3", "--alpha-neg", "1,2,3,4", "--epochs", "1")
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder) / "photos", options.images, options.pixels, 48)
        (Path(folder) / "small.py").write_text(NETWORK, encoding="utf-8")
        random = (
            () if options.classifier == "small:build" else ("--weights", random_weights(folder, options.classifier))
        )
        command(folder, "extract", "--classifier", options.classifier, *random, "--data", "photos:train")
        runs = Path(folder, "trustcache-workspace", "runs")
        times, weights = [], []
        for together in ([], ["--together"]):
            times.append(command(folder, *train, *together))
            weights.append([path.read_bytes() for path in sorted(runs.glob("*/weights.safetensors"))])
            runs.rename(runs.with_name(f"runs-{len(times)}"))
        (wall, processor), (less_wall, less_processor) = times
        print(f"{len(weights[0])} runs one by one: {wall:.1f} s, {processor:.1f} s of processors")
        print(f"in one pass: {less_wall:.1f} s, {less_processor:.1f} s; same={weights[0] == weights[1]}")
        print(f"wall {wall / less_wall:.1f} x, processors {processor / less_processor:.1f} x")


if __name__ == "__main__":
    main()
