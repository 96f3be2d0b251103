"""Variants: transformations of the images of a data set, applied as each is decoded or to whole batches afterwards.

A transformed sample depends on the settings and the seed of the variant, the index of the sample and, for attacks, the
classifier. Any order and number of processes therefore makes the same images, also when an oracle scores them later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trustcache.data.variants import attacks
from trustcache.data.variants.corruptions import CORRUPTIONS, corrupt, sample_rng
from trustcache.data.variants.fourier import exchange_amplitude
from trustcache.data.variants.styles import StyleFolder
from trustcache.errors import UsageError
from trustcache.models.preprocessing import LARGEST_SIDE

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from trustcache.data.samples import Samples
    from trustcache.data.variants.adain import StyleTransfer

# RGB images, float32 (N, 3, H, W) in [0, 1], to logits (N, K), with gradients.
Logits = Callable[["torch.Tensor"], "torch.Tensor"]


@dataclass(frozen=True)
class Variant:
    """A transformation of every image of a data set, made on the fly.

    kind: a key of `VARIATIONS`, which decides the other entries that count. crop: images are first resized and
    centre-cropped to this many pixels a side, as ImageNet-C's are; the classifier then sees the whole crop. textures
    (of a textured corruption), styles, vgg, decoder: paths relative to the data root. settings: values in place of the
    defaults of an attack, or AdaIN's `alpha`.
    """

    kind: str
    name: str = ""
    severity: int | None = None
    seed: int = 0
    crop: int | None = None
    textures: str = ""
    styles: str = ""
    vgg: str = ""
    decoder: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.crop is not None and not 1 <= self.crop <= LARGEST_SIDE:
            raise ValueError(f"a crop of {self.crop} pixels")


@dataclass(frozen=True)
class Batch:
    """Decoded samples: their numbers (N,), labels (N,) int64, and pixels (N, 3, H, W), 0 to 255.

    companions: second images that some variants need, uint8 (N, 3, H, W). bad: reasons by number for the samples that
    could not be read; these have no row in the other fields. content: hashes of the bytes that the samples, before any
    variant, were decoded from, uint64 (N,). packed: of images that are not decoded yet, as `gpu_decoding.packed` makes
    them: `pixels` are all their bytes (L,), and packed int64 (N, 3) has each one's number of bytes, height and width.
    """

    indices: np.ndarray
    labels: np.ndarray
    pixels: torch.Tensor
    companions: torch.Tensor | None
    bad: dict[int, str]
    content: np.ndarray
    packed: np.ndarray | None = None

    def tensors(self) -> list[torch.Tensor]:
        """Return the tensors that it has."""
        return [self.pixels] if self.companions is None else [self.pixels, self.companions]

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """Return the batch with its tensors changed."""
        companions = None if self.companions is None else change(self.companions)
        return replace(self, pixels=change(self.pixels), companions=companions)


def joined(pieces: Sequence[Batch]) -> Batch:
    """Return one batch of its pieces, on the device they are on."""
    import torch

    bad = {number: reason for piece in pieces for number, reason in piece.bad.items()}
    whole = [piece for piece in pieces if len(piece.indices)] or pieces[:1]  # without samples there are no sizes
    if len(whole) == 1:
        return replace(whole[0], bad=bad)
    indices, labels, content = (
        np.concatenate([getattr(piece, name) for piece in whole]) for name in ("indices", "labels", "content")
    )
    first, *others = (torch.cat(tensors) for tensors in zip(*(piece.tensors() for piece in whole), strict=True))
    packed = [piece.packed for piece in whole if piece.packed is not None]
    companions = others[0] if others else None
    return Batch(indices, labels, first, companions, bad, content, np.concatenate(packed) if packed else None)


class Variation:
    """One variant, ready to be applied; a subclass is one kind.

    where: the name of the data set, with which error messages begin. folder: its images of textures or styles, if any.
    """

    needed: tuple[str, ...] = ()
    """Entries of `Variant` that this kind needs."""
    possible: tuple[str, ...] = ("crop",)
    """Entries that it may have beside those and `seed`."""
    in_batches = False
    """True if `batch` transforms the images, on the device, after decoding."""
    needs_classifier = False
    """True if `batch` works against the classifier that looks at the images."""

    @staticmethod
    def condition(variant: Variant) -> str:
        """Return the condition that its images show, as `Manifest.condition` has it."""
        return "stylized"

    def __init__(self, variant: Variant, data_root: Path, where: str) -> None:
        self.variant, self.where = variant, where
        folder = variant.textures or variant.styles
        self.folder = StyleFolder(data_root / folder) if folder else None

    def image(self, image: Image.Image, index: int, samples: Samples) -> Image.Image:
        """Transform sample `index` of `samples`, an RGB image that is `cropped` already. Raises BadImage."""
        return image

    def companion(self, index: int) -> Image.Image | None:
        """Return the second image that `batch` needs for sample `index`."""
        return None

    def batch(self, batch: Batch, logits: Logits | None) -> torch.Tensor:
        """Transform the pixels of a batch, on their device and at their size; `logits` are the classifier's."""
        return batch.pixels

    def contents(self) -> bytes:
        """Return the identity of the files that it reads, which tells its images from others with equal settings."""
        return self.folder.contents if self.folder else b""

    def cropped(self, image: Image.Image) -> Image.Image:
        """Cut an image to the variant's crop, if it has one."""
        return centre_crop(image, self.variant.crop) if self.variant.crop else image

    def rng(self, index: int) -> np.random.Generator:
        """Return the random generator of one sample."""
        name = self.variant.name or self.variant.kind
        return sample_rng(self.variant.seed, name, self.variant.severity or 0, index)


