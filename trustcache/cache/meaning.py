"""Records of a cache: what its numbers mean and were made from (`index.json`), and what each shard holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from msgspec import Meta

from trustcache.cache.kept_images import IMAGES
from trustcache.data.manifest import Manifest
from trustcache.data.variants.variation import Variant
from trustcache.models.identity import Identity, McDropout

ImagesName = Annotated[str, Meta(pattern=IMAGES)]
AtLeastOne = Annotated[int, Meta(ge=1, le=2**40)]
MOST_SHARDS = 1_000_000
# A preprocessing entry that a user sets: an input size, a share, a mode or the numbers of the colour channels.
Entry = int | float | str | tuple[int | float, ...]


@dataclass(frozen=True)
class DataMeaning:
    """The images.

    fingerprint: over the samples' names, labels and sizes. crops: they are centre crops, seen whole. batch_size: of an
    attack's images, whose last digits depend on which of them are made together; None for others. subset: the part of
    the data set, as in `500 of 5000`; None for all of it. decode: one of `DECODERS`. kept_images: True for an
    attack's images that are rounded to 8 bits and kept beside the shards.
    """

    name: str
    fingerprint: str
    samples: AtLeastOne
    variant: Variant | None = None
    crops: bool = False
    batch_size: int | None = None
    subset: str | None = None
    decode: str = "pil"
    kept_images: bool = False


@dataclass(frozen=True)
class Stages:
    """The modules whose outputs are kept, and how each is pooled over positions."""

    places: tuple[str, ...]
    poolings: tuple[str, ...]


@dataclass(frozen=True)
class Meaning:
    """Everything that decides a cache's numbers; a cache of another meaning is refused.

    label: the classifier's name in the workspace. precision: one of `PRECISIONS`. store: the dtype of logits
    and features. features: "last", "stages" (those too) or "none". views: keys of `VIEWS` whose logits are kept.
    """

    label: str
    classifier: Identity
    data: DataMeaning
    precision: str
    store: str
    shard_rows: AtLeastOne
    features: str
    mc_dropout: McDropout | None = None
    stages: Stages | None = None
    views: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.data.samples > MOST_SHARDS * self.shard_rows:
            raise ValueError(f"more than {MOST_SHARDS:,} shards")


@dataclass(frozen=True)
class MadeFrom:
    """Paths of a cache's images and weights when it was extracted last, and the options given; it only informs.

    classes: their names in label order. preprocessing: the entries that replace the model's own. batch_size: images a
    forward pass, which decides a GPU's last digits. imported: SHA-256 of the files that outputs and labels were read
    from, by path; {} for arrays in memory; None for an extracted cache. labels: what `--classes` gave, "" for nothing.
    assumed: the entries of its preprocessing that neither the weights nor the user told.
    """

    manifest: Manifest
    classes: tuple[str, ...]
    data_root: str
    weights: str | None
    weights_sha256: str | None
    preprocessing: dict[str, Entry]
    batch_size: AtLeastOne = 64
    imported: dict[str, str] | None = None
    labels: str = ""
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class CacheRecord:
    """`index.json`. made_with: versions of the software."""

    SCHEMA: ClassVar[int] = 5

    meaning: Meaning
    made_from: MadeFrom
    made_with: dict[str, str]


@dataclass(frozen=True)
class ShardRecord:
    """The record of one shard, which covers the sample indices [start, stop).

    meaning: SHA-256 over the index's meaning without the images. images: fingerprint of its own samples. content:
    SHA-256 of its column `content`. stamp: of the images' files when their content was last compared. widths: of the
    columns (N, width), by name.
    skipped: ids of the images that could not be read, with the reasons; they have no row. kept_images: SHA-256 of each
    file of adversarial images, by name.
    """

    SCHEMA: ClassVar[int] = 4

    file: str
    start: int
    stop: int
    rows: int
    sha256: str
    meaning: str
    images: str
    content: str
    stamp: str
    widths: dict[str, int]
    skipped: dict[str, str]
    kept_images: dict[ImagesName, str] = field(default_factory=dict)
