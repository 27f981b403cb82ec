"""Relative positions: scores that know how far apart a query and a key are (D2L 11.6.3.2)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from tfattn.mechanisms.positions import Position
from tfattn.types import Tensor


def offsets(positions: Tensor, key_positions: Tensor, distance: int) -> Tensor:
    """Return k - q cut to -distance ... distance, (b, t, s), from (b, t) and (b, s)."""
    offset = ops.cast(key_positions, "int32")[:, None] - ops.cast(positions, "int32")[..., None]
    return ops.clip(offset, -distance, distance)


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

    Those there start at random, so that a new model has first to find that neighbours matter. Ours
    start at `-m_i d`, as ALiBi's penalties (arXiv:2108.12409), with d the least distance of the
    bucket and m_i = 2^(-8 i / h), i = 0 ... h - 1: from heads that see the next tokens to heads
    that see nearly all alike.

    Args:
        heads: number h of heads.
        buckets: rows of B.
        distance: from which on all share a bucket.
        future: whether keys after the query are told from those before it.
        initializer: of B (buckets, h); None = by distance, as above.

    Raises:
        ValueError: fewer than 2 buckets a side, or a distance within those of one distance each.
    """

    def __init__(
        self,
        heads: int,
        buckets: int = 32,
        distance: int = 128,
        future: bool = True,
        initializer: Any = None,
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
        initializer = self.initializer or (lambda shape, dtype: ops.cast(self.nearest(), dtype))
        self.embeddings = self.add_weight(
            name="embeddings", shape=(self.buckets, self.heads), initializer=initializer
        )
        self.built = True

    def nearest(self) -> np.ndarray:
        """Return B by distance, (buckets, h)."""
        near = np.arange(-self.distance, self.distance + 1)
        bucket = bucket_of(near, self.buckets, self.distance, self.future)
        # The bucket of keys after the query at a distance of 0 has none.
        least = [min(abs(near[bucket == row]), default=0) for row in range(self.buckets)]
        slopes = 2.0 ** (-8 * np.arange(self.heads) / self.heads)
        return -np.outer(least, slopes).astype("float32")

    def bias(self, positions, key_positions):
        """Return the number of each offset, (b, h, t, s)."""
        near = np.arange(-self.distance, self.distance + 1)
        table = bucket_of(near, self.buckets, self.distance, self.future).astype("int32")
        offset = offsets(positions, key_positions, self.distance) + self.distance  # (b, t, s)
        bucket = ops.take(ops.convert_to_tensor(table), offset, axis=0)
        numbers = ops.take(ops.convert_to_tensor(self.embeddings), bucket, axis=0)  # (b, t, s, h)
        return ops.transpose(numbers, (0, 3, 1, 2))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        own = {"heads": self.heads, "buckets": self.buckets, "distance": self.distance}
        start = None if self.initializer is None else keras.initializers.serialize(self.initializer)
        rest = {"future": self.future, "initializer": start}
        return {**super().get_config(), **own, **rest}


@keras.saving.register_keras_serializable(package="tfattn")
class Alibi(Position):
    """`scores - m_h |k - q|`, a slope m_h for each head and nothing to train (arXiv:2108.12409).

    With h = 2^n heads m_h = 2^(-8 i / h), i = 1 ... h; with another number the slopes of the power
    of two below it, and then every other one of twice that, as released. The paper has a causal
    mask; without one both sides count alike.

    Args:
        heads: number h of heads.
    """

    def __init__(self, heads: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def slopes(self) -> np.ndarray:
        """Return m, (h,)."""
        whole = 2 ** (self.heads.bit_length() - 1)
        slopes = 2.0 ** (-8 * np.arange(1, whole + 1) / whole)
        more = 2.0 ** (-8 * np.arange(1, 2 * whole + 1, 2) / (2 * whole))
        return np.concatenate([slopes, more])[: self.heads].astype("float32")

    def bias(self, positions, key_positions):
        """Return the penalty of each distance, (b, h, t, s)."""
        offset = ops.cast(key_positions, "int32")[:, None] - ops.cast(positions, "int32")[..., None]
        far = ops.cast(ops.abs(offset), "float32")[:, None]  # (b, 1, t, s)
        return -far * self.slopes()[:, None, None]

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable(package="tfattn")
class Shaw(Position):
    """Vectors for distances, beside keys and values (arXiv:1803.02155, section 3.2).

        score = q . (k_s + A[s - t]) / sqrt(e)        pooled = sum_s w_s (v_s + B[s - t])

    where s - t is cut to -distance ... distance. All heads share both tables.

    Args:
        head_dim: width e of a head.
        distance: from which on all share a vector.
        initializer: of A and B, (2 distance + 1, e).
    """

    carries = True

    def __init__(
        self, head_dim: int, distance: int = 16, initializer: Any = "glorot_uniform", **kwargs
    ):
        super().__init__(**kwargs)
        self.head_dim, self.distance = head_dim, distance
        self.initializer = keras.initializers.get(initializer)

    def build(self, *shapes):
        """Create A and B."""
        shape = (2 * self.distance + 1, self.head_dim)
        self.keys, self.values = (
            self.add_weight(name=name, shape=shape, initializer=self.initializer.clone())
            for name in ("keys", "values")
        )
        self.built = True

    def compare(self, q, positions, key_positions):
        """Return q . A of each offset, (b, h, t, s)."""
        row = offsets(positions, key_positions, self.distance) + self.distance  # (b, t, s)
        table = ops.cast(self.keys, q.dtype)
        every = ops.transpose(
            ops.matmul(q, ops.transpose(table)), (0, 2, 1, 3)
        )  # (b, h, t, 2c + 1)
        row = ops.broadcast_to(row[:, None], (*ops.shape(every)[:3], ops.shape(row)[2]))
        return ops.take_along_axis(every, row, axis=-1)

    def carry(self, weights, positions, key_positions):
        """Return the mean of B by the weights, (b, t, h, e)."""
        row = offsets(positions, key_positions, self.distance) + self.distance  # (b, t, s)
        table = ops.take(ops.cast(self.values, weights.dtype), row, axis=0)  # (b, t, s, e)
        return ops.matmul(ops.transpose(weights, (0, 2, 1, 3)), table)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "head_dim": self.head_dim,
            "distance": self.distance,
            "initializer": keras.initializers.serialize(self.initializer),
        }
