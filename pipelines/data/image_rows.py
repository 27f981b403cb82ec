"""Images as rows: pixels of one size, and the number of the class where there is one."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.data.images import Images
from pipelines.data.preprocessing import ImagePreprocessing, decoded, fitted
from tfattn.errors import InputError

PART = 256  # arrays that are resized at once


class ImageRows:
    """Rows over images; pictures are decoded each time that they are read.

    Args:
        images: where they are.
        how: they become what the model reads.
        labels: (n,) int32, or None.

    Raises:
        InputError: pixels of other channels than the model's.
    """

    def __init__(self, images: Images, how: ImagePreprocessing, labels: np.ndarray | None = None):
        self.images, self.how, self.labels = images, how, labels
        self._pixels = None if images.pixels is None else _fitted(images, how)
        signature = [tf.TensorSpec((), tf.string)]
        self._decode = tf.function(
            lambda picture: decoded(picture, how), input_signature=signature, autograph=False
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


def _fitted(images: Images, how: ImagePreprocessing) -> np.ndarray:
    pixels: Any = images.pixels
    given = pixels.shape[-1]
    if given > how.channels:
        raise InputError(
            f"{images.source}: expected gray images (n, y, x), which the model reads. "
            f"Received: {given} channels."
        )
    if pixels.shape[1:3] != (how.height, how.width):
        alike = replace(how, channels=given, mean=how.mean[:1], std=how.std[:1])
        parts = (pixels[first : first + PART] for first in range(0, len(pixels), PART))
        pixels = np.concatenate([fitted(tf.constant(part), alike).numpy() for part in parts])
    return pixels if given == how.channels else np.repeat(pixels, how.channels, axis=-1)