class Corrupted(Variation):
    """A corruption of Hendrycks & Dietterich (2019)."""

    needed = ("name", "severity")
    possible = ("textures", "crop")

    @staticmethod
    def condition(variant: Variant) -> str:
        return f"{variant.name}/{variant.severity}"

    def __init__(self, variant: Variant, data_root: Path, where: str) -> None:
        super().__init__(variant, data_root, where)
        _require(variant.name, CORRUPTIONS, "corruption", where)
        if variant.textures and not CORRUPTIONS[variant.name].textured:
            textured = " and ".join(name for name, corruption in CORRUPTIONS.items() if corruption.textured)
            raise UsageError(f"{where}: 'textures' means nothing to '{variant.name}', only to {textured}; take it out")

    def image(self, image: Image.Image, index: int, samples: Samples) -> Image.Image:
        from PIL import Image

        pixels = np.asarray(image)
        name, severity = self.variant.name, self.variant.severity or 1
        return Image.fromarray(corrupt(pixels, name, severity, self.rng(index), textures=self._textures))

    @cached_property
    def _textures(self) -> list[np.ndarray] | None:
        return [np.asarray(texture) for texture in self.folder.images()] if self.folder else None


class FourierStylized(Variation):
    """The amplitude spectrum of another image, from a folder of styles or the data set itself: a stand-in."""

    possible = ("styles", "crop")

    def image(self, image: Image.Image, index: int, samples: Samples) -> Image.Image:
        from PIL import Image

        style = self.folder.pick(self.rng(index)) if self.folder else self._other(index, samples)
        mixed = exchange_amplitude(np.asarray(image), np.asarray(self.cropped(style)))
        return Image.fromarray(mixed)

    def _other(self, index: int, samples: Samples) -> Image.Image:
        if len(samples.ids) < 2:
            raise UsageError(f"{self.where}: a single image has no other to take its style from; name 'styles'")
        drawn = int(self.rng(index).integers(len(samples.ids) - 1))
        return samples.read(drawn + (drawn >= index))


