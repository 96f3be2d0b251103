"""The options that name a model to build, as `extract` and `fit-classifier` take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trustcache.models.identity import Reading
from trustcache.models.preprocessing import PREPROCESS_HELP, parse_preprocessing
from trustcache.models.timm_models import classifier_names
from trustcache.registry import REQUIRED, key_values, option
from trustcache.registry.permission import full_name

if TYPE_CHECKING:
    from trustcache.models.building import ModelSpec


@dataclass(frozen=True)
class ModelOptions:
    """A model as the command line names it."""

    classifier: str = option(REQUIRED, f"{', '.join(classifier_names()[:-1])}, or {classifier_names()[-1]}.")
    model_arg: list[str] = option(
        [],
        "KEY=VALUE: a keyword argument of the function that builds the model, timm.create_model's or your own, as in "
        "num_classes=10; may be repeated.",
    )
    preprocess: list[str] = option([], PREPROCESS_HELP)
    use_ema: bool = option(True, "Averaged (EMA) weights where a checkpoint holds both; --no-ema: the plain ones.")

    def spec(self, weights: str | None) -> ModelSpec:
        """Return the model with these weights. Raises UsageError for an option that cannot be read."""
        from trustcache.models.building import ModelSpec

        arguments = key_values("--model-arg", self.model_arg)
        given = parse_preprocessing(self.preprocess)
        return ModelSpec(full_name(self.classifier), weights, arguments, given, Reading(self.use_ema))
