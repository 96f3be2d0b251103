"""Classifiers that are programs: files of TorchScript and of torch.export.

Their graphs name operators that torch looks up and runs, some of which read and write files; and torch.export's loader
turns expressions of the file into Python. They are code, and run with the same permission as `file.py:function`.
"""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trustcache.errors import UsageError, first_line, visible
from trustcache.registry.permission import PROGRAM_FILES, is_import_path, remember_permission, require_permission


def program_kind(path: Path) -> str:
    """Return "TorchScript" or "torch.export" for a file that is such a program, "" for any other."""
    if not zipfile.is_zipfile(path):
        return ""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith(("archive_format", "serialized_exported_program.json")) for name in names):
        return "torch.export"
    return "TorchScript" if any("/code/" in name for name in names) else ""


def is_program(name: str) -> bool:
    """Return True if a classifier's name is that of a file, by its ending."""
    return Path(name).suffix.lower() in PROGRAM_FILES and not is_import_path(name)


def load_program(name: str) -> Program:
    """Return the program of a file.

    Raises UsageError where nobody has allowed it, for another kind of file, and for a program that takes batches of one
    size only.
    """
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"--classifier {name}: there is no such file")
    kind = program_kind(path)
    if not kind:
        raise UsageError(
            f"--classifier {name}: is no program of TorchScript or torch.export; name the architecture, and give "
            f"weights as --weights {name}"
        )
    require_permission(name, "--classifier")
    data = hashlib.sha256(path.read_bytes()).digest()
    try:
        program = _Scripted(path, data) if kind == "TorchScript" else _Exported(path, data)
    except UsageError:
        raise
    except Exception as error:  # either loader raises many kinds for a damaged file, or one of another version
        raise UsageError(
            f"--classifier {name}: {kind} of this torch, {torch.__version__}, cannot load it ({first_line(error)}); "
            "save it again with this version"
        ) from error
    remember_permission(name)
    return program


class Program(nn.Module):
    """A frozen program from images to logits. with_features: also what its last layer sees, if known."""

    has_features = False

    def __init__(self, digest: bytes) -> None:
        super().__init__()
        # Weights alone do not tell two programs apart.
        self.register_buffer("program_sha256", torch.tensor(list(digest), dtype=torch.uint8))

    def with_features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and features for normalised images; features without columns where they are unknown."""
        logits = self(x)
        return logits, logits.new_empty(len(logits), 0)


def program_width(program: Program, name: str, images: torch.Tensor) -> int:
    """Return the number of a program's outputs for normalised images. Raises UsageError if it does not take them."""
    try:
        output = program(images)
    except Exception as error:  # of whatever it was made for
        colours, *sides = images.shape[1:]
        cause = visible(str(error).strip().rpartition("\n")[2])  # TorchScript tells where before it tells what
        raise UsageError(
            f"--classifier {name}: fails on {' x '.join(map(str, sides))} pixels of {colours} channels ({cause}); name "
            "what it takes by --preprocess input_size=N, for grey images also --preprocess mean=M --preprocess std=S"
        ) from error
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        kind = f"a tensor {tuple(output.shape)}" if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
        raise UsageError(
            f"--classifier {name}: returns {kind} where logits (N, classes) are needed; save a program that returns "
            "these alone"
        )
    return output.shape[1]


class _Scripted(Program):
    def __init__(self, path: Path, digest: bytes) -> None:
        super().__init__(digest)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls TorchScript deprecated
            self.program = torch.jit.load(path, map_location="cpu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.program(x)


class _Exported(Program):
    def __init__(self, path: Path, digest: bytes) -> None:
        super().__init__(digest)
        exported = torch.export.load(path)
        inputs = exported.graph_signature.user_inputs
        given = [node.meta["val"] for node in exported.graph.nodes if node.name in inputs]
        shapes = [tensor.shape for tensor in given]
        if len(shapes) != 1 or len(shapes[0]) != 4:
            raise UsageError(f"--classifier {path}: takes {len(shapes)} inputs, not one batch of images (N, 3, H, W)")
        if not given[0].is_floating_point():
            raise UsageError(
                f"--classifier {path}: takes images of {given[0].dtype}; export it for torch.float32, normalised"
            )
        if isinstance(shapes[0][0], int):
            raise UsageError(
                f"--classifier {path}: takes batches of exactly {shapes[0][0]} images; export it for any number: "
                "torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))"
            )
        sides = [side for side in shapes[0][2:] if isinstance(side, int)]
        self.pretrained_cfg: dict[str, Any] = {"assumed": True}
        if len(sides) == 2:
            self.pretrained_cfg["input_size"] = (3, *sides)
        module = exported.module()
        self.has_features = _returning_features(module)
        self.program = module
        self.to(torch.device("cpu"))  # where a program of a GPU is not

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> _Exported:
        """Move what `torch.nn.Module.to` leaves behind too: constants, and what the graph makes on a named device."""
        super()._apply(fn, recurse)
        _move_graph(self.program, self.get_buffer("program_sha256").device)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.program(x)[0] if self.has_features else self.program(x)

    def with_features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.program(x) if self.has_features else super().with_features(x)

    def train(self, mode: bool = True) -> _Exported:
        """Stay as exported: such a module has one mode."""
        return self


def _move_graph(program: nn.Module, device: torch.device) -> None:
    """Move a program's constants to a device, and put this device in place of those that its graph names."""
    for module in program.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, torch.Tensor):
                setattr(module, name, value.to(device))
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                if node.kwargs.get("device"):
                    node.update_kwarg("device", device)
                if node.target is torch.ops.aten.to.device:
                    node.update_arg(1, device)
            module.recompile()


def _returning_features(module: torch.fx.GraphModule) -> bool:
    """Have a graph that ends in a linear layer return that layer's input too; return True if it does."""
    (end,) = (node for node in module.graph.nodes if node.op == "output")
    outputs = torch.utils._pytree.tree_leaves(end.args)
    last = outputs[0] if len(outputs) == 1 else None
    if last is None or last.target is not torch.ops.aten.linear.default:
        return False
    end.args = ((last, last.args[0]),)
    module.graph._codegen = torch.fx.graph.CodeGen()
    module.recompile()
    return True
