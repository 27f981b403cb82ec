"""`build(config, *heads)`: from a row of data to a model."""

from typing import Any

import keras

from tfattn.blocks.heads import ClassifyHead, TokensHead
from tfattn.blocks.stems import TokenStem
from tfattn.errors import InputError
from tfattn.mechanisms.positions import Learned, Position, Sinusoidal
from tfattn.models.build_recurrent import build_recurrent
from tfattn.models.build_vision import HEADS as VISION_HEADS
from tfattn.models.build_vision import build_vision
from tfattn.models.config import (
    Classify,
    EncoderDecoderConfig,
    Head,
    Pool,
    Tokens,
    TransformerConfig,
)
from tfattn.models.encoder_decoder import EncoderDecoder
from tfattn.models.model_config import ModelConfig
from tfattn.models.parts import embedding, kernel, pooler, stack, table
from tfattn.models.recurrent import RecurrentEncoderDecoder
from tfattn.models.recurrent_config import RecurrentConfig
from tfattn.models.transformer import Transformer
from tfattn.models.vision import VisionTransformer
from tfattn.models.vision_config import VisionConfig

Model = Transformer | EncoderDecoder | RecurrentEncoderDecoder | VisionTransformer

POSITIONS = {  # what the stem adds
    "learned": lambda config, **kw: Learned(config.max_length, config.dim, embedding(config), **kw),
    "sinusoidal": lambda config, **kw: Sinusoidal(**kw),
    "sinusoidal-halves": lambda config, **kw: Sinusoidal(interleaved=False, **kw),
    **dict.fromkeys(
        ("rotary", "buckets", "alibi", "shaw", "none"), lambda config, **kw: Position(**kw)
    ),
}
HEADS = {
    Tokens: lambda config, head, **kw: TokensHead(
        config.vocab_size,
        config.dim,
        head.transform,
        config.activation,
        config.norm_epsilon,
        table(config),
        config.norm_kind,
        head.bias,
        head.tied,
        head.scaled,
        head.smoothing,
        **kw,
    ),
    Classify: lambda config, head, **kw: ClassifyHead(
        head.classes, config.dim, head.dropout, kernel(config), **kw
    ),
}


def build(config: ModelConfig, *heads: Head, dtype: Any = None) -> Model:
    """Return the model that `config` describes, with its weights created.

    Args:
        config: from `tfattn.preset("bert-base-uncased")` or your own.
        *heads: what sits on it, such as `Tokens()` or `Classify(classes=3)`; none = hidden states.
        dtype: a Keras dtype policy, such as "mixed_bfloat16"; default the global one.

    Raises:
        InputError: what is not a head, or two parts of the model of one name.
    """
    known = VISION_HEADS if isinstance(config, VisionConfig) else HEADS
    for head in heads:
        if type(head) not in (*known, Pool):
            kinds = ", ".join(f"{kind.__name__}()" for kind in (*known, Pool))
            raise InputError(f"heads: expected {kinds}. Received: {head!r}.")
    names = [head.name for head in heads]
    own = ["stem", "encoder", "pooler", "target_stem", "decoder"]
    paths = [*own, *(h.name for h in heads if not isinstance(h, Pool))]
    if len(set(names)) < len(names) or len(set(paths)) < len(paths):
        raise InputError(
            "heads: expected different names, none of them 'stem', 'encoder' or 'pooler'. "
            f"Received: {names}."
        )
    if isinstance(config, TransformerConfig) and "cross" in config.layout:
        raise InputError(
            "layout: expected 'cross' in the decoder of an EncoderDecoderConfig alone. "
            f"Received: {config.layout}."
        )
    policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
    own = {"dtype": policy, "name": "transformer"}
    if isinstance(config, EncoderDecoderConfig):
        model = _pair(config, heads, policy, own)
    elif isinstance(config, RecurrentConfig):
        model = build_recurrent(config, heads, policy, "recurrent")
    elif isinstance(config, VisionConfig):
        model = build_vision(config, heads, policy, "vision")
    else:
        model = Transformer(
            config,
            heads,
            stem=_stem(config, policy, "stem"),
            encoder=stack(config, policy, "encoder"),
            pooler=pooler(config, heads, policy),
            head_layers=_head_layers(config, heads, policy),
            **own,
        )
    model.build()
    return model


def _pair(config, heads, policy, own):
    stem = _stem(config.encoder, policy, "stem")
    return EncoderDecoder(
        config,
        heads,
        stem=stem,
        encoder=stack(config.encoder, policy, "encoder"),
        target_stem=stem if config.shared else _stem(config.decoder, policy, "target_stem"),
        decoder=stack(config.decoder, policy, "decoder"),
        head_layers=_head_layers(config.decoder, heads, policy),
        **own,
    )


def _stem(config, policy, name):
    return TokenStem(
        config.vocab_size,
        config.dim,
        POSITIONS[config.position](config, dtype=policy, name="positions"),
        config.types,
        config.dropout,
        config.norm_epsilon,
        embedding(config),
        config.norm_kind if config.stem_norm else None,
        config.stem_scale,
        dtype=policy,
        name=name,
    )


def _head_layers(config, heads, policy):
    return {
        head.name: HEADS[type(head)](config, head, dtype=policy, name=head.name)
        for head in heads
        if type(head) in HEADS
    }
