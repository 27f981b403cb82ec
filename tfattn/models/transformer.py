"""`Transformer`: stem, blocks, heads (D2L sections 11.7 and 11.8)."""

from typing import Any

import keras
from keras import ops

from tfattn.models.config import TransformerConfig
from tfattn.models.described import StackModel
from tfattn.models.features import check, placed
from tfattn.models.model_config import HeadInputs
from tfattn.types import Tensor

INPUTS = ("tokens", "segments", "positions", "order", "types")


@keras.saving.register_keras_serializable(package="tfattn")
class Transformer(StackModel):
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
        named = features if isinstance(features, dict) else {}
        context = HeadInputs(named, segments, self.pooled(hidden), self._embeddings)
        answers = self.answers(hidden, context, training)
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
        (head,) = (head for head in self.heads if head.predicts_tokens)
        context = HeadInputs({}, embeddings=self._embeddings)
        return head.answer(self.head_layers[head.name], hidden, context, None)

    def _embeddings(self):
        return ops.convert_to_tensor(self.stem.tokens.embeddings)

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
