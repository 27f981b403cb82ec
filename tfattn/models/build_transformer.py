"""Transformers on text from their config: one stack, or an encoder and a decoder."""

from typing import Any

from tfattn.blocks.stems import TokenStem
from tfattn.errors import InputError
from tfattn.mechanisms.positions import Learned, Position, Sinusoidal
from tfattn.models.builder import build_head_layers
from tfattn.models.config import EncoderDecoderConfig, TransformerConfig
from tfattn.models.encoder_decoder import EncoderDecoder
from tfattn.models.model_config import Head
from tfattn.models.parts import embedding, pooler, stack
from tfattn.models.transformer import Transformer

POSITIONS = {  # what the stem adds
    "learned": lambda config, **kw: Learned(config.max_length, config.dim, embedding(config), **kw),
    "sinusoidal": lambda config, **kw: Sinusoidal(**kw),
    "sinusoidal-halves": lambda config, **kw: Sinusoidal(interleaved=False, **kw),
    **dict.fromkeys(
        ("rotary", "buckets", "alibi", "shaw", "none"), lambda config, **kw: Position(**kw)
    ),
}


def build_transformer(
    config: TransformerConfig, heads: tuple[Head, ...], policy: Any
) -> Transformer:
    """Return the model of one stack, before its weights are created.

    Raises:
        InputError: a stack that attends to another.
    """
    if "cross" in config.layout:
        raise InputError(
            "layout: expected 'cross' in the decoder of an EncoderDecoderConfig alone. "
            f"Received: {config.layout}."
        )
    return Transformer(
        config,
        heads,
        stem=_stem(config, policy, "stem"),
        encoder=stack(config, policy, "encoder"),
        pooler=pooler(config, heads, policy),
        head_layers=build_head_layers(config, heads, policy),
        dtype=policy,
        name="transformer",
    )


def build_encoder_decoder(
    config: EncoderDecoderConfig, heads: tuple[Head, ...], policy: Any
) -> EncoderDecoder:
    """Return the model of two stacks, before its weights are created."""
    stem = _stem(config.encoder, policy, "stem")
    return EncoderDecoder(
        config,
        heads,
        stem=stem,
        encoder=stack(config.encoder, policy, "encoder"),
        target_stem=stem if config.shared else _stem(config.decoder, policy, "target_stem"),
        decoder=stack(config.decoder, policy, "decoder"),
        head_layers=build_head_layers(config.decoder, heads, policy),
        dtype=policy,
        name="transformer",
    )


def _stem(config, policy, name):
    return TokenStem(
        vocab_size=config.vocab_size,
        dim=config.dim,
        position=POSITIONS[config.position](config, dtype=policy, name="positions"),
        types=config.types,
        dropout=config.dropout,
        epsilon=config.norm_epsilon,
        initializer=embedding(config),
        norm_kind=config.norm_kind if config.stem_norm else None,
        scaled=config.stem_scale,
        dtype=policy,
        name=name,
    )
