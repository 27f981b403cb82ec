"""The cache of keys and values: what generation remembers of the tokens before.

A flat tuple of tensors, for that is what loops and exported functions carry:

    column             the first free column, int32
    positions, order   (b, s) int32 of the tokens so far: places in a text, and what masks compare
    segments           (b, s) int32; 0 = padding, or not filled yet
    keys, values       (b g, s, e) of each block in turn, for g heads of keys and values: as batched
                       products read them, so that XLA writes a column in place and copies nothing
"""

from collections.abc import Iterator, Sequence
from typing import Any

from keras import ops

from tfattn.models.config import TransformerConfig
from tfattn.types import Tensor

SHARED = 4  # what all blocks read


def empty(config: TransformerConfig, batch: Any, length: int, dtype: str) -> tuple[Tensor, ...]:
    """Return a cache without tokens.

    Args:
        config: of the model.
        batch: rows.
        length: columns that there is room for.
        dtype: of keys and values: the compute dtype of the model.
    """
    groups = config.kv_heads or config.heads
    shape = (batch * groups, length, config.head_width())
    places = [ops.zeros((batch, length), "int32") for _ in range(SHARED - 1)]
    kept = [ops.zeros(shape, dtype) for _ in range(2 * config.depth)]
    return (ops.zeros((), "int32"), *places, *kept)


def enter(
    cache: Sequence[Tensor], positions: Tensor, order: Tensor, segments: Tensor
) -> tuple[tuple[Tensor, ...], Iterator[Tensor]]:
    """Return what all blocks read, with the new tokens in place, and each block's own."""
    column, *places = cache[:SHARED]
    new = [ops.cast(given, "int32") for given in (positions, order, segments)]
    places = [
        ops.slice_update(held, (0, column), given) for held, given in zip(places, new, strict=True)
    ]
    return (column, *places), iter(cache[SHARED:])


def leave(
    shared: Sequence[Tensor], kept: Sequence[tuple[Tensor, Tensor]], columns: Any
) -> tuple[Tensor, ...]:
    """Return the cache after so many new columns."""
    column, *places = shared
    flat = [tensor for pair in kept for tensor in pair]
    return (column + ops.cast(columns, "int32"), *places, *flat)
