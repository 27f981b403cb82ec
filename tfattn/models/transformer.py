"""`Stack` and `Transformer`: stem, blocks, heads (D2L sections 11.7 and 11.8)."""

from typing import Any

import keras
from keras import ops

from tfattn.blocks.heads import mean_pool
from tfattn.blocks.norm import LayerNorm
from tfattn.errors import InputError
from tfattn.mechanisms import nested
from tfattn.models.config import Classify, Head, Tokens, TransformerConfig
from tfattn.spec import unknown

Tensor = Any
FEATURES = ("tokens", "segments", "positions", "types", "predict_positions")


@keras.saving.register_keras_serializable(package="tfattn")
class Stack(keras.layers.Layer):
    """Blocks one after the other, with a last norm where the norm comes before the sublayers.

    Args:
        blocks: the transformer blocks, in order.
        dim: width d of the stream.
        final_norm: whether the last hidden states are normed (pre-norm stacks).
        epsilon: of that norm.
    """

    def __init__(
        self,
        blocks: list[keras.layers.Layer],
        dim: int,
        final_norm: bool = False,
        epsilon: float = 1e-12,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.blocks, self.dim, self.epsilon = blocks, dim, epsilon
        self.norm = None
        if final_norm:
            self.norm = LayerNorm(epsilon, dtype=self.dtype_policy, name="norm")

    def build(self, *shapes):
        """Create every block."""
        for block in self.blocks:
            block.build((None, None, self.dim))
        if self.norm is not None:
            self.norm.build((None, None, self.dim))
        self.built = True

    def call(
        self,
        x: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        training: bool | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Map (b, t, d) to (b, t, d), with each block's attention weights if asked for."""
        weights = []
        for block in self.blocks:
            x = block(
                x,
                positions=positions,
                segments=segments,
                training=training,
                return_weights=return_weights,
            )
            if return_weights:
                x, own = x
                weights.append(own)
        if self.norm is not None:
            x = self.norm(x)
        return (x, weights) if return_weights else x

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        blocks = [nested.to_config(block) for block in self.blocks]
        own = {"blocks": blocks, "dim": self.dim, "final_norm": self.norm is not None}
        return {**super().get_config(), **own, "epsilon": self.epsilon}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Stack":
        """Rebuild the layer."""
        blocks = [keras.saving.deserialize_keras_object(block) for block in config["blocks"]]
        return cls(**{**config, "blocks": blocks})


@keras.saving.register_keras_serializable(package="tfattn")
class Transformer(keras.Model):
    """A stem, a stack of blocks and any number of heads; `tfattn.build` makes one from a config.

    Called with a dict of features, or with the token ids alone:

        tokens (b, t)             ids
        segments (b, t)           1, 2, ... = which text of the row; 0 = padding;
                                  default 1 where the token is not `config.pad_id`
        positions (b, t)          place of a token in its text; default 0, 1, 2, ...
        types (b, t)              token types; default 0
        predict_positions (b, p)  columns for which a Tokens head gives logits; default all

    It returns the hidden states (b, t, d) without heads, one head's output alone, and a dict by
    head name where there are several.

    Args:
        config: what the model is.
        heads: what sits on it.
        stem: features to hidden states.
        encoder: the stack.
        pooler: BERT's tanh layer, where a head needs it.
        head_layers: the layer of each head that has one, by name.
    """

    def __init__(
        self,
        config: TransformerConfig,
        heads: tuple[Head, ...],
        stem: keras.layers.Layer,
        encoder: Stack,
        pooler: keras.layers.Layer | None,
        head_layers: dict[str, keras.layers.Layer],
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.config, self.heads = config, tuple(heads)
        self.stem, self.encoder, self.pooler = stem, encoder, pooler
        self.head_layers = head_layers

    def build(self, *shapes):
        """Create every weight; no data is needed."""
        self.stem.build()
        self.encoder.build()
        if self.pooler is not None:
            self.pooler.build((None, self.config.dim))
        for layer in self.head_layers.values():
            layer.build()
        self.built = True

    def call(
        self,
        features: dict[str, Tensor] | Tensor,
        training: bool | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Return the output of the heads, with the attention weights per block if asked for."""
        if not isinstance(features, dict):
            features = {"tokens": features}
        for name in features:
            if name not in FEATURES:
                raise InputError(f"features: {unknown('feature', name, FEATURES)}")
        tokens = features["tokens"]
        segments, positions = features.get("segments"), features.get("positions")
        if segments is None:
            segments = ops.cast(tokens != self.config.pad_id, "int32")
        if positions is None:
            positions = self._positions(tokens)
        hidden = self.stem(tokens, positions, features.get("types"), training=training)
        hidden = self.encoder(
            hidden,
            positions=positions,
            segments=segments,
            training=training,
            return_weights=return_weights,
        )
        hidden, weights = hidden if return_weights else (hidden, None)
        answers = self._answers(hidden, segments, features.get("predict_positions"), training)
        return (answers, weights) if return_weights else answers

    def _positions(self, tokens):
        length, limit = tokens.shape[1], self.config.max_length
        if self.config.position == "learned" and length is not None and length > limit:
            raise InputError(f"tokens: expected at most {limit} columns. Received: {length}.")
        return ops.broadcast_to(ops.arange(ops.shape(tokens)[1]), ops.shape(tokens))  # (b, t)

    def _answers(self, hidden, segments, predict_positions, training):
        pooled = self.pooler(hidden[:, 0]) if self.pooler is not None else None  # (b, d)
        answers = {}
        for head in self.heads:
            if isinstance(head, Tokens):
                embeddings = ops.convert_to_tensor(self.stem.tokens.embeddings)
                answer = self.head_layers[head.name](hidden, embeddings, predict_positions)
            elif isinstance(head, Classify):
                vector = mean_pool(hidden, segments) if head.pool == "mean" else pooled
                answer = self.head_layers[head.name](vector, training=training)
            else:
                answer = pooled
            answers[head.name] = answer
        if not answers:
            return hidden
        return answers if len(answers) > 1 else next(iter(answers.values()))

    def weights_by_path(self) -> dict[str, keras.Variable]:
        """Return every weight by its path without the model's own name.

        Paths such as `encoder/block_3/self/query/kernel` are API: checkpoints, conversion tables,
        weight decay and sharding rules match on them.
        """
        return {v.path.removeprefix(f"{self.name}/"): v for v in self.weights}

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the model."""
        heads = [head.to_json() for head in self.heads]
        return {"config": self.config.to_json(), "heads": heads, "dtype": self.dtype_policy.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Transformer":
        """Rebuild the model."""
        from tfattn.models.build import build  # the assembler knows the parts, not the reverse

        return build(
            TransformerConfig.from_json(config["config"]),
            *(Head.from_json(head) for head in config["heads"]),
            dtype=config["dtype"],
        )
