"""Export: classifier, oracle and preprocessing's arithmetic as one graph in one file, checked before it is published.

The graph takes images uint8 (N, 3, H, W), RGB at the classifier's input size, as decoders give them, so that no value
range can be mistaken. It returns float32 logits (N, K) and score (N,). A JSON file beside it describes the rest.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch.export.graph_signature import InputKind

from trustcache.cache.provenance import original_dataset
from trustcache.cache.publish import file_sha256, publish
from trustcache.cache.records import read_record, write_record
from trustcache.cache.versions import software_versions
from trustcache.data.samples import BadImage
from trustcache.deploy.description import Checked, Description, GraphInput, Resize, SecondInput
from trustcache.deploy.goals import CLASS
from trustcache.deploy.network import Pair, load_pair
from trustcache.deploy.scorers import Scorer
from trustcache.errors import DamagedError, TrustcacheError, UsageError, kind_and_line
from trustcache.models.preprocessing import Preprocessing
from trustcache.scores import POST_HOC

# Largest difference between graph and original, absolute or as a share of the value.
TOLERANCE = 1e-4
CHECKED_IMAGES = 16
# Trace with two images: torch.export specialises a batch of one to a constant.
TRACED_BATCH = 2
# A graph as a function of images uint8 (N, 3, H, W), as `Pair.takes` has them, giving logits (N, K) and score (N,).
Graph = Callable[..., tuple[np.ndarray, np.ndarray]]
# Names of the inputs: the second is of a second network that sees images at another size or crop.
INPUTS = ("images", "second_images")


@dataclass(frozen=True)
class Format:
    """A file format. write: turns a traced pair into bytes. open: turns bytes into a `Graph`, to check them.

    needs: libraries that trustcache does not install by itself.
    """

    suffix: str
    write: Callable[[torch.export.ExportedProgram], bytes]
    open: Callable[[bytes], Graph]
    needs: tuple[str, ...] = ()


def export(scorer: Scorer, format: str, path: Path | None, data_root: Path) -> tuple[Path, Path]:
    """Write a run and its classifier as one graph, with a JSON description beside it, and return both paths.

    format: a key of `FORMATS`. path: None for the run's folder. Nothing is written unless the graph's outputs equal the
    original's, for batches of one and of several images, real ones if they are still there. Raises UsageError for a
    post-hoc score and for a missing library, TrustcacheError where the pair cannot be exported.
    """
    if scorer.run is None:
        if POST_HOC[scorer.name].of_logits:
            raise UsageError(f"{scorer.name}: needs no export, being a function of the logits; export a run")
        raise UsageError(f"{scorer.name}: is computed outside of the network, and cannot be exported; export a run")
    chosen = FORMATS[format]
    if missing := [name for name in chosen.needs if not find_spec(name)]:
        raise UsageError(
            f"--format {format}: needs {' and '.join(missing)}; install with pip install 'trustcache[export]', or "
            "take --format torch"
        )
    target = path or scorer.folder / f"{scorer.name}{chosen.suffix}"
    pair = load_pair(scorer)
    try:
        with _silence_torch():
            data = chosen.write(_trace(pair))
            graph = chosen.open(data)
    except Exception as error:  # tracing a user's own model may raise anything, and each runtime has its own
        raise TrustcacheError(
            f"{scorer.name}: cannot be exported as {format} ({kind_and_line(error)}); "
            "try another --format, or a classifier of plain tensor operations"
        ) from error
    images, which = _images_to_check(scorer, pair.takes, data_root)
    checked = Checked(which, _check(pair, graph, images, f"{scorer.name} as {format}"))
    description = _described(scorer, pair, format, checked, hashlib.sha256(data).hexdigest())
    beside = target.with_name(f"{target.name}.json")
    publish(target, data)
    write_record(beside, description)
    return target, beside


@contextmanager
def _silence_torch() -> Iterator[None]:
    """Silence torch's logs, warnings and prints during tracing: the check that follows is what counts."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    discarded = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(discarded), redirect_stderr(discarded):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _trace(pair: Pair) -> torch.export.ExportedProgram:
    examples = tuple(torch.zeros(TRACED_BATCH, 3, *one.input_size, dtype=torch.uint8) for one in pair.takes)
    rows = torch.export.Dim("N")
    shapes = {name: {0: rows} for name, _ in zip(INPUTS, examples, strict=False)}
    with torch.no_grad():
        return torch.export.export(pair, examples, dynamic_shapes=shapes)


def _as_torch(program: torch.export.ExportedProgram) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _torch_graph(data: bytes) -> Graph:
    module = torch.export.load(io.BytesIO(data)).module()

    def run(*images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            logits, score = module(*images)
        return logits.numpy(), score.numpy()

    return run


def _as_onnx(program: torch.export.ExportedProgram) -> bytes:
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]
    made = torch.onnx.export(
        program,
        input_names=names,
        output_names=["logits", "score"],
        dynamic_shapes={name: {0: "N"} for name in names},
        dynamo=True,
        verbose=False,
    )
    assert made is not None
    return made.model_proto.SerializeToString()


