"""`RecurrentEncoderDecoder`: a recurrent network reads, another writes (D2L 10.7 and 11.4)."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tfattn.blocks.heads import TokensHead
from tfattn.blocks.recurrent import InitialStates, RecurrentEncoder
from tfattn.blocks.recurrent_decoder import RecurrentDecoder
from tfattn.errors import InputError
from tfattn.models import pair
from tfattn.models.features import check, read
from tfattn.models.model_config import Head
from tfattn.models.recurrent_config import RecurrentConfig
from tfattn.types import Tensor


@keras.saving.register_keras_serializable(package="tfattn")
class RecurrentEncoderDecoder(pair.PairModel):
    """Two stems (or one for both), two recurrent networks and a head over the vocabulary.

    With attention that of Bahdanau et al. (arXiv:1409.0473), without those of Sutskever et al.
    (arXiv:1409.3215) and Cho et al. (arXiv:1406.1078); `tfattn.build` makes one from a
    `RecurrentConfig`. Called with a dict of features:

        tokens (b, s)             ids of the source
        target_tokens (b, t)      ids that the decoder reads: the target, one later
        segments, target_segments 0 = padding, wherever it stands; default 1 where the token is
                                  not `config.pad_id`. A row holds one pair: all else is one text
        positions, target_...     not read: the order of the columns is that of the tokens
        predict_positions, targets, target_weights      as in `Transformer`, of the target

    It returns the outputs (b, t, r) of the decoder without a head, else the head's output.

    Args:
        config: what the model is.
        heads: one over the vocabulary, or none.
        stem: tokens of the source to embeddings.
        encoder: what reads.
        initial: makes the first states of the decoder; None = they are those of the encoder.
        target_stem: that of the target; it may be the same layer.
        decoder: what writes.
        head_layers: the layer of the head, by name.

    Raises:
        InputError: another head, or one whose matrix is that of embeddings of another width.
    """

    kind = RecurrentConfig
    config: RecurrentConfig

    def __init__(
        self,
        config: RecurrentConfig,
        heads: tuple[Head, ...],
        stem: keras.layers.Layer,
        encoder: RecurrentEncoder,
        initial: InitialStates | None,
        target_stem: keras.layers.Layer,
        decoder: RecurrentDecoder,
        head_layers: dict[str, TokensHead],
        **kwargs,
    ):
        super().__init__(config, heads, **kwargs)
        pair.check_heads(heads)
        if any(head.is_tied for head in heads) and config.output_dim() != config.dim:
            raise InputError(
                f"heads: expected Tokens(tied=False) where {config.output_dim()} columns are read "
                f"and embeddings have {config.dim}. Received: tied=True."
            )
        self.stem, self.encoder, self.initial = stem, encoder, initial
        self.target_stem, self.decoder = target_stem, decoder
        self.head_layers = head_layers

    def build(self, *shapes):
        """Create every weight; no data is needed."""
        layers = (self.stem, self.encoder, self.initial, self.target_stem, self.decoder)
        pair.build_each(layers)
        self.build_heads()
        self.built = True

    def call(
        self,
        features: dict[str, Tensor],
        training: bool | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Return the output of the head, or the outputs of the decoder.

        Returned with it if asked for: a list of the attention weights (b, 1, t, s).

        Raises:
            InputError: unknown or missing features, or weights of a model without attention.
        """
        check(features, pair.INPUTS)
        self._check_weights(return_weights)
        states, memory = self._read(features, training)
        tokens, segments = read(features, self.config.pad_id, "target_")
        x = self.target_stem(tokens, None, training=training)
        hidden, _, *weights = self.decoder(
            x, states, memory, segments, training=training, return_weights=return_weights
        )
        answer = self._answer(hidden, features, training)
        return (answer, weights) if return_weights else answer

    def begin(
        self, features: Mapping[str, Tensor], length: Any = None
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Read the source; return what changes with each token of a target, and what does not.

        The first are the states of the decoder (b, u), layer by layer. The others are, with
        attention, the memory (b, s, m), its keys (b, s, 1, a) and segments (b, s); without, the
        context (b, m) where there is one.

        Args:
            features: of the source.
            length: tokens that there is to be room for; states need none.
        """
        return self._read(features, False)

    def advance(
        self,
        features: Mapping[str, Tensor],
        cache: tuple[Tensor, ...],
        memory: tuple[Tensor, ...],
        return_weights: bool = False,
    ) -> tuple[Any, ...]:
        """Return the outputs (b, t, r) for the next tokens of targets, and the states then.

        Returned third, if asked for: the attention weights (b, t, s).

        Args:
            features: `tokens` (b, t) and `segments` (b, t); where these are 0 states stay.
            cache: what `begin` or this returned first.
            memory: what `begin` returned second.
            return_weights: whether to return those weights.

        Raises:
            InputError: weights of a model without attention.
        """
        self._check_weights(return_weights)
        tokens, segments = read(features, self.config.pad_id)
        x = self.target_stem(tokens, None, training=False)
        hidden, states, *asked = self.decoder(
            x, cache, memory, segments, training=False, return_weights=return_weights
        )
        return hidden, states, *(weights[:, 0] for weights in asked)

    def _check_weights(self, return_weights):
        if return_weights and self.config.attention is None:
            raise InputError(
                "return_weights: expected a model with attention. Received: attention=None."
            )

    def _read(self, features, training):
        tokens, segments = read(features, self.config.pad_id)
        x = self.stem(tokens, None, training=training)
        memory, states = self.encoder(x, segments, training=training)
        # Of each layer in turn the states of each direction; the first of a cell is its output.
        directions, kinds = len(self.encoder.directions), self.config.states() // self.config.depth
        end = ops.concatenate(states[-directions * kinds :: kinds], axis=-1)
        if self.initial is not None:
            backward = [s for i, s in enumerate(states) if i // kinds % directions]
            states = self.initial(tuple(backward))
        return states, self.decoder.remember(memory, segments, end)
