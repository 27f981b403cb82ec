"""Layers inside layers, as configs."""

from typing import Any

import keras


def to_config(layer: keras.layers.Layer | None) -> Any:
    """Return what rebuilds `layer`, without the shapes that it was built for.

    Keras would create its weights as soon as it reads such shapes; it is for the owner's `build` to
    do so, in whose name scope the paths of the weights belong.
    """
    config = keras.saving.serialize_keras_object(layer)
    return {**config, "build_config": None} if config else None
