"""From the bytes of a picture to the numbers of a model, by operations that a SavedModel can have.

Training, evaluation and serving run the same ones: what is served sees what was trained on.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf

from tfattn.errors import InputError
from tfattn.spec import Spec

Tensor = Any
NAME = "preprocessing.json"
PUBLISHED = "preprocessor_config.json"  # beside published weights


@dataclass(frozen=True)
class ImagePreprocessing(Spec):
    """How pictures become the images of a model: `(pixel / 255 - mean) / std`."""

    height: int
    width: int
    channels: int
    fit: Literal["crop", "stretch"] = "crop"
    mean: tuple[float, ...] = (0.5,)  # of each channel, or of all
    std: tuple[float, ...] = (0.5,)  # of each channel, or of all

    def __post_init__(self):
        super().__post_init__()
        if self.channels not in (1, 3):
            raise InputError(
                "ImagePreprocessing.channels: expected 1 (gray) or 3 (colours). "
                f"Received: {self.channels}."
            )
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, self.channels) or not all(map(math.isfinite, numbers)):
                raise InputError(
                    f"ImagePreprocessing.{name}: expected a number for each of the {self.channels} "
                    f"channels, or one for all. Received: {numbers}."
                )
        if min(self.std) <= 0:
            raise InputError(
                f"ImagePreprocessing.std: expected numbers over 0. Received: {self.std}."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (y, x, c) of the images."""
        return self.height, self.width, self.channels


def published(folder: Path, shape: tuple[int, int, int]) -> ImagePreprocessing:
    """Return what a published model says in `preprocessor_config.json`; ours where it says nothing.

    Raises:
        InputError: a file that cannot be used.
    """
    path = folder / PUBLISHED
    if not path.exists():
        return ImagePreprocessing(*shape)
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        fit = "crop" if described.get("do_center_crop") else "stretch"
        numbers = [tuple(described.get(f"image_{name}", (0.5,))) for name in ("mean", "std")]
        return ImagePreprocessing(*shape, fit, *numbers)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: expected how pictures become images. {error}") from None


def decoded(picture: Tensor, how: ImagePreprocessing) -> Tensor:
    """Return the image (y, x, c) uint8 of an encoded JPEG, PNG, BMP, or the first of a GIF.

    Transparency is left out, and so is what a camera noted about its orientation.
    """
    image = tf.io.decode_image(picture, channels=how.channels, expand_animations=False)
    image.set_shape((None, None, how.channels))
    return fitted(image, how)


def fitted(images: Tensor, how: ImagePreprocessing) -> Tensor:
    """Return images (..., any, any, c) as (..., y, x, c), uint8.

    By `crop` a picture keeps its proportions: it is made as small as covers the image, and its
    middle is kept. By `stretch` both sides are made to fit. Smaller ones are means over the pixels
    (bilinear, with antialiasing).
    """
    wanted = (how.height, how.width)
    if tuple(images.shape[-3:-1]) != wanted:
        size = tf.constant(wanted)
        if how.fit == "crop":
            given = tf.shape(images)[-3:-1]
            scale = tf.reduce_max(tf.constant(wanted, tf.float32) / tf.cast(given, tf.float32))
            covering = tf.cast(tf.round(tf.cast(given, tf.float32) * scale), tf.int32)
            size = tf.maximum(covering, size)
        images = tf.image.resize(tf.cast(images, tf.float32), size, "bilinear", antialias=True)
        top = (size - wanted) // 2
        images = tf.image.crop_to_bounding_box(images, top[0], top[1], *wanted)
        images = tf.cast(tf.clip_by_value(tf.round(images), 0.0, 255.0), tf.uint8)
        images.set_shape((*images.shape[:-3], *how.shape))
    return images


def scaled(images: Tensor, how: ImagePreprocessing) -> Tensor:
    """Return images (..., y, x, c) of 0 to 255 as the numbers of the model, float32."""
    mean, std = (tf.constant(numbers, tf.float32) for numbers in (how.mean, how.std))
    return (tf.cast(images, tf.float32) / 255.0 - mean) / std
