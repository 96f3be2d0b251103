"""Each stage against what the machine can do, on a GPU or the CPU, in one run.

    python benchmarks/gpu.py [--all] [--network vit] [--device auto] [--images 4096] [--seconds 1.5] [--json gpu.json]

Random weights, of a ViT-B/16 at 384 pixels, a ResNet-18 at 224, or CIFAR's ResNet-32 at 32; JPEGs of 400 to 500 pixels,
or of 32, are generated. Each row is a rate or a time, its limit measured in the same run, and the share of the limit
that is reached (1.00 is the limit itself). Extraction writes its cache; its rate is that of further images, between
an extraction of a fifth of them and one of all, and beside it stands what an extraction does once: it begins and ends
the decoding processes, lists the data set and takes the weights' checksum. Freed memory is kept, as the commands have
it: with the C library's own way a small network's forward pass takes up to twice as long on a CPU, and hides the rest.
`--all` adds torch.compile, attacks, predictions, heads, bootstrap, corruptions and start-up. A row that the machine
cannot give is skipped with the reason.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

import bootstrap
import heads
import torch
from bench import NETWORKS, Bench
from measuring import bare_forward, compiled_forward, decoding, model_of, photos, rate, synchronise, training
from safetensors.torch import save_file

from trustcache import TrustedClassifier
from trustcache.data.dataset import open_dataset
from trustcache.data.loader import choose_device
from trustcache.data.variants.attacks import ATTACKS, attack
from trustcache.data.variants.variation import Variant
from trustcache.errors import TrustcacheError
from trustcache.extract.settings import ExtractSettings
from trustcache.models.memory import keep_freed_memory
from trustcache.models.precision import Repeatable, arithmetic

ROOT = Path(__file__).resolve().parents[1]

# Of so many trainings with so many epochs the least median epoch counts.
_REPEATS, _EPOCHS = 3, 6


def forward(bench: Bench) -> None:
    usual = min(64, bench.large)
    found = {
        (precision, usual): bare_forward(bench.main, precision, usual, bench.device, bench.seconds)
        for precision in dict.fromkeys(["float32", bench.best])
    } | {(bench.best, bench.large): bench.forward}
    for (precision, batch), images in found.items():
        bench.add(f"bare forward, {precision}, batches of {batch}", images, max(found.values()), "the fastest of these")


def compiled(bench: Bench) -> None:
    """The network by torch.compile, and the images from which on an extraction would be done sooner with it."""
    images, once = compiled_forward(bench.main, bench.best, bench.large, bench.device, bench.seconds)
    gain = 1 / bench.forward - 1 / images
    pays = f"{once / gain:,.0f} images" if gain > 0 else "no number of images"
    bench.add(f"by torch.compile ({once:.0f} s, which {pays} repay)", images, bench.forward, "bare forward")


def from_memory(bench: Bench) -> None:
    side = bench.main.preprocessing.input_size[0]
    plain = photos(bench.root / "bmp", bench.options.images, "bmp", (side, side))
    found, limit = bench.beside_forward(lambda: bench.extracted(plain, bench.settings))
    bench.add(f"extract uncompressed, {bench.best}", found, limit, "bare forward")
    handed = decoding(bench.main, plain, bench.cores, bench.large)
    bench.add(f"uncompressed images from {bench.cores} processes, no model", handed, limit, "bare forward")


def from_jpegs(bench: Bench) -> None:
    of = f"min(decode {bench.decoded:.0f}, forward)"
    usual = ExtractSettings(device=str(bench.device))
    defaults, forward = bench.beside_forward(lambda: bench.extracted(bench.jpegs, usual))
    bench.add("extract JPEGs, all defaults", defaults, min(bench.decoded, forward), of)
    chosen, forward = bench.beside_forward(lambda: bench.extracted(bench.jpegs, bench.settings))
    what = f"extract JPEGs, {bench.cores} workers, batches of {bench.large}"
    bench.add(what, chosen, min(bench.decoded, forward), of)
    better = max(defaults.rate, chosen.rate)
    bench.add("defaults against the better of both settings", defaults.rate, better, "extraction")


def gpu_decoding(bench: Bench) -> None:
    from torchvision.io import ImageReadMode, decode_jpeg

    raws = [torch.frombuffer(bytearray(bench.jpegs.samples.raw(i)), dtype=torch.uint8) for i in range(bench.large)]
    nvjpeg = rate(
        lambda: decode_jpeg(raws, ImageReadMode.RGB, device=bench.device), len(raws), bench.device, bench.seconds
    )
    found = bench.extracted(bench.jpegs, dataclasses.replace(bench.settings, decode="gpu"))
    bench.add("extract JPEGs, --decode gpu", found, min(nvjpeg, bench.forward), f"min(nvJPEG {nvjpeg:.0f}, forward)")


def resnet(bench: Bench) -> None:
    model, batch = model_of("resnet50"), 512 if bench.on_gpu else 32
    last = bare_forward(model, bench.best, batch, bench.device, bench.seconds)
    model.model.to(memory_format=torch.contiguous_format)
    first = bare_forward(model, bench.best, batch, bench.device, bench.seconds)
    model.model.to(memory_format=torch.channels_last)
    bench.add(f"ResNet forward, {bench.best}, channels last", last, first, "channels first")
    plain = photos(bench.root / "bmp224", bench.options.images, "bmp", (224, 224))
    many = dataclasses.replace(bench.settings, batch_size=batch)
    bench.add("ResNet, extract uncompressed", bench.extracted(plain, many, model), last, "bare forward")
    model.model.cpu()


def fine_tuning(bench: Bench) -> None:
    bench.main.model.cpu()
    name, batch = bench.network.name, bench.network.tuned
    limits = []
    for precision in dict.fromkeys(["float32", bench.best]):
        found, bare, repeated = training(name, precision, batch, bench.jpegs, bench.device, bench.seconds, None)
        limits.append(bare)
        bench.add(f"fine-tuning from JPEGs, {precision}, batches of {batch}", found, bare, "bare loop")
        bench.add(f"bare loop, {precision}, in torch's deterministic mode", repeated, bare, "bare loop")
    bench.add(f"bare fine-tuning loop, float32 against {bench.best}", limits[0], limits[-1], f"{bench.best} loop")


def attacks(bench: Bench) -> None:
    """Adversarial images made twice, of few steps: what the steps take, and how many images have the same bits."""
    count, steps, logits = 64 if bench.on_gpu else 4, 10, bench.main.logits_of
    images = torch.rand(count, 3, *bench.main.preprocessing.input_size, device=bench.device)
    labels, repeat = torch.zeros(count, dtype=torch.long, device=bench.device), Repeatable(bench.device)
    bench.main.model.to(bench.device)

    def gradient() -> None:
        x = images.clone().requires_grad_()
        torch.autograd.grad(logits(x).sum(), x)

    def made(name: str) -> torch.Tensor:
        return repeat(lambda: attack(name, logits, images, labels, range(count), {"iterations": steps}))

    with arithmetic("float32", bench.device):
        bare = rate(gradient, count, bench.device, bench.seconds) / steps
        for name in ATTACKS:
            began = time.perf_counter()
            first, again = made(name), made(name)
            synchronise(bench.device)
            found = 2 * count / (time.perf_counter() - began)
            bench.add(f"{name}, {steps} steps", found, bare, "as many bare gradients")
            same = sum(map(torch.equal, first, again))
            bench.add(f"{name}, made again with the same bits", same, count, "all of them", "images")


def predictions(bench: Bench) -> None:
    trusted = TrustedClassifier(bench.main, "mcp", 0.0, device=str(bench.device))
    trusted.pair.first.precision = bench.best
    image = bench.jpegs.read(0).resize(bench.main.preprocessing.input_size[::-1])
    alone = bare_forward(bench.main, bench.best, 1, bench.device, bench.seconds)
    one = rate(lambda: list(trusted([image], batch_size=1)), 1, bench.device, bench.seconds)
    bench.add("predict, one image at a time, --batch-size 1", one, alone, "bare forward of one")
    usual = rate(lambda: list(trusted([image])), 1, bench.device, bench.seconds)
    bench.add("predict, one image at a time, by default", usual, alone, "bare forward of one")
    files = [f"{bench.root}/jpg/photos/{name}" for name in bench.jpegs.ids[: bench.options.images // 2]]
    limit, of = min(bench.decoded, bench.forward), f"min(decode {bench.decoded:.0f}, forward)"
    began = time.perf_counter()
    count = sum(1 for _ in trusted.of_files(files, batch_size=bench.large))
    bench.add(f"predict JPEGs, {bench.cores} processes", count / (time.perf_counter() - began), limit, of)


def frozen_heads(bench: Bench) -> None:
    samples = 1_281_167 if bench.on_gpu else 50_000
    x = torch.randn(samples, 768, device=bench.device, dtype=torch.half if bench.on_gpu else torch.float)
    correct = torch.rand(samples, device=bench.device) < 0.8

    def seconds(work: Callable[[], object]) -> float:
        synchronise(bench.device)
        began = time.perf_counter()
        work()
        synchronise(bench.device)
        return time.perf_counter() - began

    x.sum()
    read = seconds(x.sum)
    seconds(lambda: heads.index_loop(x[:5000], correct[:5000]))
    plain = seconds(lambda: heads.index_loop(x, correct))
    bench.add(f"a plain loop over {samples:,} x 768, one head, an epoch", plain, read, "one read", "s")
    for count, batch in ((1, 512), (96, 512), (96, 8192)):
        tasks = heads.swept(count)
        heads.at_once(x, correct, tasks, batch=batch)  # makes what is made once in a process
        taken = [heads.timed_at_once(x, correct, tasks, _EPOCHS, batch) for _ in range(_REPEATS)]
        epoch, once = map(min, zip(*taken, strict=True))
        bench.add(
            f"train --frozen, {count} heads, batches of {batch}, an epoch", epoch, plain, "plain loop, one head", "s"
        )
        bench.add("the same, done once beside its epochs", once, epoch, "an epoch", "s")


def resampling(bench: Bench) -> None:
    row = bootstrap.measure(50_000 if bench.on_gpu else 5_000, bench.device.type)
    bench.add(f"bootstrap of {row['samples']:,} samples", row["seconds"], row["limit_s"], "reading the counts", "s")
    bench.add("the same by sorting each resample", row["sorting_s"], row["seconds"], "trustcache", "s")


def corruptions(bench: Bench) -> None:
    some = dataclasses.replace(bench.jpegs.manifest, thinned_to=min(1024, bench.options.images))
    for name in ("brightness", "gaussian_noise", "glass_blur"):
        variant = Variant("corruption", name, 3, crop=224)
        dataset = open_dataset(dataclasses.replace(some, variant=variant), bench.root)
        made = decoding(bench.main, dataset, bench.cores, bench.large)
        found = bench.extracted(dataset, bench.settings)
        bench.add(
            f"extract, {name} made on the fly", found, min(made, bench.forward), f"min(making {made:.0f}, forward)"
        )


def start_up(bench: Bench) -> None:
    """Seconds of the command line for 100 images against those of importing torch and timm and waking the device."""
    small = model_of("resnet18")
    weights = bench.root / "small.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in small.model.state_dict().items()}, weights)
    photos(bench.root / "few", 100, "jpg", (400, 500))
    # It has the packages that are found here, wherever they lie, the GPU's memory, and no settings of the user's.
    places = [path for path in sys.path if path and Path(path) != ROOT / "benchmarks"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRUSTCACHE_")}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), *places])}
    environment |= {"XDG_CONFIG_HOME": str(bench.root / "config"), "HF_HUB_OFFLINE": "1"}
    vars(bench).pop("main", None)
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()

    def seconds(*command: str) -> float:
        began = time.perf_counter()
        words = [sys.executable, *command]
        done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=bench.root)
        if done.returncode:
            raise RuntimeError(f"exit code {done.returncode}: {done.stderr.strip()[-400:]}")
        return time.perf_counter() - began

    bare = f"import torch, timm; print(torch.zeros(1, device='{bench.device}') + 1)"
    options = [
        "--classifier",
        "resnet18",
        "--weights",
        str(weights),
        "--data",
        "few/photos",
        "--device",
        str(bench.device),
    ]
    words = ["extract", *options, "--workspace", "started", "--model-arg", "num_classes=100"]
    line = f"from cli import app; app({words!r})"
    seconds("-c", bare)
    bench.add(
        "extract of 100 images, from the command line", seconds("-c", line), seconds("-c", bare), "imports, device", "s"
    )


ALWAYS: Sequence[Callable[[Bench], None]] = (forward, from_memory, from_jpegs, gpu_decoding, resnet, fine_tuning)
MORE: Sequence[Callable[[Bench], None]] = (
    compiled,
    attacks,
    predictions,
    frozen_heads,
    resampling,
    corruptions,
    start_up,
)


def main() -> None:
    """Measure all rows; JSON is written whatever happens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only", nargs="*", help="names of sections")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each bare loop")
    parser.add_argument("--rounds", type=int, default=1, help="of extraction, with a bare forward pass between them")
    parser.add_argument("--images", type=int, default=4096, help="at least 100, one of each class")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"))
    parser.add_argument("--network", choices=NETWORKS, default="vit")
    options = parser.parse_args()
    torch.manual_seed(0)
    keep_freed_memory()
    device = choose_device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    machine = {"device": f"{device} {name}", "cores": os.cpu_count(), "torch": torch.__version__}
    print(machine)
    with tempfile.TemporaryDirectory() as root:
        bench = Bench(options, Path(root))
        try:
            for section in (*ALWAYS, *(MORE if options.all or options.only else ())):
                if options.only and section.__name__ not in options.only:
                    continue
                began = time.perf_counter()
                try:
                    section(bench)
                except Exception as error:
                    if not isinstance(error, RuntimeError | TrustcacheError):
                        traceback.print_exc()
                    bench.rows.append({"what": section.__name__, "skipped": f"{type(error).__name__}: {error}"})
                    print(f"{section.__name__}: skipped, {type(error).__name__}: {str(error)[-400:]}", flush=True)
                bench.rows.append({"what": section.__name__, "seconds": time.perf_counter() - began})
        finally:
            record = {**machine, "date": time.strftime("%Y-%m-%d"), "rows": bench.rows}
            options.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
