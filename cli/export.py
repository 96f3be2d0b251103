"""`trustcache export`: classifier and oracle in one file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .program import Place, command, print_line


@command("export")
def export(
    place: Place,
    run: Annotated[str, typer.Argument(help="A run's name or its unambiguous beginning.")],
    format: Annotated[
        Literal["onnx", "torch"], typer.Option(help="torch.export's .pt2, or ONNX, which needs the extra export.")
    ] = "torch",
    output: Annotated[Path | None, typer.Option(help="The file to write; without it, one in the run's folder.")] = None,
    classifier: Annotated[str | None, typer.Option(help="Whose run, where there are several.")] = None,
) -> None:
    """One graph of classifier and oracle: images uint8 (N, 3, H, W) in, logits and trust score out.

    The file is checked against the original before it is written. Beside it lie class names, threshold and how
    images are resized, as JSON.
    """
    from trustcache.cache.workspace import Workspace
    from trustcache.deploy.export import export as write
    from trustcache.deploy.scorers import find_scorer

    for path in write(find_scorer(Workspace(place.workspace), run, classifier), format, output, place.data_root):
        print_line(path)
