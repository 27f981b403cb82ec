"""The parts of transformers from their config, by tables of constructors."""

from typing import Any

import keras

from tfattn.blocks.block import TransformerBlock
from tfattn.blocks.feedforward import FeedForward
from tfattn.mechanisms.masks import Everything
from tfattn.mechanisms.multihead import MultiHeadAttention
from tfattn.mechanisms.positions import Position, Rotary
from tfattn.mechanisms.relative import Alibi, Buckets, Shaw
from tfattn.models.config import Head, needs_pooler
from tfattn.models.stack import Stack
from tfattn.models.stack_config import StackConfig

OF_BLOCKS = {  # what each self-attention has: it turns queries and keys, or is compared with them
    "rotary": lambda config, **kw: Rotary(config.rotary_base, **kw),
    "shaw": lambda config, **kw: Shaw(
        config.head_width(), config.bucket_distance, table(config), **kw
    ),
}
BIASES = {  # what the stack adds to the scores of all its blocks
    "alibi": lambda config, **kw: Alibi(config.heads, **kw),
    "buckets": lambda config, **kw: Buckets(
        config.heads,
        config.buckets,
        config.bucket_distance,
        not config.is_causal(),
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
        kernel(config),
        config.gated,
        config.bias,
        _residual_kernel(config),
        config.inner_dropout,
        **kw,
    ),
}


def stack(config: StackConfig, policy: Any, name: str) -> Stack:
    """Return the blocks of a config."""
    return Stack(
        [_block(config, index, policy) for index in range(config.depth)],
        config.dim,
        config.norm == "pre",
        config.norm_epsilon,
        config.norm_kind,
        _position(BIASES, config, policy),
        config.inner_dropout,
        dtype=policy,
        name=name,
    )


def pooler(config: StackConfig, heads: tuple[Head, ...], policy: Any) -> keras.layers.Layer | None:
    """Return BERT's layer on the first token, where a head reads it."""
    if not needs_pooler(heads):
        return None
    return keras.layers.Dense(
        config.dim, "tanh", kernel_initializer=kernel(config), dtype=policy, name="pooler"
    )


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
        config.drop_path * index / max(config.depth - 1, 1),
        config.layer_scale,
        dtype=policy,
        name=f"block_{index}",
    )


def _attention(config, mask, positions, **kw):
    return MultiHeadAttention(
        config.dim,
        config.heads,
        mask,
        config.attention_dropout,
        kernel(config),
        _position(positions, config, kw["dtype"]),
        config.kv_heads,
        (config.has_qkv_bias(), config.bias),
        config.score_scale,
        _residual_kernel(config),
        config.head_dim,
        _query_kernel(config),
        **kw,
    )


def embedding(config: StackConfig) -> keras.initializers.Initializer:
    """Return the start of embeddings."""
    return keras.initializers.TruncatedNormal(stddev=config.embedding_std)


def kernel(config: StackConfig, scale: float = 1.0) -> keras.initializers.Initializer:
    """Return the start of kernels."""
    if config.kernel_std == "fan-in":
        return keras.initializers.VarianceScaling(scale**2, "fan_in", "truncated_normal")
    return table(config, scale)


def table(config: StackConfig, scale: float = 1.0) -> keras.initializers.Initializer:
    """Return the start of what has a row for each of many things: their number says nothing."""
    std = config.kernel_std if isinstance(config.kernel_std, float) else config.dim**-0.5
    return keras.initializers.TruncatedNormal(stddev=std * scale)


def _query_kernel(config):
    """Return the start of the kernel of queries, or None for that of the others."""
    unscaled = config.kernel_std == "fan-in" and config.score_scale == 1.0
    return kernel(config, config.head_width() ** -0.5) if unscaled else None


def _residual_kernel(config):
    """Return the start of kernels that write to the stream (Radford et al. 2019, section 2.3).

    None = that of the others; an initializer that is made and not used would still move the seeds.
    """
    return kernel(config, (2 * config.depth) ** -0.5) if config.scaled_residual else None


def _position(kinds, config, policy) -> Position | None:
    kind = kinds.get(config.position)
    return None if kind is None else kind(config, dtype=policy, name="positions")
