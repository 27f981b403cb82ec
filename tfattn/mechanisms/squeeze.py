"""Squeeze and excitation: attention over channels, as the whole picture asks (arXiv:1709.01507)."""

from typing import Any

import keras
from keras import ops

from tfattn.types import Tensor


@keras.saving.register_keras_serializable(package="tfattn")
class SqueezeExcitation(keras.layers.Layer):
    """`y = x * sigmoid(relu(z W1 + b1) W2 + b2)`, z the mean of x over all places (section 3).

    The query is the mean, the keys are the columns of W2, and the weights of the channels are
    sigmoids: each channel is told apart how much it counts, where a softmax would make them share.

    Args:
        dim: channels c.
        ratio: W1 maps c channels to c / ratio.
        initializer: of W1 and W2.
    """

    def __init__(self, dim: int, ratio: int = 16, initializer: Any = "he_normal", **kwargs):
        super().__init__(**kwargs)
        self.dim, self.ratio = dim, ratio
        self.initializer = keras.initializers.get(initializer)
        self.squeeze, self.excite = (
            keras.layers.Dense(
                units,
                activation,
                kernel_initializer=self.initializer.clone(),
                dtype=self.dtype_policy,
                name=name,
            )
            for units, activation, name in (
                (max(1, dim // ratio), "relu", "squeeze"),
                (dim, "sigmoid", "excite"),
            )
        )

    def build(self, *shapes):
        """Create both layers."""
        self.squeeze.build((None, self.dim))
        self.excite.build((None, max(1, self.dim // self.ratio)))
        self.built = True

    def call(self, x: Tensor, return_weights: bool = False) -> Any:
        """Scale the channels of `x` (b, ..., c); also return their weights (b, c) if asked for."""
        places = tuple(range(1, len(x.shape) - 1))
        weights = self.excite(self.squeeze(ops.mean(x, axis=places)))  # (b, c)
        y = x * ops.reshape(weights, (-1, *(1 for _ in places), self.dim))
        return (y, weights) if return_weights else y

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        own = {"dim": self.dim, "ratio": self.ratio}
        initializer = keras.initializers.serialize(self.initializer)
        return {**super().get_config(), **own, "initializer": initializer}
