"""The parts of transformers from their config, by tables of constructors."""

from typing import Any

import keras

from tfattn.blocks.block import TransformerBlock
from tfattn.blocks.feedforward import FeedForward
from tfattn.mechanisms.masks import Everything, Mask
from tfattn.mechanisms.multihead import MultiHeadAttention
from tfattn.mechanisms.positions import Position, Rotary
from tfattn.mechanisms.relative import Alibi, Buckets, Shaw
from tfattn.models.model_config import Head
from tfattn.models.stack import Stack
from tfattn.models.stack_config import StackConfig

# Initializers are made in the order of the weights: each takes the next of Keras's random seeds.
OF_BLOCKS = {  # of each self-attention: rotates queries and keys, or is compared with them
    "rotary": lambda config, **kw: Rotary(config.rotary_base, **kw),
    "shaw": lambda config, **kw: Shaw(
        config.head_width(), config.bucket_distance, table(config), **kw
    ),
}
BIASES = {  # of the stack: added to the scores of all its blocks
    "alibi": lambda config, **kw: Alibi(config.heads, **kw),
    "buckets": lambda config, **kw: Buckets(
        config.heads,
        buckets=config.buckets,
        distance=config.bucket_distance,
        future=not config.is_causal(),
        **kw,
    ),
}

SUBLAYERS = {
    "self": lambda config, mask, **kw: _attention(config, mask, OF_BLOCKS, **kw),
    "cross": lambda config, mask, **kw: _attention(config, Everything(), {}, **kw),
    "feedforward": lambda config, mask, **kw: FeedForward(
        dim=config.dim,
        hidden_dim=config.hidden_dim,
        activation=config.activation,
        initializer=kernel(config),
        gated=config.gated,
        bias=config.bias,
        output_initializer=_residual_kernel(config),
        dropout=config.inner_dropout,
        **kw,
    ),
}


def stack(config: StackConfig, policy: Any, name: str) -> Stack:
    """Return the blocks of a config."""
    return Stack(
        [_block(config, index, policy) for index in range(config.depth)],
        dim=config.dim,
        final_norm=config.norm == "pre",
        epsilon=config.norm_epsilon,
        norm_kind=config.norm_kind,
        position=_position(BIASES, config, policy),
        dropout=config.inner_dropout,
        dtype=policy,
        name=name,
    )


def pooler(config: StackConfig, heads: tuple[Head, ...], policy: Any) -> keras.layers.Layer | None:
    """Return BERT's layer on the first token, where a head reads it."""
    if not any(head.needs_pooler for head in heads):
        return None
    return keras.layers.Dense(
        config.dim, "tanh", kernel_initializer=kernel(config), dtype=policy, name="pooler"
    )


def _block(config: StackConfig, index: int, policy: Any) -> TransformerBlock:
    mask = config.masks[index % len(config.masks)]
    sublayers = {
        name: SUBLAYERS[name](config, mask, dtype=policy, name=name) for name in config.layout
    }
    return TransformerBlock(
        sublayers,
        dim=config.dim,
        norm=config.norm,
        dropout=config.dropout,
        epsilon=config.norm_epsilon,
        norm_kind=config.norm_kind,
        drop_path=config.drop_path * index / max(config.depth - 1, 1),
        scale=config.layer_scale,
        dtype=policy,
        name=f"block_{index}",
    )


def _attention(
    config: StackConfig, mask: Mask, positions: dict[str, Any], **kw: Any
) -> MultiHeadAttention:
    return MultiHeadAttention(
        dim=config.dim,
        heads=config.heads,
        mask=mask,
        dropout=config.attention_dropout,
        initializer=kernel(config),
        position=_position(positions, config, kw["dtype"]),
        kv_heads=config.kv_heads,
        bias=(config.has_qkv_bias(), config.bias),
        scale=config.score_scale,
        output_initializer=_residual_kernel(config),
        head_dim=config.head_dim,
        query_initializer=_query_kernel(config),
        **kw,
    )


def embedding(config: StackConfig) -> keras.initializers.Initializer:
    """Return the initializer of embeddings."""
    return keras.initializers.TruncatedNormal(stddev=config.embedding_std)


def kernel(config: StackConfig, scale: float = 1.0) -> keras.initializers.Initializer:
    """Return the initializer of kernels."""
    if config.kernel_std == "fan-in":
        return keras.initializers.VarianceScaling(scale**2, "fan_in", "truncated_normal")
    return table(config, scale)


def table(config: StackConfig, scale: float = 1.0) -> keras.initializers.Initializer:
    """Return the initializer of a table, whose number of rows says nothing of its scale."""
    std = config.kernel_std if isinstance(config.kernel_std, float) else config.dim**-0.5
    return keras.initializers.TruncatedNormal(stddev=std * scale)


def _query_kernel(config: StackConfig) -> keras.initializers.Initializer | None:
    """Return the initializer of the kernel of queries, or None for that of the others."""
    unscaled = config.kernel_std == "fan-in" and config.score_scale == 1.0
    return kernel(config, config.head_width() ** -0.5) if unscaled else None


def _residual_kernel(config: StackConfig) -> keras.initializers.Initializer | None:
    """Return the initializer of kernels before the residual stream (Radford et al. 2019, 2.3).

    None = that of the others; an initializer that is made and not used would still move the seeds.
    """
    return kernel(config, (2 * config.depth) ** -0.5) if config.scaled_residual else None


def _position(kinds: dict[str, Any], config: StackConfig, policy: Any) -> Position | None:
    kind = kinds.get(config.position)
    return None if kind is None else kind(config, dtype=policy, name="positions")
