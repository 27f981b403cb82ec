"""Positions: how an order-blind attention learns where a token stands (D2L section 11.6.3).

A `Position` has three hooks, each a no-op by default, so that every published kind is one class:
`embed` adds to the embeddings, `rotate` turns queries and keys, `bias` adds to the scores.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

Tensor = Any


class Position(keras.layers.Layer):
    """Base of all kinds of position; each overrides the hooks that it needs."""

    def build(self, *shapes):
        """Create nothing: most kinds have no weights."""
        self.built = True

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Add what is known of `positions` (b, t) to the embeddings `x` (b, t, d)."""
        return x

    def rotate(self, x: Tensor, positions: Tensor) -> Tensor:
        """Turn queries or keys `x` (b, t, h, e) by their `positions` (b, t)."""
        return x

    def bias(self, positions: Tensor, key_positions: Tensor) -> Tensor | None:
        """Return what to add to the scores, broadcasting to (b, h, t, s), or None."""
        return None


@keras.saving.register_keras_serializable(package="tfattn")
class Learned(Position):
    """`x + P[positions]` with a trained table P (length, dim) (BERT, arXiv:1810.04805, section 3).

    Args:
        length: positions 0 to length - 1 have a row.
        dim: width of the embeddings.
        initializer: of the table.
    """

    def __init__(self, length: int, dim: int, initializer: Any = "normal", **kwargs):
        super().__init__(**kwargs)
        self.length = length
        self.dim = dim
        self.initializer = keras.initializers.get(initializer)

    def build(self, *shapes):
        """Create the table."""
        self.embeddings = self.add_weight(
            name="embeddings", shape=(self.length, self.dim), initializer=self.initializer
        )
        self.built = True

    def embed(self, x, positions):
        """Add the row of each position."""
        table = ops.cast(self.embeddings, x.dtype)
        return x + ops.take(table, positions, axis=0)  # (b, t, d)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        initializer = keras.initializers.serialize(self.initializer)
        own = {"length": self.length, "dim": self.dim, "initializer": initializer}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="tfattn")
