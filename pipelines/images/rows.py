"""Images as rows: pixels of one size, and the number of the class where there is one."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.core.api import Rows
from pipelines.images.processor import ImagePreprocessing, decoded, fitted
from pipelines.images.sources import Images
from tfattn.errors import InputError

PART = 256  # arrays that are resized at once


class ImageRows(Rows):
    """Rows over images; pictures are decoded each time that they are read.

    Args:
        images: where they are.
        preprocessing: how they become what the model reads.
        labels: (n,) int32, or None.

    Raises:
        InputError: pixels of other channels than the model's.
    """

    def __init__(
        self,
        images: Images,
        preprocessing: ImagePreprocessing,
        labels: np.ndarray | None = None,
    ):
        self.images, self.labels = images, labels
        self._pixels = None if images.pixels is None else _fitted(images, preprocessing)
        signature = [tf.TensorSpec((), tf.string)]
        self._decode = tf.function(
            lambda picture: decoded(picture, preprocessing),
            input_signature=signature,
            autograph=False,
        )

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Return `images` (b, y, x, c) uint8, and `label` (b,) int32 where there are labels.

        Raises:
            InputError: a picture that cannot be decoded; the file is named.
        """
        if self._pixels is not None:
            images = self._pixels[indices]
        else:
            images = np.stack([self._picture(int(index)) for index in indices])
        found = {"images": images}
        return found if self.labels is None else {**found, "label": self.labels[indices]}

    def _picture(self, index: int) -> np.ndarray:
        path = self.images.pictures[index]
        try:
            return self._decode(tf.constant(path.read_bytes())).numpy()
        except (OSError, tf.errors.InvalidArgumentError) as error:
            said = re.sub(r"\{\{.*?\}\} ", "", str(error).splitlines()[0])  # names of a graph
            raise InputError(f"{path}: expected a picture. {said}.") from None


def _fitted(images: Images, preprocessing: ImagePreprocessing) -> np.ndarray:
    pixels: Any = images.pixels
    given = pixels.shape[-1]
    if given > preprocessing.channels:
        raise InputError(
            f"{images.source}: expected gray images (n, y, x), which the model reads. "
            f"Received: {given} channels."
        )
    if pixels.shape[1:3] != (preprocessing.height, preprocessing.width):
        alike = replace(
            preprocessing, channels=given, mean=preprocessing.mean[:1], std=preprocessing.std[:1]
        )
        parts = (pixels[first : first + PART] for first in range(0, len(pixels), PART))
        pixels = np.concatenate([fitted(tf.constant(part), alike).numpy() for part in parts])
    return (
        pixels
        if given == preprocessing.channels
        else np.repeat(pixels, preprocessing.channels, axis=-1)
    )
