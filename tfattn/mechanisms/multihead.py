"""Multi-head attention: several attentions in parallel, each in its own subspace (D2L 11.5)."""

from typing import Any

import keras
from keras import ops

from tfattn.mechanisms import nested
from tfattn.mechanisms.attention import Attention
from tfattn.mechanisms.masks import Everything, Mask
from tfattn.mechanisms.positions import Position
from tfattn.mechanisms.projection import Projection

Tensor = Any


@keras.saving.register_keras_serializable(package="tfattn")
class MultiHeadAttention(keras.layers.Layer):
    """`concat_h(attention(x Wq_h, m Wk_h, m Wv_h)) Wo` (arXiv:1706.03762, section 3.2.2).

    Args:
        dim: width d of input and output.
        heads: number h of heads; each is d / h wide.
        mask: which positions may be attended to.
        dropout: share of the attention weights dropped in training.
        initializer: of the four kernels.
        position: rotates queries and keys and biases the scores; default neither.

    Raises:
        ValueError: `dim` does not divide by `heads`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        mask: Mask = Everything(),  # noqa: B008 - masks are frozen
        dropout: float = 0.0,
        initializer: Any = "glorot_uniform",
        position: Position | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if dim % heads:
            raise ValueError(f"dim must divide by heads. Received: dim={dim}, heads={heads}.")
        self.dim, self.heads = dim, heads
        self.initializer = keras.initializers.get(initializer)
        self.position = position
        self.attention = Attention(
            mask=mask, dropout=dropout, dtype=self.dtype_policy, name="attention"
        )
        split = (heads, dim // heads)
        self.query = self._projection((dim,), split, "query")
        self.key = self._projection((dim,), split, "key")
        self.value = self._projection((dim,), split, "value")
        self.output_projection = self._projection(split, (dim,), "output")

    def _projection(self, source, target, name):
        # Each kernel draws its own numbers: one initializer object would repeat them.
        start = self.initializer.clone()
        return Projection(source, target, start, dtype=self.dtype_policy, name=name)

    def build(self, *shapes):
        """Create the four projections, and the position's weights where it has some."""
        for layer in (self.query, self.key, self.value, self.output_projection):
            layer.build()
        self.attention.build()
        if self.position is not None and not self.position.built:  # it may be shared by all blocks
            self.position.build()
        self.built = True

    def call(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        memory_segments: Tensor | None = None,
        training: bool | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Attend from `x` (b, t, d) to itself, or to `memory` (b, s, d); returns (b, t, d).

        Args:
            x: (b, t, d), what asks.
            memory: (b, s, d), what is asked; default `x` (self-attention).
            positions: (b, t); default 0, 1, 2, ...
            segments: (b, t), 0 = padding.
            memory_segments: (b, s), 0 = padding.
            training: whether weights are dropped.
            return_weights: also return the attention weights (b, h, t, s).
        """
        own = memory is None
        source = x if own else memory
        q, k, v = self.query(x), self.key(source), self.value(source)  # (b, t or s, h, e)
        bias = None
        if self.position is not None and own:
            if positions is None:
                positions = ops.broadcast_to(ops.arange(ops.shape(x)[1]), ops.shape(x)[:2])
            q, k = self.position.rotate(q, positions), self.position.rotate(k, positions)
            bias = self.position.bias(positions, positions)
        pooled = self.attention(
            q,
            k,
            v,
            positions=positions,
            segments=segments,
            key_positions=positions if own else None,
            key_segments=segments if own else memory_segments,
            bias=bias,
            training=training,
            return_weights=return_weights,
        )
        if return_weights:
            pooled, weights = pooled
            return self.output_projection(pooled), weights
        return self.output_projection(pooled)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "dim": self.dim,
            "heads": self.heads,
            "mask": self.attention.mask.to_json(),
            "dropout": self.attention.dropout.rate,
            "initializer": keras.initializers.serialize(self.initializer),
            "position": nested.to_config(self.position),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MultiHeadAttention":
        """Rebuild the layer."""
        position = keras.saving.deserialize_keras_object(config["position"])
        return cls(**{**config, "mask": Mask.from_json(config["mask"]), "position": position})