class Sinusoidal(Position):
    """`x + P` with fixed waves (Vaswani et al., arXiv:1706.03762, section 3.5; D2L 11.6.3.1).

        P[p, 2j] = sin(p / 10000^(2j/d))        P[p, 2j + 1] = cos(p / 10000^(2j/d))

    Any position has a value, so nothing limits the length; P[p + k] is a rotation of P[p].

    Args:
        base: the longest wave is 2 pi `base` positions long.
        interleaved: whether sines and cosines take turns; otherwise all sines come first.
    """

    def __init__(self, base: float = 10_000.0, interleaved: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.base, self.interleaved = base, interleaved

    def embed(self, x, positions):
        """Add the waves at each position."""
        dim = x.shape[-1]
        pairs = ops.arange(0, dim, 2, dtype="float32")
        frequency = ops.exp(pairs * (-math.log(self.base) / dim))  # (d/2,)
        angle = ops.cast(positions, "float32")[..., None] * frequency  # (b, t, d/2)
        waves = [ops.sin(angle), ops.cos(angle)]
        if self.interleaved:
            waves = ops.stack(waves, axis=-1)  # (b, t, d/2, 2)
            waves = ops.reshape(waves, (*ops.shape(positions), -1))  # (b, t, d or d + 1)
        else:
            waves = ops.concatenate(waves, axis=-1)
        return x + ops.cast(waves[..., :dim], x.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "base": self.base, "interleaved": self.interleaved}


@keras.saving.register_keras_serializable(package="tfattn")
class Rotary(Position):
    """Turn the pair (x_j, x_(j + e/2)) of queries and keys by `p base^(-2j/e)` (arXiv:2104.09864).

    A product of a query and a key then depends on the distance of their positions p alone. Pairs
    are half the width apart, as in the released LLaMA weights; the paper pairs neighbours, which is
    the same up to the order of the columns.

    Args:
        base: the longest wave is 2 pi `base` positions long.
    """

    def __init__(self, base: float = 10_000.0, **kwargs):
        super().__init__(**kwargs)
        self.base = base

    def rotate(self, x, positions):
        """Turn every pair by its angle at each position, in float32."""
        half = x.shape[-1] // 2
        frequency = ops.exp(ops.arange(half, dtype="float32") * (-math.log(self.base) / half))
        angle = ops.cast(positions, "float32")[..., None, None] * frequency  # (b, t, 1, e/2)
        sin, cos = ops.sin(angle), ops.cos(angle)
        wide = ops.cast(x, "float32")
        first, second = wide[..., :half], wide[..., half:]
        turned = [first * cos - second * sin, second * cos + first * sin]
        return ops.cast(ops.concatenate(turned, axis=-1), x.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "base": self.base}


def bucket_of(offsets: np.ndarray, buckets: int, distance: int, future: bool) -> np.ndarray:
    """Return the bucket of each offset k - q (arXiv:1910.10683, section 2.1).

    Of the buckets of one side half hold one distance each, and the others ranges that grow by a
    constant factor up to `distance`; the last one has all that is farther. Where the future is
    seen, the upper half of the buckets is for keys after the query; else those share bucket 0.
    """
    side = buckets // 2 if future else buckets
    far = np.abs(offsets) if future else np.maximum(-offsets, 0)
    single = side // 2
    ranges = single * (distance / single) ** (np.arange(side - single) / (side - single))
    # A power that is a whole number may come out just above it.
    wide = single + np.searchsorted(ranges - 1e-6, far, side="right") - 1
    return np.where(far < single, far, wide) + side * (future & (offsets > 0))


@keras.saving.register_keras_serializable(package="tfattn")
class Buckets(Position):
    """`scores + B[bucket(k - q)]`, a trained number for each head and range of distances (T5).

    One is shared by all blocks of a stack (arXiv:1910.10683, section 2.1).

    Args:
        heads: number h of heads.
        buckets: rows of B.
        distance: from which on all share a bucket.
        future: whether keys after the query are told from those before it.
        initializer: of B (buckets, h).

    Raises:
        ValueError: fewer than 2 buckets a side, or a distance within those of one distance each.
    """

    def __init__(
        self,
        heads: int,
        buckets: int = 32,
        distance: int = 128,
        future: bool = True,
        initializer: Any = "normal",
        **kwargs,
    ):
        super().__init__(**kwargs)
        side = buckets // 2 if future else buckets
        if side < 2 or distance <= side // 2:
            raise ValueError(
                "buckets must be 2 or more a side, and distance over half of them. "
                f"Received: buckets={buckets}, distance={distance}, future={future}."
            )
        self.heads, self.buckets, self.distance, self.future = heads, buckets, distance, future
        self.initializer = keras.initializers.get(initializer)

    def build(self, *shapes):
        """Create B."""
        self.embeddings = self.add_weight(
            name="embeddings", shape=(self.buckets, self.heads), initializer=self.initializer
        )
        self.built = True

    def bias(self, positions, key_positions):
        """Return the number of each offset, (b, h, t, s)."""
        near = np.arange(-self.distance, self.distance + 1)
        table = bucket_of(near, self.buckets, self.distance, self.future).astype("int32")
        offset = ops.cast(key_positions, "int32")[:, None] - ops.cast(positions, "int32")[..., None]
        offset = ops.clip(offset, -self.distance, self.distance) + self.distance  # (b, t, s)
        bucket = ops.take(ops.convert_to_tensor(table), offset, axis=0)
        numbers = ops.take(ops.convert_to_tensor(self.embeddings), bucket, axis=0)  # (b, t, s, h)
        return ops.transpose(numbers, (0, 3, 1, 2))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        own = {"heads": self.heads, "buckets": self.buckets, "distance": self.distance}
        initializer = keras.initializers.serialize(self.initializer)
        rest = {"future": self.future, "initializer": initializer}
        return {**super().get_config(), **own, **rest}
