"""Stems: from raw features to the first hidden states."""

from typing import Any

import keras

from tfattn.blocks.norm import NORMS
from tfattn.mechanisms import nested
from tfattn.mechanisms.dropout import Dropout
from tfattn.mechanisms.positions import Position
from tfattn.types import Tensor


@keras.saving.register_keras_serializable(package="tfattn")
class TokenStem(keras.layers.Layer):
    """`dropout(norm(E[token] + T[type] + position))` (BERT, arXiv:1810.04805, figure 2).

    GPT has neither types nor a norm here (Radford et al. 2018, equation 2).

    Args:
        vocab_size: rows of the embedding matrix E.
        dim: width d.
        position: what is added for where a token stands.
        types: rows of the token-type matrix T; 0 = none.
        dropout: of the sum.
        epsilon: of the norm.
        initializer: of the matrices.
        norm_kind: "layer", "layer-no-bias" or "rms"; None = no norm.
        scaled: whether E[token] is multiplied by sqrt(d) (arXiv:1706.03762, section 3.4).
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        position: Position,
        types: int = 0,
        dropout: float = 0.0,
        epsilon: float = 1e-12,
        initializer: Any = "normal",
        norm_kind: str | None = "layer",
        scaled: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.initializer = keras.initializers.get(initializer)
        self.tokens = self._embedding(vocab_size, dim, "tokens")
        self.types = self._embedding(types, dim, "types") if types else None
        self.position, self.scaled = position, scaled
        self.epsilon, self.norm_kind, self.norm = epsilon, norm_kind, None
        if norm_kind is not None:
            self.norm = NORMS[norm_kind](epsilon, dtype=self.dtype_policy, name="norm")
        self.dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def _embedding(self, rows, dim, name):
        return keras.layers.Embedding(
            rows, dim, self.initializer.clone(), dtype=self.dtype_policy, name=name
        )

    def build(self, *shapes):
        """Create the matrices and the norm."""
        self.tokens.build()
        if self.types is not None:
            self.types.build()
        self.position.build()
        if self.norm is not None:
            self.norm.build((None, None, self.tokens.output_dim))
        self.built = True

    def call(
        self, tokens: Tensor, positions: Tensor, types: Tensor | None = None, training=None
    ) -> Tensor:
        """Map token ids, positions and types, all (b, t), to (b, t, d); no types = all 0."""
        x = self.tokens(tokens)  # (b, t, d)
        if self.scaled:
            x = x * keras.ops.cast(self.tokens.output_dim**0.5, x.dtype)
        if self.types is not None:
            first = self.types.embeddings[0] if types is None else self.types(types)
            x = x + keras.ops.cast(first, x.dtype)
        x = self.position.embed(x, positions)
        x = x if self.norm is None else self.norm(x)
        return self.dropout(x, training=training)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "vocab_size": self.tokens.input_dim,
            "dim": self.tokens.output_dim,
            "position": nested.to_config(self.position),
            "types": self.types.input_dim if self.types is not None else 0,
            "dropout": self.dropout.rate,
            "epsilon": self.epsilon,
            "norm_kind": self.norm_kind,
            "scaled": self.scaled,
            "initializer": keras.initializers.serialize(self.initializer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TokenStem":
        """Rebuild the layer."""
        position = keras.saving.deserialize_keras_object(config["position"])
        return cls(**{**config, "position": position})
