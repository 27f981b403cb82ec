"""The position-wise feed-forward network (D2L section 11.7.2; arXiv:1706.03762, section 3.3)."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tfattn.mechanisms.dropout import Dropout
from tfattn.mechanisms.projection import Projection

Tensor = Any


def gelu(x: Tensor) -> Tensor:
    """Return x Phi(x), by erf (arXiv:1606.08415)."""
    return _wide(lambda x: ops.gelu(x, approximate=False), x)


def gelu_tanh(x: Tensor) -> Tensor:
    """Return its approximation in section 2."""
    return _wide(lambda x: ops.gelu(x, approximate=True), x)


def silu(x: Tensor) -> Tensor:
    """Return x sigmoid(x)."""
    return _wide(ops.silu, x)


def _wide(fn, x):
    """Return `fn(x)` in float32 at least: XLA would round each of its steps to bfloat16."""
    wide = keras.backend.result_type(x.dtype, "float32")
    return ops.cast(fn(ops.cast(x, wide)), x.dtype)


ACTIVATIONS = {"gelu": gelu, "gelu-tanh": gelu_tanh, "relu": ops.relu, "silu": silu}


@functools.cache  # one function, so that all blocks share what is compiled of it
def gated_activation(name: str) -> Callable[..., Tensor]:
    """Return `activation(x) * gate`."""
    activation = ACTIVATIONS[name]

    def gated(x, gate):
        return activation(x) * gate

    gated.__name__ = f"gated_{activation.__name__}"  # in a profile
    return gated


@keras.saving.register_keras_serializable(package="tfattn")
class FeedForward(keras.layers.Layer):
    """`activation(x W1 + b1) W2 + b2`, the same for every position.

    With a gate, `(activation(x W1 + b1) * (x W3 + b3)) W2 + b2` (arXiv:2002.05202, section 2).

    Args:
        dim: width d of input and output.
        hidden_dim: width f in between.
        activation: one of ACTIVATIONS.
        initializer: of the kernels.
        gated: whether there is a W3.
        bias: whether there are b1, b2, b3.
        output_initializer: of W2; default `initializer`.
        dropout: share of what W2 multiplies that is dropped in training.
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        activation: str = "gelu",
        initializer: Any = "glorot_uniform",
        gated: bool = False,
        bias: bool = True,
        output_initializer: Any = None,
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.dim, self.hidden_dim, self.activation = dim, hidden_dim, activation
        self.bias = bias
        self.initializer = keras.initializers.get(initializer)
        self.output_initializer = keras.initializers.get(output_initializer or initializer)
        self.activate = gated_activation(activation) if gated else ACTIVATIONS[activation]
        self.expand = self._map(dim, hidden_dim, self.initializer, "expand")
        self.gate = self._map(dim, hidden_dim, self.initializer, "gate") if gated else None
        self.contract = self._map(hidden_dim, dim, self.output_initializer, "contract")
        self.dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def _map(self, source, target, initializer, name):
        return Projection(
            (source,),
            (target,),
            initializer.clone(),
            use_bias=self.bias,
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, *shapes):
        """Create every layer."""
        for layer in (self.expand, self.gate, self.contract):
            if layer is not None:
                layer.build()
        self.built = True

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        """Map (b, t, d) to (b, t, d)."""
        more = () if self.gate is None else (self.gate(x),)
        inner = self.dropout.after(self.activate, self.expand(x), *more, training=training)
        return self.contract(inner)  # of (b, t, f)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "dim": self.dim,
            "hidden_dim": self.hidden_dim,
            "activation": self.activation,
            "initializer": keras.initializers.serialize(self.initializer),
            "gated": self.gate is not None,
            "bias": self.bias,
            "output_initializer": keras.initializers.serialize(self.output_initializer),
            "dropout": self.dropout.rate,
        }
