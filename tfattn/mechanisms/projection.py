"""The linear map into heads and out of them (D2L section 11.5.2)."""

import math
from typing import Any

import keras
from keras import ops

from tfattn import backend
from tfattn.types import Tensor


def _biased(y, bias):
    """Return `y + bias`; where islands are compiled the gradient of the bias is a product."""
    if not backend.is_fused():
        return ops.add(y, bias)

    def gradient(args, made, upstream):
        return [upstream, backend.column_sums(upstream)]

    return backend.differentiable(ops.add, gradient, (y, bias))


@keras.saving.register_keras_serializable(package="tfattn")
class Projection(keras.layers.Layer):
    """`x W + b`, from the last axes of `x` to others, such as (b, t, d) to (b, t, h, e).

    One matrix product of all rows whatever the axes, so that the gradient of W is one as well; a
    product that broadcasts W would make one for each text and sum them. W is kept as the matrix it
    is multiplied as: reshaped, XLA would multiply a single row by it three times slower.

    Args:
        source: sizes of the axes that are mapped, such as (d,).
        target: sizes of the axes that they become, such as (h, e).
        initializer: of W, a matrix (product of source, product of target).
        use_bias: whether there is a b.
    """

    def __init__(
        self,
        source: tuple[int, ...],
        target: tuple[int, ...],
        initializer: Any = "glorot_uniform",
        use_bias: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.source, self.target = tuple(source), tuple(target)
        self.initializer = keras.initializers.get(initializer)
        self.use_bias, self.bias = use_bias, None

    def build(self, *shapes):
        """Create W and b."""
        shape = (math.prod(self.source), math.prod(self.target))
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=self.initializer)
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=shape[1:], initializer="zeros")
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        """Map (..., *source) to (..., *target)."""
        leading = ops.shape(x)[: -len(self.source)]
        y = ops.matmul(ops.reshape(x, (-1, math.prod(self.source))), self.kernel)
        if self.bias is not None:
            y = _biased(y, self.bias)
        return ops.reshape(y, (*leading, *self.target))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "source": self.source,
            "target": self.target,
            "initializer": keras.initializers.serialize(self.initializer),
            "use_bias": self.use_bias,
        }
