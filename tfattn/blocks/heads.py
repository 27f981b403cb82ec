"""Heads: from hidden states to the answer of a task."""

from typing import Any

import keras
from keras import ops

from tfattn import backend
from tfattn.blocks.norm import LayerNorm

Tensor = Any


@keras.saving.register_keras_serializable(package="tfattn")
class TokensHead(keras.layers.Layer):
    """`logits = f(h) E^T + b` with the stem's embedding matrix E (tied).

    `f` is dense + activation + norm as in BERT's masked language model (arXiv:1810.04805, section
    3.1 and its released code), or the identity. Logits are float32.

    Args:
        vocab_size: rows v of E.
        dim: width d.
        transform: whether `f` is there.
        activation: of `f`.
        epsilon: of the norm of `f`.
        initializer: of the kernel of `f`.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        transform: bool = True,
        activation: str = "gelu",
        epsilon: float = 1e-12,
        initializer: Any = "glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocab_size, self.dim = vocab_size, dim
        self.activation, self.epsilon = activation, epsilon
        self.initializer = keras.initializers.get(initializer)
        self.activate = backend.island(keras.activations.get(activation))
        self.transform = self.norm = None
        if transform:
            self.transform = keras.layers.Dense(
                dim,
                kernel_initializer=self.initializer.clone(),
                dtype=self.dtype_policy,
                name="transform",
            )
            self.norm = LayerNorm(epsilon, dtype=self.dtype_policy, name="norm")

    def build(self, *shapes):
        """Create the bias and the layers of `f`."""
        if self.transform is not None and self.norm is not None:
            self.transform.build((None, None, self.dim))
            self.norm.build((None, None, self.dim))
        self.bias = self.add_weight(  # added to float32 logits under every dtype policy
            name="bias",
            shape=(self.vocab_size,),
            initializer="zeros",
            dtype="float32",
            autocast=False,
        )
        self.built = True

    def call(
        self, hidden: Tensor, embeddings: Tensor, predict_positions: Tensor | None = None
    ) -> Tensor:
        """Return logits (b, t, v), or (b, p, v) at the columns `predict_positions` (b, p).

        Args:
            hidden: (b, t, d).
            embeddings: the matrix E (v, d).
            predict_positions: (b, p) columns of `hidden`; the rest costs nothing.
        """
        if predict_positions is not None:
            hidden = ops.take_along_axis(hidden, predict_positions[..., None], axis=1)  # (b, p, d)
        if self.transform is not None and self.norm is not None:
            hidden = self.norm(self.activate(self.transform(hidden)))
        # One product of all rows: the gradient of E is then one too, not a sum over the batch.
        rows = ops.reshape(hidden, (-1, self.dim))
        logits = ops.matmul(rows, ops.transpose(ops.cast(embeddings, rows.dtype)))
        logits = ops.reshape(logits, (*ops.shape(hidden)[:2], self.vocab_size))
        return ops.cast(logits, "float32") + self.bias

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "vocab_size": self.vocab_size,
            "dim": self.dim,
            "transform": self.transform is not None,
            "activation": self.activation,
            "epsilon": self.epsilon,
            "initializer": keras.initializers.serialize(self.initializer),
        }


@keras.saving.register_keras_serializable(package="tfattn")
class ClassifyHead(keras.layers.Layer):
    """`logits = dropout(pooled) W + b`, one row per text, float32.

    Args:
        classes: columns of the logits.
        dim: width d of the pooled vector.
        dropout: on the pooled vector.
        initializer: of W.
    """

    def __init__(
        self,
        classes: int,
        dim: int,
        dropout: float = 0.0,
        initializer: Any = "glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.classes, self.dim = classes, dim
        self.initializer = keras.initializers.get(initializer)
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.logits = keras.layers.Dense(
            classes, kernel_initializer=self.initializer.clone(), dtype="float32", name="logits"
        )

    def build(self, *shapes):
        """Create the classifier."""
        self.logits.build((None, self.dim))
        self.built = True

    def call(self, pooled: Tensor, training: bool | None = None) -> Tensor:
        """Map the pooled vector (b, d) to logits (b, classes)."""
        return self.logits(self.dropout(pooled, training=training))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "classes": self.classes,
            "dim": self.dim,
            "dropout": self.dropout.rate,
            "initializer": keras.initializers.serialize(self.initializer),
        }


def mean_pool(hidden: Tensor, segments: Tensor) -> Tensor:
    """Return the mean (b, d) of the hidden states (b, t, d) that are not padding."""
    there = ops.cast(segments != 0, "float32")[..., None]  # (b, t, 1)
    total = ops.sum(ops.cast(hidden, "float32") * there, axis=1)
    mean = total / ops.maximum(ops.sum(there, axis=1), 1.0)
    return ops.cast(mean, hidden.dtype)
