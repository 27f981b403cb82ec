"""The position-wise feed-forward network (D2L section 11.7.2; arXiv:1706.03762, section 3.3)."""

from typing import Any

import keras

from tfattn import backend

Tensor = Any


@keras.saving.register_keras_serializable(package="tfattn")
class FeedForward(keras.layers.Layer):
    """`activation(x W1 + b1) W2 + b2`, the same for every position.

    Args:
        dim: width d of input and output.
        hidden_dim: width f in between.
        activation: name of a Keras activation; "gelu" is the exact one, by erf.
        initializer: of both kernels.
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        activation: str = "gelu",
        initializer: Any = "glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.dim, self.hidden_dim, self.activation = dim, hidden_dim, activation
        self.initializer = keras.initializers.get(initializer)
        self.activate = backend.island(keras.activations.get(activation))
        self.expand = self._dense(hidden_dim, "expand")
        self.contract = self._dense(dim, "contract")

    def _dense(self, units, name):
        return keras.layers.Dense(
            units, kernel_initializer=self.initializer.clone(), dtype=self.dtype_policy, name=name
        )

    def build(self, *shapes):
        """Create both layers."""
        self.expand.build((None, None, self.dim))
        self.contract.build((None, None, self.hidden_dim))
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        """Map (b, t, d) to (b, t, d)."""
        return self.contract(self.activate(self.expand(x)))  # (b, t, f) in between

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "dim": self.dim,
            "hidden_dim": self.hidden_dim,
            "activation": self.activation,
            "initializer": keras.initializers.serialize(self.initializer),
        }
