"""From the bytes of an image file to the numbers of a model, by operations a SavedModel can have.

Training, evaluation and serving run the same ones: a served model reads what it was trained on.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import tensorflow as tf

from pipelines.core.api import Tensor
from pipelines.core.spec import expect
from tfattn.errors import InputError
from tfattn.models.model_config import ModelConfig
from tfattn.models.vision_config import VisionConfig
from tfattn.spec import Spec

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
            self.refuse("channels", "1 (gray) or 3 (colours)")
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, self.channels) or not all(map(math.isfinite, numbers)):
                self.refuse(
                    name, f"a number for each of the {self.channels} channels, or one for all"
                )
        if min(self.std) <= 0:
            self.refuse("std", "numbers over 0")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (y, x, c) of the images."""
        return self.height, self.width, self.channels


@dataclass(frozen=True)
class ImageProcessor:
    """Image files to the images of a model; goes with its weights."""

    preprocessing: ImagePreprocessing

    def save(self, folder: Path) -> None:
        """Write `preprocessing.json` into the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.preprocessing.save(folder / NAME)

    @classmethod
    def load(cls, folder: Path, config: ModelConfig) -> Self:
        """Read the folder of a model, ours or a published one.

        Raises:
            InputError: a damaged file, or images of another size than the model's.
        """
        config = expect(config, VisionConfig)
        shape = (config.height, config.width, config.channels)
        if not (folder / NAME).exists():
            return cls(published(folder, shape))
        found = ImagePreprocessing.load(folder / NAME)
        if found.shape != shape:
            raise InputError(
                f"{folder / NAME}: expected images of {shape}, which the model reads. "
                f"Received: {found.shape}."
            )
        return cls(found)

    def in_graph(self) -> "_InGraph":
        """Return what maps encoded image files (b,) to images (b, y, x, c), float32."""
        return _InGraph(self.preprocessing)


class _InGraph(tf.Module):
    def __init__(self, preprocessing: ImagePreprocessing):
        super().__init__()
        self._preprocessing = preprocessing

    def __call__(self, pictures: Tensor) -> Tensor:
        pixels = tf.map_fn(
            lambda one: decoded(one, self._preprocessing),
            pictures,
            fn_output_signature=tf.TensorSpec(self._preprocessing.shape, tf.uint8),
        )
        return scaled(pixels, self._preprocessing)


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


def decoded(picture: Tensor, preprocessing: ImagePreprocessing) -> Tensor:
    """Return the image (y, x, c) uint8 of an encoded JPEG, PNG, BMP, or the first of a GIF.

    Transparency is left out, and so is what a camera noted about its orientation.
    """
    image = tf.io.decode_image(picture, channels=preprocessing.channels, expand_animations=False)
    image.set_shape((None, None, preprocessing.channels))
    return fitted(image, preprocessing)


def fitted(images: Tensor, preprocessing: ImagePreprocessing) -> Tensor:
    """Return images (..., any, any, c) as (..., y, x, c), uint8.

    By `crop` a picture keeps its proportions: it is made as small as covers the image, and its
    middle is kept. By `stretch` both sides are made to fit. Smaller ones are means over the pixels
    (bilinear, with antialiasing).
    """
    wanted = (preprocessing.height, preprocessing.width)
    if tuple(images.shape[-3:-1]) != wanted:
        size = tf.constant(wanted)
        if preprocessing.fit == "crop":
            given = tf.shape(images)[-3:-1]
            scale = tf.reduce_max(tf.constant(wanted, tf.float32) / tf.cast(given, tf.float32))
            covering = tf.cast(tf.round(tf.cast(given, tf.float32) * scale), tf.int32)
            size = tf.maximum(covering, size)
        images = tf.image.resize(tf.cast(images, tf.float32), size, "bilinear", antialias=True)
        top = (size - wanted) // 2
        images = tf.image.crop_to_bounding_box(images, top[0], top[1], *wanted)
        images = tf.cast(tf.clip_by_value(tf.round(images), 0.0, 255.0), tf.uint8)
        images.set_shape((*images.shape[:-3], *preprocessing.shape))
    return images


def scaled(images: Tensor, preprocessing: ImagePreprocessing) -> Tensor:
    """Return images (..., y, x, c) of 0 to 255 as the numbers of the model, float32."""
    mean, std = (
        tf.constant(numbers, tf.float32) for numbers in (preprocessing.mean, preprocessing.std)
    )
    return (tf.cast(images, tf.float32) / 255.0 - mean) / std
