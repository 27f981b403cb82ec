"""Normalisation of hidden states (D2L section 11.7.3)."""

from typing import Any

import keras
from keras import ops

from tfattn import backend

Tensor = Any


def layer_norm(x: Tensor, y: Tensor | None, gamma: Tensor, beta: Tensor, epsilon: float) -> Tensor:
    """Return the layer norm of `x + y`, or of `x` alone, over the last axis."""
    dtype, wide = x.dtype, keras.backend.result_type(x.dtype, "float32")
    x = ops.cast(x, wide) if y is None else ops.cast(x, wide) + ops.cast(y, wide)
    return ops.cast(ops.layer_normalization(x, gamma, beta, axis=-1, epsilon=epsilon), dtype)


@keras.saving.register_keras_serializable(package="tfattn")
class LayerNorm(keras.layers.Layer):
    """`gamma (x - mean) / sqrt(variance + epsilon) + beta` (arXiv:1607.06450, equation 4).

    Mean and variance are over the last axis, in float32 or wider. One island of compilation, with
    the sum of a residual connection inside.

    Args:
        epsilon: added to the variance.
    """

    def __init__(self, epsilon: float = 1e-12, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.layer_norm = backend.island(layer_norm)

    def build(self, shape, *more):
        """Create gamma and beta for inputs of `shape` (..., d)."""
        for name, start in (("gamma", "ones"), ("beta", "zeros")):
            weight = self.add_weight(name=name, shape=shape[-1:], initializer=start, autocast=False)
            setattr(self, name, weight)
        self.built = True

    def call(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Norm `x`, or `x + y`, both (..., d)."""
        gamma, beta = ops.convert_to_tensor(self.gamma), ops.convert_to_tensor(self.beta)
        return self.layer_norm(x, y, gamma, beta, self.epsilon)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "epsilon": self.epsilon}
