"""Heads: from hidden states to the answer of a task."""

from typing import Any

import keras
from keras import ops

from tfattn import backend
from tfattn.blocks.feedforward import ACTIVATIONS
from tfattn.blocks.norm import NORMS
from tfattn.blocks.vocabulary_loss import vocabulary_loss
from tfattn.mechanisms.dropout import Dropout
from tfattn.types import Tensor


@keras.saving.register_keras_serializable(package="tfattn")
class TokensHead(keras.layers.Layer):
    """`logits = f(h) E^T + b` with the stem's embedding matrix E (tied), or one of its own.

    `f` is dense + activation + norm as in BERT's masked language model (arXiv:1810.04805, section
    3.1 and its released code), or the identity, as in GPT. Logits are float32.

    Args:
        vocab_size: rows v of E.
        dim: width d.
        transform: whether `f` is there.
        activation: of `f`.
        epsilon: of the norm of `f`.
        initializer: of the kernel of `f`, and of a matrix of its own.
        norm_kind: of `f`: "layer", "layer-no-bias" or "rms".
        use_bias: whether there is a b.
        tied: whether E is given with each call.
        scaled: whether f(h) is divided by sqrt(d) (T5 with tied embeddings, as released).
        smoothing: of the targets in training (arXiv:1512.00567, section 7).
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        transform: bool = True,
        activation: str = "gelu",
        epsilon: float = 1e-12,
        initializer: Any = "glorot_uniform",
        norm_kind: str = "layer",
        use_bias: bool = True,
        tied: bool = True,
        scaled: bool = False,
        smoothing: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocab_size, self.dim, self.scaled = vocab_size, dim, scaled
        self.activation, self.epsilon, self.norm_kind = activation, epsilon, norm_kind
        self.use_bias, self.tied, self.smoothing = use_bias, tied, smoothing
        self.bias = self.embeddings = None
        self.initializer = keras.initializers.get(initializer)
        self.activate = backend.island(ACTIVATIONS[activation])
        self.transform = self.norm = None
        if transform:
            self.transform = keras.layers.Dense(
                dim,
                kernel_initializer=self.initializer.clone(),
                dtype=self.dtype_policy,
                name="transform",
            )
            self.norm = NORMS[norm_kind](epsilon, dtype=self.dtype_policy, name="norm")

    def build(self, *shapes):
        """Create the bias, the layers of `f`, and an untied matrix."""
        if self.transform is not None and self.norm is not None:
            self.transform.build((None, None, self.dim))
            self.norm.build((None, None, self.dim))
        if self.use_bias:
            self.bias = self.add_weight(  # added to float32 logits under every dtype policy
                name="bias",
                shape=(self.vocab_size,),
                initializer="zeros",
                dtype="float32",
                autocast=False,
            )
        if not self.tied:
            start = self.initializer.clone()
            shape = (self.vocab_size, self.dim)
            self.embeddings = self.add_weight(name="embeddings", shape=shape, initializer=start)
        self.built = True

    def call(
        self,
        hidden: Tensor,
        embeddings: Tensor | None = None,
        predict_positions: Tensor | None = None,
        targets: tuple[Tensor, Tensor] | None = None,
        training: bool | None = None,
    ) -> Any:
        """Return logits (b, t, v), or (b, p, v) at the columns `predict_positions` (b, p).

        Where targets are given: the sums of cross entropy and of hits, without the logits of all
        rows at once (tfattn/blocks/vocabulary_loss.py).

        Args:
            hidden: (b, t, d).
            embeddings: the matrix E (v, d), where it is tied.
            predict_positions: (b, p) columns of `hidden`; the rest costs nothing.
            targets: integers and weights, both (b, t) or (b, p).
            training: whether those sums have a gradient.
        """
        if predict_positions is not None:
            hidden = ops.take_along_axis(hidden, predict_positions[..., None], axis=1)  # (b, p, d)
        if self.transform is not None and self.norm is not None:
            hidden = self.norm(self.activate(self.transform(hidden)))
        if self.scaled:
            hidden = hidden * ops.cast(self.dim**-0.5, hidden.dtype)
        # One product of all rows: the gradient of E is then one too, not a sum over the batch.
        rows = ops.reshape(hidden, (-1, self.dim))
        matrix = embeddings if self.tied else self.embeddings
        if targets is not None:
            flat = (ops.reshape(x, (-1,)) for x in targets)
            smoothing = self.smoothing if training else 0.0
            return vocabulary_loss(
                rows, matrix, self.bias, *flat, training=bool(training), smoothing=smoothing
            )
        logits = ops.matmul(rows, ops.transpose(ops.cast(matrix, rows.dtype)))
        logits = ops.reshape(logits, (*ops.shape(hidden)[:2], self.vocab_size))
        logits = ops.cast(logits, "float32")
        return logits if self.bias is None else logits + self.bias

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
            "norm_kind": self.norm_kind,
            "use_bias": self.use_bias,
            "tied": self.tied,
            "scaled": self.scaled,
            "smoothing": self.smoothing,
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
        self.dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")
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


def last_pool(hidden: Tensor, segments: Tensor) -> Tensor:
    """Return the hidden state (b, d) of the last token that is not padding."""
    there = ops.cast(segments != 0, "int32")
    columns = ops.arange(ops.shape(hidden)[1], dtype="int32")
    last = ops.max(there * columns, axis=1)  # (b,); the first where all is padding
    return ops.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]


def first_pool(hidden: Tensor, segments: Tensor) -> Tensor:
    """Return the hidden state (b, d) of the first token of hidden states (b, t, d)."""
    return hidden[:, 0]


# What is classified, by name; (hidden states, segments) to (b, d). The pooler is a layer.
POOLS = {"mean": mean_pool, "last": last_pool, "first": first_pool}
