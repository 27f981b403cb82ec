"""Normalisation of hidden states (D2L section 11.7.3)."""

from typing import Any

import keras
from keras import ops

from tfattn import backend
from tfattn.types import Tensor


def layer_norm(
    x: Tensor, y: Tensor | None, gamma: Tensor, beta: Tensor | None, epsilon: float
) -> Tensor:
    """Return the layer norm of `x + y`, or of `x` alone, over the last axis."""
    wide = _wide_sum(x, y)
    gamma, beta = (p if p is None else ops.cast(p, wide.dtype) for p in (gamma, beta))
    if backend.is_fused():
        return ops.cast(_by_products(wide, gamma, beta, epsilon, centered=True), x.dtype)
    return ops.cast(ops.layer_normalization(wide, gamma, beta, axis=-1, epsilon=epsilon), x.dtype)


def rms_norm(x: Tensor, y: Tensor | None, gamma: Tensor, epsilon: float) -> Tensor:
    """Return the root-mean-square norm of `x + y`, or of `x` alone, over the last axis."""
    wide = _wide_sum(x, y)
    gamma = ops.cast(gamma, wide.dtype)
    if backend.is_fused():
        return ops.cast(_by_products(wide, gamma, None, epsilon, centered=False), x.dtype)
    mean = ops.mean(ops.square(wide), axis=-1, keepdims=True)
    return ops.cast(wide * ops.rsqrt(mean + epsilon) * gamma, x.dtype)


def _by_products(*args, centered):
    """Return a norm whose sums, those of its gradient too, are products.

    With h the input, less its mean if centered, over its root mean square r, u what comes for the
    result, and g = u gamma, its gradients are (g - h mean(g h) - mean(g) if centered) / r by the
    input, and the sums of u h and of u by gamma and beta.
    """

    def mean(x):
        return backend.row_sums(x) / x.shape[-1]

    def units(x, epsilon):
        x = x - mean(x) if centered else x
        scale = ops.rsqrt(mean(ops.square(x)) + epsilon)
        return x * scale, scale

    def forward(x, gamma, beta, epsilon):
        y = units(x, epsilon)[0] * gamma
        return y if beta is None else y + beta

    def backward(args, made, upstream):
        x, gamma, beta, epsilon = args
        unit, scale = units(x, epsilon)
        by_unit = upstream * gamma
        by_x = by_unit - unit * mean(by_unit * unit)
        by_x = by_x - mean(by_unit) if centered else by_x
        more = [] if beta is None else [backend.column_sums(upstream)]
        return [by_x * scale, backend.column_sums(upstream * unit), *more]

    return backend.differentiable(forward, backward, args)


def _wide_sum(x, y):
    dtype = keras.backend.result_type(x.dtype, "float32")
    return ops.cast(x, dtype) if y is None else ops.cast(x, dtype) + ops.cast(y, dtype)


@keras.saving.register_keras_serializable(package="tfattn")
class LayerNorm(keras.layers.Layer):
    """`gamma (x - mean) / sqrt(variance + epsilon) + beta` (arXiv:1607.06450, equation 4).

    Mean and variance are over the last axis, in float32 or wider. One island of compilation, with
    the sum of a residual connection inside.

    Args:
        epsilon: added to the variance.
        bias: whether there is a beta.
    """

    function = staticmethod(layer_norm)

    def __init__(self, epsilon: float = 1e-12, bias: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.epsilon, self.bias, self.beta = epsilon, bias, None

    def build(self, shape, *more):
        """Create gamma and beta for inputs of `shape` (..., d)."""
        for name, start in (("gamma", "ones"), ("beta", "zeros"))[: 1 + self.bias]:
            weight = self.add_weight(name=name, shape=shape[-1:], initializer=start, autocast=False)
            setattr(self, name, weight)
        self.built = True

    def parameters(self) -> tuple[Any, ...]:
        """Return what `function` takes behind its inputs."""
        beta = ops.convert_to_tensor(self.beta) if self.bias else None
        return ops.convert_to_tensor(self.gamma), beta, self.epsilon

    def call(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Norm `x`, or `x + y`, both (..., d)."""
        return backend.island(layer_norm)(x, y, *self.parameters())

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "epsilon": self.epsilon, "bias": self.bias}


@keras.saving.register_keras_serializable(package="tfattn")
class RMSNorm(keras.layers.Layer):
    """`gamma x / sqrt(mean(x^2) + epsilon)` (arXiv:1910.07467, equation 4).

    The mean is over the last axis, in float32 or wider; nothing is subtracted. An island as above.

    Args:
        epsilon: added to the mean square.
    """

    function = staticmethod(rms_norm)

    def __init__(self, epsilon: float = 1e-6, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, shape, *more):
        """Create gamma for inputs of `shape` (..., d)."""
        self.gamma = self.add_weight(
            name="gamma", shape=shape[-1:], initializer="ones", autocast=False
        )
        self.built = True

    def parameters(self) -> tuple[Any, ...]:
        """Return what `function` takes behind its inputs."""
        return ops.convert_to_tensor(self.gamma), self.epsilon

    def call(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Norm `x`, or `x + y`, both (..., d)."""
        return backend.island(rms_norm)(x, y, *self.parameters())

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "epsilon": self.epsilon}


NORMS = {
    "layer": LayerNorm,
    "layer-no-bias": lambda epsilon, **kw: LayerNorm(epsilon, bias=False, **kw),
    "rms": RMSNorm,
}