def _onnx_graph(data: bytes) -> Graph:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(*images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        return tuple(session.run(["logits", "score"], dict(zip(names, (one.numpy() for one in images), strict=True))))

    return run


FORMATS: dict[str, Format] = {
    "onnx": Format(".onnx", _as_onnx, _onnx_graph, ("onnx", "onnxscript", "onnxruntime")),
    "torch": Format(".pt2", _as_torch, _torch_graph),
}
"""Formats by name."""


def _images_to_check(scorer: Scorer, takes: Sequence[Preprocessing], data_root: Path) -> tuple[list[torch.Tensor], str]:
    """Return images uint8 (N, 3, H, W) as each network takes them, and their description."""
    transforms = [preprocessing.transform() for preprocessing in takes]
    for index in scorer.caches:
        try:
            dataset = original_dataset(index, data_root)
            rows = np.linspace(0, len(dataset) - 1, min(CHECKED_IMAGES, len(dataset))).round().astype(int)
            images = [dataset.read(int(row)) for row in rows]
        except (UsageError, BadImage):  # gone or changed since
            continue
        return [torch.stack([one(image) for image in images]) for one in transforms], f"{len(rows)} of {index.data}"
    generator = torch.Generator().manual_seed(0)
    shapes = [(CHECKED_IMAGES, 3, *preprocessing.input_size) for preprocessing in takes]
    random = [torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8) for shape in shapes]
    return random, f"{CHECKED_IMAGES} random ones"


def _check(pair: Pair, graph: Graph, images: Sequence[torch.Tensor], what: str) -> float:
    """Return the largest difference between graph and original. Raises TrustcacheError beyond TOLERANCE."""
    largest = 0.0
    for batch in ([one[:1] for one in images], images):
        with torch.inference_mode():
            wanted = pair(*batch)
        for name, here, there in zip(("logits", "score"), wanted, graph(*batch), strict=True):
            apart = np.abs(here.numpy() - there)
            if here.shape != there.shape or not (apart <= TOLERANCE * np.maximum(1, np.abs(here.numpy()))).all():
                raise TrustcacheError(
                    f"{what}: its {name} differ from the original's by up to {apart.max():.2g}, more than "
                    f"{TOLERANCE:g}, so it was not written; try another --format"
                )
            largest = max(largest, float(apart.max()))
    return largest


def check_graph(path: Path) -> None:
    """Raise DamagedError where an exported graph, or the description beside it, is not as it was written.

    >>> publish(tmp / "net.onnx.json", b"not mine")
    >>> check_graph(tmp / "net.onnx")
    Traceback (most recent call last):
    trustcache.errors.DamagedError: .../net.onnx.json: damaged (it has no checksum)...
    """
    remedy = "run the same trustcache export again"
    described = read_record(path.with_name(f"{path.name}.json"), Description, remedy)
    if file_sha256(path) != described.graph_sha256:
        raise DamagedError(f"{path}: damaged (its checksum differs from the one in {path.name}.json); {remedy}")


def _described(scorer: Scorer, pair: Pair, format: str, checked: Checked, graph_sha256: str) -> Description:
    takes = [
        (GraphInput(("N", 3, *p.input_size), name), Resize(resize_rule(p), p.crop_pct, p.crop_mode, p.interpolation))
        for name, p in zip(INPUTS, pair.takes, strict=False)
    ]
    classes, calibrated = scorer.classes(pair.classifier.num_classes), scorer.threshold()
    by = calibrated.by if calibrated else ""
    group = "number of the predicted class" if by == CLASS else "image's group"
    return Description(
        scorer.name,
        scorer.classifier,
        format,
        *takes[0],
        {"logits": ("N", len(classes)), "score": ("N",)},
        scorer.working_threshold(),
        calibrated,
        classes,
        checked,
        software_versions("torch"),
        graph_sha256,
        f"score > threshold of the {group}, in calibration.groups" if by else "score > threshold",
        SecondInput(*takes[1]) if takes[1:] else None,
    )


def resize_rule(preprocessing: Preprocessing) -> str:
    """Describe in words how an image is brought to the input size.

    >>> resize_rule(Preprocessing((8, 8), 1.0, "squash", "bicubic", (0.5,), (0.5,)))  # doctest: +ELLIPSIS
    'resize to 8 x 8 pixels (height x width) whatever the proportions...; then crop the central 8 x 8'
    """
    height, width = preprocessing.input_size
    larger = [math.floor(side / preprocessing.crop_pct) for side in (height, width)]
    how = f"{preprocessing.interpolation}, antialiased"
    if preprocessing.crop_mode == "squash":
        first = f"resize to {larger[0]} x {larger[1]} pixels (height x width) whatever the proportions ({how})"
    elif preprocessing.crop_mode == "border":
        first = f"resize to fit into {larger[0]} x {larger[1]} pixels ({how}), add borders in the mean colour"
    else:
        first = f"resize so that {larger[0]} x {larger[1]} pixels are just covered, proportions kept ({how})"
    return f"{first}; then crop the central {height} x {width}"
