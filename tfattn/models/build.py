"""`build(config, *heads)`: from a row of data to a model, by tables of constructors."""

from typing import Any

import keras

from tfattn.blocks.block import TransformerBlock
from tfattn.blocks.feedforward import FeedForward
from tfattn.blocks.heads import ClassifyHead, TokensHead
from tfattn.blocks.stems import TokenStem
from tfattn.errors import InputError
from tfattn.mechanisms.masks import Everything
from tfattn.mechanisms.multihead import MultiHeadAttention
from tfattn.mechanisms.positions import Learned, Position, Rotary, Sinusoidal
from tfattn.mechanisms.relative import Alibi, Buckets, Shaw
from tfattn.models.build_recurrent import build_recurrent
from tfattn.models.config import (
    Classify,
    EncoderDecoderConfig,
    Head,
    Pool,
    Tokens,
    TransformerConfig,
    needs_pooler,
)
from tfattn.models.encoder_decoder import EncoderDecoder
from tfattn.models.model_config import ModelConfig
from tfattn.models.recurrent import RecurrentEncoderDecoder
from tfattn.models.recurrent_config import RecurrentConfig
from tfattn.models.stack import Stack
from tfattn.models.transformer import Transformer

Model = Transformer | EncoderDecoder | RecurrentEncoderDecoder

POSITIONS = {  # what the stem adds
    "learned": lambda config, **kw: Learned(
        config.max_length, config.dim, _embedding(config), **kw
    ),
    "sinusoidal": lambda config, **kw: Sinusoidal(**kw),
    "sinusoidal-halves": lambda config, **kw: Sinusoidal(interleaved=False, **kw),
    **dict.fromkeys(("rotary", "buckets", "alibi", "shaw"), lambda config, **kw: Position(**kw)),
}
OF_BLOCKS = {  # what each self-attention has: it turns queries and keys, or is compared with them
    "rotary": lambda config, **kw: Rotary(config.rotary_base, **kw),
    "shaw": lambda config, **kw: Shaw(
        config.head_width(), config.bucket_distance, _table(config), **kw
    ),
}
BIASES = {  # what the stack adds to the scores of all its blocks
    "alibi": lambda config, **kw: Alibi(config.heads, **kw),
    "buckets": lambda config, **kw: Buckets(
        config.heads,
        config.buckets,
        config.bucket_distance,
        not config.is_causal(),
        _table(config),
        **kw,
    ),
}

SUBLAYERS = {
    "self": lambda config, mask, **kw: _attention(config, mask, OF_BLOCKS, **kw),
    "cross": lambda config, mask, **kw: _attention(config, Everything(), {}, **kw),
    "feedforward": lambda config, mask, **kw: FeedForward(
        config.dim,
        config.hidden_dim,
        config.activation,
        _kernel(config),
        config.gated,
        config.bias,
        _residual_kernel(config),
        config.inner_dropout,
        **kw,
    ),
}

HEADS = {
    Tokens: lambda config, head, **kw: TokensHead(
        config.vocab_size,
        config.dim,
        head.transform,
        config.activation,
        config.norm_epsilon,
        _table(config),
        config.norm_kind,
        head.bias,
        head.tied,
        head.scaled,
        head.smoothing,
        **kw,
    ),
    Classify: lambda config, head, **kw: ClassifyHead(
        head.classes, config.dim, head.dropout, _kernel(config), **kw
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
    for head in heads:
        if type(head) not in (*HEADS, Pool):
            raise InputError(f"heads: expected Tokens(), Classify(), Pool(). Received: {head!r}.")
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
    else:
        model = Transformer(
            config,
            heads,
            stem=_stem(config, policy, "stem"),
            encoder=_stack(config, policy, "encoder"),
            pooler=keras.layers.Dense(
                config.dim, "tanh", kernel_initializer=_kernel(config), dtype=policy, name="pooler"
            )
            if needs_pooler(heads)
            else None,
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
        encoder=_stack(config.encoder, policy, "encoder"),
        target_stem=stem if config.shared else _stem(config.decoder, policy, "target_stem"),
        decoder=_stack(config.decoder, policy, "decoder"),
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
        _embedding(config),
        config.norm_kind if config.stem_norm else None,
        config.stem_scale,
        dtype=policy,
        name=name,
    )


def _stack(config, policy, name):
    return Stack(
        [_block(config, index, policy) for index in range(config.depth)],
        config.dim,
        config.norm == "pre",
        config.norm_epsilon,
        config.norm_kind,
        _of_table(BIASES, config, policy, "positions"),
        config.inner_dropout,
        dtype=policy,
        name=name,
    )


def _head_layers(config, heads, policy):
    return {
        head.name: HEADS[type(head)](config, head, dtype=policy, name=head.name)
        for head in heads
        if type(head) in HEADS
    }


def _block(config, index, policy):
    mask = config.masks[index % len(config.masks)]
    sublayers = {
        name: SUBLAYERS[name](config, mask, dtype=policy, name=name) for name in config.layout
    }
    return TransformerBlock(
        sublayers,
        config.dim,
        config.norm,
        config.dropout,
        config.norm_epsilon,
        config.norm_kind,
        dtype=policy,
        name=f"block_{index}",
    )


def _attention(config, mask, positions, **kw):
    return MultiHeadAttention(
        config.dim,
        config.heads,
        mask,
        config.attention_dropout,
        _kernel(config),
        _of_table(positions, config, kw["dtype"], "positions"),
        config.kv_heads,
        (config.has_qkv_bias(), config.bias),
        config.score_scale,
        _residual_kernel(config),
        config.head_dim,
        _query_kernel(config),
        **kw,
    )


def _embedding(config):
    return keras.initializers.TruncatedNormal(stddev=config.embedding_std)


def _kernel(config, scale=1.0):
    if config.kernel_std == "fan-in":
        return keras.initializers.VarianceScaling(scale**2, "fan_in", "truncated_normal")
    return _table(config, scale)


def _table(config, scale=1.0):
    """Return the start of what has a row for each of many things: their number says nothing."""
    given = isinstance(config.kernel_std, float)
    std = config.kernel_std if given else config.dim**-0.5
    return keras.initializers.TruncatedNormal(stddev=std * scale)


def _query_kernel(config):
    """Return the start of the kernel of queries, or None for that of the others."""
    unscaled = config.kernel_std == "fan-in" and config.score_scale == 1.0
    return _kernel(config, config.head_width() ** -0.5) if unscaled else None


def _residual_kernel(config):
    """Return the start of kernels that write to the stream (Radford et al. 2019, section 2.3).

    None = that of the others; an initializer that is made and not used would still move the seeds.
    """
    return _kernel(config, (2 * config.depth) ** -0.5) if config.scaled_residual else None


def _of_table(table, config, policy, name):
    kind = table.get(config.position)
    return None if kind is None else kind(config, dtype=policy, name=name)
