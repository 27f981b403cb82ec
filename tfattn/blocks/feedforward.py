"""The position-wise feed-forward network (D2L section 11.7.2; arXiv:1706.03762, section 3.3)."""

from typing import Any

import keras
from keras import ops

from tfattn.mechanisms.dropout import Dropout
from tfattn.mechanisms.projection import Projection
from tfattn.types import Tensor


def _activation(name, fn):
    """Return `fn(x)`, or times a gate, in float32 at least: else each step of it is rounded."""

    def activation(x, *gates):
        wide = keras.backend.result_type(x.dtype, "float32")
        y = fn(ops.cast(x, wide))
        for gate in gates:
            y = y * ops.cast(gate, wide)
        return ops.cast(y, x.dtype)

    activation.__name__ = name  # in a profile
    return activation


ACTIVATIONS = {
    # x Phi(x), by erf, and its approximation by tanh (arXiv:1606.08415, section 2).
    "gelu": _activation("gelu", lambda x: ops.gelu(x, approximate=False)),
    "gelu-tanh": _activation("gelu_tanh", lambda x: ops.gelu(x, approximate=True)),
    "relu": _activation("relu", ops.relu),
    "silu": _activation("silu", ops.silu),
}


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
        self.activate = ACTIVATIONS[activation]
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
