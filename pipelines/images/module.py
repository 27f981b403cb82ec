"""What is saved for serving of a model of images: image files in, its answers out."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from pipelines.core.api import Model, Tensor
from pipelines.images.processor import ImageProcessor


class ImageModule(tf.Module):
    """The signature `serving_default` of `picture` (b,): JPEG, PNG, BMP or GIF, of any size.

    Args:
        model: maps images to outputs.
        processor: its own.
        answer: maps the outputs to tensors by name.
    """

    def __init__(
        self,
        model: Model,
        processor: ImageProcessor,
        answer: Callable[[Tensor], dict[str, Tensor]],
    ):
        super().__init__()
        self.model, self.images, self._answer = model, processor.in_graph(), answer
        strings = [tf.TensorSpec((None,), tf.string, name="picture")]
        self.serve = tf.function(self._serve, input_signature=strings, autograph=False)

    def signatures(self) -> Mapping[str, Callable[..., Any]]:
        """Return the one signature."""
        return {"serving_default": self.serve}

    def _serve(self, picture: Tensor) -> dict[str, Tensor]:
        return self._answer(self.model(self.images(picture), training=False))
