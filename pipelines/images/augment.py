"""Augmentation by Keras' layers, as a pure function of (seed, epoch, row)."""

from typing import Any

import keras
import tensorflow as tf

from pipelines.core.randomness import Stream, bits
from pipelines.images.spec import Augment

Tensor = Any
WHITE = (0, 255)


class Seeds(keras.random.SeedGenerator):
    """Gives Keras' layers seeds that hang on a key alone, in place of a state that moves on."""

    def __init__(self):  # without that of the base, which makes a variable
        self._key, self._drawn = tf.constant(0), 0

    def begin(self, key: Tensor) -> None:
        """Draw from this key, () int32, from now on."""
        self._key, self._drawn = key, 0

    def next(self, ordered: bool = True) -> Tensor:
        """Return another seed, (2,) int32."""
        self._drawn += 1
        return tf.stack([self._key, self._drawn])


class Augmentation:
    """Changes images and their labels as DeiT does (arXiv:2012.12877, section 5.3 and table 9).

    What becomes of an image hangs on its batch, whose key is that of its first row.

    Args:
        spec: what is changed.
        seed: of the run.
    """

    def __init__(self, spec: Augment, seed: int):
        self.seed, self._seeds = seed, Seeds()
        layers = keras.layers
        made: list[Any] = []
        if spec.shift:
            made.append(layers.RandomTranslation(spec.shift, spec.shift, fill_mode="reflect"))
        if spec.flip:
            made.append(layers.RandomFlip("horizontal"))
        if spec.randaugment:
            made.append(layers.RandAugment(WHITE, factor=spec.randaugment))
        if spec.erase:
            made.append(layers.RandomErasing(spec.erase, value_range=WHITE))
        self._mixing: list[Any] = []
        if spec.mixup:
            self._mixing.append(layers.MixUp(spec.mixup))
        if spec.cutmix:
            self._mixing.append(layers.CutMix(spec.cutmix))
        self._layers = made
        for layer in (*made, *self._mixing):
            for inner in (layer, *(x for x in vars(layer).values() if isinstance(x, layers.Layer))):
                if hasattr(inner, "generator"):
                    inner.generator = self._seeds

    def __call__(
        self, images: Tensor, labels: Tensor | None, epoch: Tensor, row: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return changed images (b, y, x, c), 0 to 255, float32, and labels (b, classes).

        Where images are mixed in both ways, each batch is in one of them.

        Args:
            images: (b, y, x, c), 0 to 255.
            labels: (b, classes), probabilities; None = no images are mixed.
            epoch: (b,) int64.
            row: (b,) int64.
        """
        key = bits(self.seed, Stream.AUGMENTATION, epoch[:1], row[:1], 2)[0]
        self._seeds.begin(tf.bitcast(key[0], tf.int32))
        images = tf.cast(images, tf.float32)
        for layer in self._layers:
            drawn = layer.get_random_transformation(images, training=True)
            images = layer.transform_images(images, drawn, training=True)
        if labels is None or not self._mixing:
            return images, labels
        mixed = [_mixed(layer, images, labels) for layer in self._mixing]
        if len(mixed) == 1:
            return mixed[0]
        (added, shares), (cut, parts) = mixed
        first = tf.math.floormod(key[1], 2) == 0
        return tf.where(first, added, cut), tf.where(first, shares, parts)


def _mixed(layer, images, labels):
    drawn = layer.get_random_transformation({"images": images, "labels": labels}, training=True)
    changed = layer.transform_images(images, drawn, training=True)
    return changed, tf.cast(layer.transform_labels(labels, drawn, training=True), tf.float32)
