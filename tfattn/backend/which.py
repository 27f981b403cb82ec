"""Which backend runs, and what it cannot do."""

import keras

from tfattn.errors import InputError


def on_tensorflow() -> bool:
    """Return whether Keras computes with TensorFlow."""
    return keras.backend.backend() == "tensorflow"


def check_distribution() -> None:
    """Complain where keras.distribution takes layouts and does nothing with them.

    Raises:
        InputError: on TensorFlow.
    """
    if on_tensorflow():
        raise InputError(
            "KERAS_BACKEND: expected jax, for with tensorflow keras.distribution splits nothing; "
            "there tf.distribute.MirroredStrategy splits the batch. Received: tensorflow."
        )
