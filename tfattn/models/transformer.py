"""`Transformer`: stem, blocks, heads (D2L sections 11.7 and 11.8)."""

from typing import Any

import keras
from keras import ops

from tfattn.blocks.heads import POOLS
from tfattn.models.config import Classify, Head, Tokens, TransformerConfig
from tfattn.models.described import DescribedModel
from tfattn.models.features import check, placed, wanted
from tfattn.models.stack import Stack

Tensor = Any
INPUTS = ("tokens", "segments", "positions", "order", "types")


@keras.saving.register_keras_serializable(package="tfattn")
class Transformer(DescribedModel):
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

    kind = TransformerConfig
    config: TransformerConfig

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
        super().__init__(config, heads, **kwargs)
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

    def advance(
        self, features: dict[str, Tensor], cache: tuple[Tensor, ...], memory: tuple[()] = ()
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the hidden states (b, t, d) of tokens that go on, and what the cache holds then.

        `logits` makes the output of a Tokens head of them: a loop that generates carries (b, d)
        from token to token, not (b, v). There is no memory: nothing is read beside the text.
        """
        hidden, _, held = self._hidden(features, False, False, cache)
        return hidden, held or ()

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
        check(features, INPUTS)
        tokens, segments, positions = placed(features, self.config)
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

    def _answers(self, hidden, segments, asked, training):
        pooled = self.pooler(hidden[:, 0]) if self.pooler is not None else None  # (b, d)
        answers = {}
        for head in self.heads:
            if isinstance(head, Tokens):
                answer = self.head_layers[head.name](
                    hidden,
                    self._matrix(head),
                    asked.get("predict_positions"),
                    wanted(asked),
                    training=training,
                )
            elif isinstance(head, Classify):
                pool = POOLS.get(head.pool)
                vector = pooled if pool is None else pool(hidden, segments)
                answer = self.head_layers[head.name](vector, training=training)
            else:
                answer = pooled
            answers[head.name] = answer
        if not answers:
            return hidden
        return answers if len(answers) > 1 else next(iter(answers.values()))
