"""What is saved of a model of images: the bytes of pictures in, classes or a vector out."""

from typing import Any, cast

import tensorflow as tf

from pipelines.data.preprocessing import ImagePreprocessing, decoded, scaled
from pipelines.inference.finished import Finished
from pipelines.recipes import ImageClassification
from tfattn.models.build import Model


class Sees(tf.Module):
    """The signature `serving_default` of `picture` (b,): JPEG, PNG, BMP or GIF, of any size.

    A classifier gives `label`, `probabilities` and `classes`; a masked autoencoder `embedding`, the
    mean of its hidden states of all patches.

    Args:
        model: of the classes, or without heads.
        done: the run that it is of.
    """

    def __init__(self, model: Model, done: Finished):
        super().__init__()
        self.model, self.how = model, cast(ImagePreprocessing, done.reader)
        self._lead = int(done.model.config.class_token)
        spec = done.recipe.objective
        self._classes = spec.classes if isinstance(spec, ImageClassification) else ()
        strings = [tf.TensorSpec((None,), tf.string, name="picture")]
        self.serve = tf.function(self._serve, input_signature=strings, autograph=False)

    def _serve(self, picture: tf.Tensor) -> dict[str, Any]:
        pixels = tf.map_fn(
            lambda one: decoded(one, self.how),
            picture,
            fn_output_signature=tf.TensorSpec(self.how.shape, tf.uint8),
        )
        outputs = self.model(scaled(pixels, self.how), training=False)
        if not self._classes:
            return {"embedding": tf.reduce_mean(outputs[:, self._lead :], axis=1)}
        classes = tf.constant(self._classes)
        return {
            "label": tf.gather(classes, tf.argmax(outputs, axis=-1)),
            "probabilities": tf.nn.softmax(outputs),
            "classes": tf.repeat(classes[None], tf.shape(outputs)[0], axis=0),
        }
