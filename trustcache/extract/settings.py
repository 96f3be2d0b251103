"""Options of an extraction: its settings, and the classifier as the command line names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trustcache.data.machine import DECODERS, device_option, workers_option
from trustcache.errors import UsageError
from trustcache.models.identity import McDropout
from trustcache.models.model_options import ModelOptions
from trustcache.models.precision import PRECISIONS
from trustcache.models.views import ALL, VIEWS, parse_views
from trustcache.protocols import PROTOCOLS
from trustcache.registry import option
from trustcache.registry.permission import short_name

if TYPE_CHECKING:  # torch takes seconds to import, and the command line reads the settings
    from trustcache.data.decoders import Decoders
    from trustcache.models.classifiers import Classifier


@dataclass(frozen=True)
class ExtractSettings:
    """Settings of an extraction."""

    batch_size: int | None = option(None, "Images a forward pass (found on a GPU for long work, else 64).", min=1)
    workers: int | None = workers_option()
    device: str = device_option()
    precision: str = option(
        "auto",
        "Of the forward pass; auto: as the classifier's other caches, else bf16 on a GPU that has it, else float32.",
        choices=("auto", *PRECISIONS),
        envvar="TRUSTCACHE_PRECISION",
    )
    decode: str = option(
        "pil",
        "draft: large JPEGs halved by libjpeg as far as the model's size allows; gpu: baseline JPEGs by nvJPEG; both "
        "change pixels a little, and leave images alone that a variant makes.",
        choices=DECODERS,
    )
    store: str = option(
        "float16",
        "Logits and features on disk: float16 halves the cache and rounds to three digits; float32 for values above "
        "65,504, or to lose nothing.",
        choices=("float16", "float32"),
    )
    shard_rows: int = option(2048, "Samples a shard.", min=1, max=1 << 24)
    on_bad_image: str = option(
        "error", "Stop at an unreadable image, or record and skip it.", choices=("error", "skip")
    )
    mc_dropout: int = option(0, "Ask this often more, with dropout on, for the score mc-dropout; 0: do not.", min=0)
    mc_seed: int | None = option(None, "Draws what --mc-dropout drops (0).", min=0)
    features: str = option(
        "last",
        "What the last layer sees; every stage's output, pooled, too; or none.",
        choices=("last", "stages", "none"),
    )
    views: tuple[str, ...] = option(
        (),
        f"Ask about changed copies of each image too, which strong oracles read, at a forward pass each: a list of "
        f"{', '.join(VIEWS)}, or {ALL} (none). Of text and digits shrunk alone: the others mirror them.",
    )
    keep_images: bool = option(
        False,
        "Keep adversarial images (as 8-bit pixels, 150 kB an image of 224 px), so that every oracle is shown the same "
        "ones, on any machine; without it they are made again.",
    )

    assume_unchanged: bool = option(
        False,
        "Spare a look at each file, which takes minutes for a million files on a network disk: what a call with this "
        "option saw holds while the times of their folders are the same. Risk: an image written over in its place "
        "since then is taken for the one that was there.",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", parse_views(self.views))
        if self.mc_seed is not None and not self.mc_dropout:
            raise UsageError("--mc-seed: means nothing without --mc-dropout")

    def require_ready(self, classifier: Classifier, note: Callable[[str], None] = lambda line: None) -> None:
        """Raise UsageError for a classifier that does not give what is to be kept: logits, features, MC dropout.

        note: told how it sees images.
        """
        from trustcache.data.loader import computing
        from trustcache.models.mc_dropout import require_dropout
        from trustcache.models.probing import probed

        if self.features != "none" and not classifier.has_features:
            raise UsageError(
                f"--features {self.features}: {classifier.spec.name} does not show what its last layer sees; use "
                "--features none, or export the model by torch.export with a linear last layer"
            )
        black = classifier.black()
        with computing(classifier.spec.name, black, "float32"):
            for line in probed(classifier, features=self.features != "none"):
                note(line)
        if self.mc_dropout:
            require_dropout(classifier)

    def decoders(self, sets: int = 1) -> Decoders:
        """Return the decoding processes of so many data sets. Raises UsageError for a device that is not there."""
        from trustcache.data.decoders import Decoders
        from trustcache.data.loader import choose_device

        return Decoders(self.workers, choose_device(self.device), sets)

    @property
    def dropout(self) -> McDropout | None:
        """The forward passes with dropout on, whose negative predictive entropy is stored."""
        return McDropout(self.mc_dropout, self.mc_seed or 0) if self.mc_dropout else None


@dataclass(frozen=True)
class ClassifierOptions(ModelOptions):
    """The classifier of an extraction as the command line names it."""

    weights: str | None = option(None, "Your own weights: a safetensors or torch file.")
    outputs: str = option(
        "logits",
        "The model's output; of probabilities the logarithms are kept.",
        choices=("logits", "probabilities"),
    )
    classes: str | None = option(
        None,
        "Classes of the model's outputs in order: a file with one a line, a JSON file, a list a,b,c, or one of timm's "
        "lists such as imagenet-22k. By default its own, if it names them, else the data's.",
    )
    name: str | None = option(None, "The classifier's name in the workspace, where not its own.", name="--as")
    protocol: str = option(
        "equations",
        "How the model sees images: equations, by its own preprocessing; released, squashed and normalised as in the "
        "paper's released code, to compare with its tables (its name gets -released).",
        choices=tuple(PROTOCOLS),
    )

    @property
    def label(self) -> str:
        """The classifier's name in the workspace."""
        suffix = "" if self.protocol == "equations" else f"-{self.protocol}"
        return self.name or short_name(self.classifier) + suffix

    def load(self, note: Callable[[str], None]) -> Classifier:
        """Return the classifier, as the protocol shows images to it, else as weights of fit-classifier were fitted.

        note: as in `load_model`, and told of --preprocess that differs from the fitting's.
        """
        from trustcache.cache.provenance import require_as_fitted
        from trustcache.models.classifiers import load_classifier

        labels = self.classes or ""
        if self.weights:
            require_as_fitted(Path(self.weights))
        spec = self.spec(self.weights)
        spec = replace(
            spec,
            reading=replace(spec.reading, outputs=self.outputs),
            labels=str(Path(labels).resolve()) if labels and Path(labels).is_file() else labels,
        )
        return load_classifier(spec, note, PROTOCOLS[self.protocol].preprocessing)
