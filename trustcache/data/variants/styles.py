"""Style images of a stylised variant: a folder, and the draw of one image for each sample."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trustcache.data.archives import open_tree, tree_exists
from trustcache.data.content import content_of
from trustcache.data.image_files import image_files
from trustcache.data.samples import IMAGE_SUFFIXES, BadImage, FileSamples
from trustcache.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image


class StyleFolder:
    """The images below a folder, or in a tar file, in the order of their names; it can be sent to other processes.

    Hidden files and those that `why_no_image` names are left out. Raises UsageError if the folder is missing, cannot be
    listed, or holds no images.
    """

    def __init__(self, folder: Path) -> None:
        remedy = "put some there (paintings, for Stylized-ImageNet) or correct the path"
        if not tree_exists(folder):
            raise UsageError(f"{folder}: there is no such folder, where style images were expected; {remedy}")
        tree = open_tree(folder)
        self.files = image_files(tree).names
        if not self.files:
            raise UsageError(f"{folder}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}); {remedy}")
        self._samples = FileSamples(tree, self.files, labels=[], classes=())

    def pick(self, rng: np.random.Generator) -> Image.Image:
        """Draw one of the images uniformly, RGB. Raises BadImage if it cannot be read."""
        return self._samples.read(int(rng.integers(len(self.files))))

    def images(self) -> Iterator[Image.Image]:
        """Yield all images in order, RGB. Raises BadImage if one cannot be read."""
        return map(self._samples.read, range(len(self.files)))

    @cached_property
    def contents(self) -> bytes:
        """SHA-256 of the files' names and of their bytes' hashes, which decide what `pick` draws."""
        digest = hashlib.sha256("\0".join(self.files).encode("utf-8", "surrogateescape"))
        for number in range(len(self.files)):
            with contextlib.suppress(BadImage):  # it is refused when it is drawn
                digest.update(f"{number}: {content_of(self._samples.raw(number))}".encode())
        return digest.digest()
