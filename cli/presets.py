"""`trustcache presets`: hyperparameters by name."""

from __future__ import annotations

from typing import Annotated

import typer

from .program import Place, command, print_line, print_table


@command("presets")
def presets(
    place: Place, name: Annotated[str | None, typer.Argument(help="One to print, as TOML; all of them without.")] = None
) -> None:
    """Hyperparameters for train --preset: list them, or print one to keep and change."""
    from trustcache.oracles.presets.preset import preset_names, preset_text, read_preset

    if name:
        print_line(preset_text(name).rstrip("\n"), kept="\n\t")
        return
    print_table(("preset", "what for"), [(known, read_preset(known).title) for known in preset_names()])
