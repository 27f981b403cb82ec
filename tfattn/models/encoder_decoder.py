"""`EncoderDecoder`: one stack reads a source, another writes a target and asks it (D2L 11.7)."""

import itertools
from typing import Any

import keras
from keras import ops

from tfattn.blocks.heads import TokensHead
from tfattn.models import cache as caches
from tfattn.models import pair
from tfattn.models.config import EncoderDecoderConfig
from tfattn.models.features import check, placed
from tfattn.models.model_config import Head
from tfattn.models.stack import Stack
from tfattn.types import Tensor


@keras.saving.register_keras_serializable(package="tfattn")
class EncoderDecoder(pair.PairModel):
    """Two stems (or one for both), two stacks and a head over the vocabulary.

    The original Transformer (arXiv:1706.03762, figure 1) and T5 (arXiv:1910.10683, section 2.1);
    `tfattn.build` makes one from an `EncoderDecoderConfig`. Called with a dict of features:

        tokens (b, s)             ids of the source
        target_tokens (b, t)      ids that the decoder reads: the target, one later
        segments, positions       of each, as in `Transformer`; a target token asks the source
        target_segments, ...      tokens of its own segment
        predict_positions, targets, target_weights      as in `Transformer`, of the target

    It returns the hidden states (b, t, d) of the decoder without a head, else the head's output.

    Args:
        config: what the model is.
        heads: one over the vocabulary, or none.
        stem: source features to hidden states.
        encoder: the stack that reads.
        target_stem: that of the target; it may be the same layer.
        decoder: the stack that writes, with "cross" in its blocks.
        head_layers: the layer of the head, by name.

    Raises:
        InputError: another head.
    """

    kind = EncoderDecoderConfig
    config: EncoderDecoderConfig

    def __init__(
        self,
        config: EncoderDecoderConfig,
        heads: tuple[Head, ...],
        stem: keras.layers.Layer,
        encoder: Stack,
        target_stem: keras.layers.Layer,
        decoder: Stack,
        head_layers: dict[str, TokensHead],
        **kwargs,
    ):
        super().__init__(config, heads, **kwargs)
        pair.check_heads(heads)
        self.stem, self.encoder = stem, encoder
        self.target_stem, self.decoder = target_stem, decoder
        self.head_layers = head_layers

    def build(self, *shapes):
        """Create every weight; no data is needed."""
        layers = (self.stem, self.encoder, self.target_stem, self.decoder)
        pair.build_each(layers)
        self.build_heads()
        self.built = True

    def call(
        self,
        features: dict[str, Tensor],
        training: bool | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Return the output of the head, or the hidden states of the decoder.

        Returned with it if asked for: the attention weights of the encoder's blocks (b, h, s, s),
        and pairs of the decoder's, (b, h, t, t) of itself and (b, h, t, s) of the source.
        """
        check(features, pair.INPUTS)
        memory, memory_segments, seen = self._read(features, training, return_weights)
        tokens, segments, positions = placed(features, self.config.decoder, "target_")
        hidden = self.decoder(
            self.target_stem(tokens, positions, training=training),
            positions=positions,
            segments=segments,
            memory=memory,
            memory_segments=memory_segments,
            training=training,
            return_weights=return_weights,
        )
        hidden, asked = hidden if return_weights else (hidden, None)
        answer = self._answer(hidden, features, training)
        return (answer, (seen, asked)) if return_weights else answer

    def begin(
        self, features: dict[str, Tensor], length: Any
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Read the source; return an empty cache, and the memory: what targets are written from.

        Args:
            features: tokens (b, s), segments and positions of the source.
            length: columns of the target that there is room for.

        Returns:
            A cache (tfattn/models/cache.py), and the segments (b, s) of the source with the keys
            and values (b g, s, e) that each block of the decoder asks.
        """
        read, segments, _ = self._read(features, False, False)
        kept = itertools.chain.from_iterable(self.decoder.remember(read))
        batch = ops.shape(read)[0]
        held = caches.empty(self.config.decoder, batch, length, self.compute_dtype)
        return held, (ops.cast(segments, "int32"), *kept)

    def advance(
        self,
        features: dict[str, Tensor],
        cache: tuple[Tensor, ...],
        memory: tuple[Tensor, ...],
        return_weights: bool = False,
    ) -> tuple[Any, ...]:
        """Return the hidden states (b, t, d) of target tokens that go on, and what the cache holds.

        Returned third, if asked for: the shares (b, t, s) of its attention that a target token
        gives to each token of the source, the mean of all blocks and heads.

        Args:
            features: tokens, segments and positions (b, t) of the target.
            cache: of `begin`, or of the call before.
            memory: of `begin`.
            return_weights: whether to return those shares.
        """
        segments, *kept = memory
        hidden, held, *asked = self.decoder(
            self.target_stem(features["tokens"], features["positions"], training=False),
            positions=features["positions"],
            segments=features["segments"],
            cache=cache,
            memory_segments=segments,
            remembered=list(zip(kept[::2], kept[1::2], strict=True)),
            training=False,
            return_weights=return_weights,
        )
        return hidden, held, *(ops.mean(ops.stack(weights), axis=(0, 2)) for weights in asked)

    def _read(self, features, training, return_weights):
        tokens, segments, positions = placed(features, self.config.encoder)
        memory = self.encoder(
            self.stem(tokens, positions, training=training),
            positions=positions,
            segments=segments,
            training=training,
            return_weights=return_weights,
        )
        memory, seen = memory if return_weights else (memory, None)
        return memory, segments, seen
