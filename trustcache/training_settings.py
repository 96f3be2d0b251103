"""The numbers that trainings take, said once: for losses, the command line, presets and the report.

It stands apart from the losses because `--help` shows them, and should not wait for torch.
"""

from __future__ import annotations

from types import MappingProxyType

from trustcache.registry import Setting

# The steep slope's gradient reaches 4 e^(alpha - 2) / alpha, and Adam squares it: at 30 that is 4e22, which leaves
# float32 room for inputs far from their mean. At 50 it is infinite, and at 89 so is the loss.
_STEEPEST = 30.0

_LOSS_SETTINGS = {
    "alpha_pos": Setting(
        1.0, "how steeply ss pulls the scores of right answers above zero", "α⁺", highest=_STEEPEST, excluded=0.0
    ),
    "alpha_neg": Setting(
        3.0, "how steeply ss pushes the scores of wrong answers below zero", "α⁻", highest=_STEEPEST, excluded=0.0
    ),
    "gamma": Setting(2.0, "how fast focal forgets samples that it already tells well", "γ", highest=20.0),
    "beta": Setting(
        0.9999,
        "class-balanced: at 0 all samples weigh alike, towards 1 right and wrong weigh alike in total",
        "β",
        highest=1.0,
        excluded=1.0,
    ),
}

LOSS_SETTINGS = MappingProxyType(_LOSS_SETTINGS)
"""The numeric settings of losses; one that several losses take means the same to each."""

SEED = Setting(0, "what first weights and the validation part are drawn by", highest=2**32 - 1)
"""A run's seed."""