class AdainStylized(Variation):
    """AdaIN style transfer (Huang & Belongie 2017) with an image from a folder of styles, on the device."""

    needed = ("vgg", "decoder", "styles")
    possible = ("settings", "crop")
    in_batches = True

    def __init__(self, variant: Variant, data_root: Path, where: str) -> None:
        super().__init__(variant, data_root, where)
        self._weights = data_root / variant.vgg, data_root / variant.decoder
        _require(next(iter(variant.settings.keys() - {"alpha"}), "alpha"), ("alpha",), "setting", where)
        self._alpha = variant.settings.get("alpha", 1.0)
        if not isinstance(self._alpha, int | float) or not 0 <= self._alpha <= 1:
            raise UsageError(f"{where}: 'alpha' is the style's share, from 0 to 1, not {self._alpha!r}")

    def companion(self, index: int) -> Image.Image:
        assert self.folder is not None
        return self.cropped(self.folder.pick(self.rng(index)))

    def batch(self, batch: Batch, logits: Logits | None) -> torch.Tensor:
        import torch

        assert batch.companions is not None
        transfer = self._transfer.to(batch.pixels.device)
        with torch.inference_mode():
            return transfer(batch.pixels.float() / 255, batch.companions.float() / 255, self._alpha) * 255

    def contents(self) -> bytes:
        return super().contents() + self._weights_sha256

    def __getstate__(self) -> dict[str, object]:
        # Decoding processes need no network.
        return {key: value for key, value in self.__dict__.items() if key != "_transfer"}

    @cached_property
    def _transfer(self) -> StyleTransfer:
        from trustcache.data.variants.adain import load_style_transfer

        return load_style_transfer(*self._weights)

    @cached_property
    def _weights_sha256(self) -> bytes:
        return b"".join(hashlib.sha256(path.read_bytes()).digest() for path in self._weights)


class Attacked(Variation):
    """An adversarial attack on the classifier that looks at the images, at the size it sees them."""

    needed = ("name",)
    possible = ("settings",)
    in_batches = True
    needs_classifier = True

    @staticmethod
    def condition(variant: Variant) -> str:
        return "adversarial"

    def __init__(self, variant: Variant, data_root: Path, where: str) -> None:
        super().__init__(variant, data_root, where)
        try:
            self._settings = attacks.checked_settings(variant.name, variant.settings)
        except ValueError as error:
            raise UsageError(f"{where}: {error}") from None

    def batch(self, batch: Batch, logits: Logits | None) -> torch.Tensor:
        import torch

        assert logits is not None
        truth = torch.from_numpy(batch.labels).to(batch.pixels.device)
        seeds = [int(self.rng(int(index)).integers(2**63)) for index in batch.indices]
        return attacks.attack(self.variant.name, logits, batch.pixels.float() / 255, truth, seeds, self._settings) * 255

    def contents(self) -> bytes:
        # The settings in full: those a manifest does not name are the program's, which may change.
        return json.dumps(self._settings, sort_keys=True).encode()


VARIATIONS: dict[str, type[Variation]] = {
    "corruption": Corrupted,
    "fourier": FourierStylized,
    "adain": AdainStylized,
    "attack": Attacked,
}
"""Every kind of variant. A new one is a class and a line here."""


def make_variation(variant: Variant, data_root: Path, where: str) -> Variation:
    """Return a variant of the data set `where`, ready to be applied.

    Raises UsageError for an unknown name or setting, and for missing files.
    """
    if missing := missing_material(variant, data_root):
        raise UsageError(f"{where}: needs {' and '.join(map(str, missing))}; see trustcache data show {where}")
    return VARIATIONS[variant.kind](variant, data_root, where)


# Resized to 256 for a crop of 224 pixels, as ImageNet-C and Stylized-ImageNet were.
_MARGIN = 256 / 224


def centre_crop(image: Image.Image, side: int) -> Image.Image:
    """Resize an RGB image's shorter side to 256/224 of `side` and return the central `side` x `side` pixels.

    Bilinear, and rounded as torchvision's Resize and CenterCrop do it.
    """
    from PIL import Image

    short = round(side * _MARGIN)
    width, height = image.size
    if width <= height:
        width, height = short, int(short * height / width)
    else:
        width, height = int(short * width / height), short
    left, top = round((width - side) / 2), round((height - side) / 2)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + side, top + side))


def missing_material(variant: Variant, data_root: Path) -> list[Path]:
    """Return the files and folders, beside the images, that a variant needs and that are missing."""
    needed = [variant.textures, variant.vgg, variant.decoder, variant.styles]
    return [data_root / path for path in needed if path and not (data_root / path).exists()]


def _require(name: str, known: Collection[str], what: str, where: str) -> None:
    if name not in known:
        raise UsageError(f"{where}: variant: unknown {what} '{name}'; known are {', '.join(known)}")
