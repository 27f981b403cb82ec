"""`Stack` and `Transformer`: stem, blocks, heads (D2L sections 11.7 and 11.8)."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfattn.blocks.heads import last_pool, mean_pool
from tfattn.blocks.norm import NORMS
from tfattn.errors import InputError
from tfattn.mechanisms import nested
from tfattn.mechanisms.positions import Position
from tfattn.models.cache import enter, leave
from tfattn.models.config import Classify, Head, Tokens, TransformerConfig
from tfattn.spec import unknown

Tensor = Any
INPUTS = ("tokens", "segments", "positions", "order", "types")
ASKED = ("predict_positions", "targets", "target_weights")  # of a Tokens head


@keras.saving.register_keras_serializable(package="tfattn")
class Stack(keras.layers.Layer):
    """Blocks one after the other, with a last norm where the norm comes before the sublayers.

    Args:
        blocks: the transformer blocks, in order.
        dim: width d of the stream.
        final_norm: whether the last hidden states are normed (pre-norm stacks).
        epsilon: of that norm.
        norm_kind: of that norm: "layer", "layer-no-bias" or "rms".
        position: biases the scores of all blocks alike (T5, arXiv:1910.10683, section 2.1).
    """

    def __init__(
        self,
        blocks: list[keras.layers.Layer],
        dim: int,
        final_norm: bool = False,
        epsilon: float = 1e-12,
        norm_kind: str = "layer",
        position: Position | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.position = position
        self.blocks, self.dim, self.epsilon, self.norm_kind = blocks, dim, epsilon, norm_kind
        self.norm = None
        if final_norm:
            self.norm = NORMS[norm_kind](epsilon, dtype=self.dtype_policy, name="norm")

    def build(self, *shapes):
        """Create every block."""
        for block in self.blocks:
            block.build((None, None, self.dim))
        for layer in (self.norm, self.position):
            if layer is not None:
                layer.build((None, None, self.dim))
        self.built = True

    def call(
        self,
        x: Tensor,
        *,
        positions: Tensor | None = None,
        order: Tensor | None = None,
        segments: Tensor | None = None,
        cache: tuple[Tensor, ...] | None = None,
        memory: Tensor | None = None,
        memory_segments: Tensor | None = None,
        remembered: Sequence[tuple[Tensor, Tensor]] | None = None,
        training: bool | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Map (b, t, d) to (b, t, d); a decoder's with a memory (b, s, d), or what is kept of it.

        Returned with it: each block's attention weights if asked for, or what a given cache
        (tfattn/models/cache.py) holds now.
        """
        more, shared, kept = [], (), iter(())
        if cache is not None:
            shared, kept = enter(cache, positions, positions if order is None else order, segments)
        bias = self._bias(x, cache)
        for index, block in enumerate(self.blocks):
            x = block(
                x,
                positions=positions,
                order=order,
                segments=segments,
                bias=bias,
                cache=(*shared, next(kept), next(kept)) if cache is not None else None,
                memory=memory,
                memory_segments=memory_segments,
                remembered=None if remembered is None else remembered[index],
                training=training,
                return_weights=return_weights,
            )
            if return_weights or cache is not None:
                x, own = x
                more.append(own)
        if self.norm is not None:
            x = self.norm(x)
        if cache is not None:
            return x, leave(shared, more, ops.shape(x)[1])
        return (x, more) if return_weights else x

    def remember(self, memory: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return what each block of a decoder keeps of a memory (b, s, d): keys and values."""
        return [block.sublayers["cross"].remember(memory) for block in self.blocks]

    def _bias(self, x, cache):
        """Return the bias (1, h, t, s) of all blocks.

        Of columns: within a segment they are as far apart as positions, and one row does for all.
        """
        if self.position is None:
            return None
        columns = keys = ops.arange(ops.shape(x)[1])[None]
        if cache is not None:
            columns, keys = columns + cache[0], ops.arange(ops.shape(cache[1])[1])[None]
        return self.position.bias(columns, keys)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        blocks = [nested.to_config(block) for block in self.blocks]
        own = {"blocks": blocks, "dim": self.dim, "final_norm": self.norm is not None}
        rest = {"epsilon": self.epsilon, "norm_kind": self.norm_kind}
        rest["position"] = nested.to_config(self.position)
        return {**super().get_config(), **own, **rest}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Stack":
        """Rebuild the layer."""
        blocks = [keras.saving.deserialize_keras_object(block) for block in config["blocks"]]
        position = keras.saving.deserialize_keras_object(config["position"])
        return cls(**{**config, "blocks": blocks, "position": position})


@keras.saving.register_keras_serializable(package="tfattn")
class Transformer(keras.Model):
    """A stem, a stack of blocks and any number of heads; `tfattn.build` makes one from a config.

    Called with a dict of features, or with the token ids alone:

        tokens (b, t)             ids
        segments (b, t)           1, 2, ... = which text of the row; 0 = padding;
                                  default 1 where the token is not `config.pad_id`
        positions (b, t)          place of a token in its text; default 0, 1, 2, ...
        order (b, t)              what masks compare; default the positions
        types (b, t)              token types; default 0
        predict_positions (b, p)  columns for which a Tokens head gives logits; default all
        targets, target_weights   (b, t or p); with both a Tokens head gives the weighted sums of
                                  cross entropy and hits in place of logits, in less memory

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
        cache: tuple[Tensor, ...] | None = None,
    ) -> Any:
        """Return the output of the heads.

        Returned with it: the attention weights of each block if asked for, or what a given cache
        (tfattn/models/cache.py) holds now. Tokens then go on where it ends, and need `segments`
        and `positions`.
        """
        hidden, segments, more = self._hidden(features, training, return_weights, cache)
        asked = features if isinstance(features, dict) else {}
        answers = self._answers(hidden, segments, asked, training)
        return answers if more is None else (answers, more)

    def encode(
        self, features: dict[str, Tensor] | Tensor, cache: tuple[Tensor, ...] | None = None
    ) -> Any:
        """Return the hidden states (b, t, d) without heads, and with them what a given cache holds.

        `logits` makes the output of a Tokens head of them: a loop that generates carries (b, d)
        from token to token, not (b, v).
        """
        hidden, _, held = self._hidden(features, False, False, cache)
        return hidden if held is None else (hidden, held)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits (b, t, v) of the one Tokens head from hidden states (b, t, d)."""
        (head,) = (head for head in self.heads if isinstance(head, Tokens))
        return self.head_layers[head.name](hidden, self._matrix(head))

    def _matrix(self, head):
        return ops.convert_to_tensor(self.stem.tokens.embeddings) if head.tied else None

    def _hidden(self, features, training, return_weights, cache):
        """Return hidden states, segments, and attention weights or cache."""
        if not isinstance(features, dict):
            features = {"tokens": features}
        for name in features:
            if name not in (*INPUTS, *ASKED):
                raise InputError(f"features: {unknown('feature', name, (*INPUTS, *ASKED))}")
        if ("targets" in features) != ("target_weights" in features):
            raise InputError("features: expected both targets and target_weights. Received one.")
        tokens = features["tokens"]
        segments, positions = features.get("segments"), features.get("positions")
        if segments is None:
            pad = self.config.pad_id
            segments = ops.ones_like(tokens) if pad is None else tokens != pad
            segments = ops.cast(segments, "int32")
        if positions is None:
            positions = self._positions(tokens)
        hidden = self.stem(tokens, positions, features.get("types"), training=training)
        hidden = self.encoder(
            hidden,
            positions=positions,
            order=features.get("order"),
            segments=segments,
            cache=cache,
            training=training,
            return_weights=return_weights,
        )
        hidden, more = hidden if return_weights or cache is not None else (hidden, None)
        return hidden, segments, more

    def _positions(self, tokens):
        length, limit = tokens.shape[1], self.config.max_length
        if self.config.position == "learned" and length is not None and length > limit:
            raise InputError(f"tokens: expected at most {limit} columns. Received: {length}.")
        return ops.broadcast_to(ops.arange(ops.shape(tokens)[1]), ops.shape(tokens))  # (b, t)

    def _answers(self, hidden, segments, asked, training):
        pooled = self.pooler(hidden[:, 0]) if self.pooler is not None else None  # (b, d)
        answers = {}
        for head in self.heads:
            if isinstance(head, Tokens):
                wanted = (asked["targets"], asked["target_weights"]) if "targets" in asked else None
                answer = self.head_layers[head.name](
                    hidden,
                    self._matrix(head),
                    asked.get("predict_positions"),
                    wanted,
                    training=training,
                )
            elif isinstance(head, Classify):
                pool = {"mean": mean_pool, "last": last_pool}.get(head.pool)
                vector = pooled if pool is None else pool(hidden, segments)
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
