"""Batches of about as many tokens each: pairs of like length go together (arXiv:1706.03762, 5.1).

Rows are put into buckets by the tokens of their longer side. A bucket of width w gives batches of
`tokens` / w rows, so that little is padding and every step costs about the same. All batches of a
bucket have the same shape, for a step is compiled for each shape anew. As in batches.py
the batch of step k is a pure function of (data, seed, k): which batch of which bucket it is, and
which rows are in it, are permutations that are computed, not stored.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import tensorflow as tf

from pipelines.core.api import Batch, Dataset, Tensor
from pipelines.core.batches import WHOLE, Share, Transform, shuffled
from pipelines.core.randomness import Stream, bits
from tfattn.errors import InputError

STEP, GROWTH = 8, 1.4  # widths of buckets are multiples of STEP, and each wider by GROWTH
EVEN = 2  # rows of a batch are a multiple of this many from 4 on, and of 8 from 16 on


@runtime_checkable
class Sides(Protocol):
    """Rows of a source and a target, read at the widths that are asked for."""

    @property
    def counts(self) -> np.ndarray:
        """Return the tokens of both sides of each row, (2, n)."""
        ...

    @property
    def read(self) -> Callable[..., Mapping[str, np.ndarray]]:
        """From indices (b,) and the widths of both sides to arrays (b, ...)."""
        ...


class LengthBatches:
    """Batches of rows of like length through an objective's transform.

    Args:
        rows: where examples are read from, with the tokens of each side.
        transform: makes features and targets of them.
        tokens: places of the longer side of a microbatch at most.
        accumulate: microbatches of a batch.
        seed: of the order.
        parts: equal ones, into which every microbatch can be cut.

    Raises:
        InputError: fewer tokens than the longest row of each part has.
    """

    def __init__(
        self,
        rows: Sides,
        transform: Transform,
        tokens: int,
        accumulate: int,
        seed: int,
        parts: int = 1,
    ):
        self.rows, self.transform, self.seed = rows, transform, seed
        sides = rows.counts  # (2, n)
        widths = sides.max(axis=0)
        edges = bucket_edges(int(widths.max()))
        if tokens < edges[-1] * parts:
            each = f", for each of the {parts} devices" if parts > 1 else ""
            raise InputError(
                f"train.batch_tokens: expected at least the {edges[-1]} places of the longest "
                f"pair{each}. Received: {tokens}."
            )
        bucket = np.searchsorted(edges, widths)
        order = np.argsort(bucket, kind="stable")
        counts = np.bincount(bucket, minlength=len(edges))
        filled = np.flatnonzero(counts)
        edges, counts = edges[filled], counts[filled]
        longest = np.array([sides[:, bucket == number].max(axis=1) for number in filled])
        self._widths = tf.constant(-(-longest // STEP) * STEP, tf.int64)  # (buckets, 2)
        sizes = _even(tokens // edges // parts) * parts * accumulate
        batches = -(-counts // sizes)
        self._order = tf.constant(order, tf.int64)  # rows by bucket
        self._first = tf.constant(np.cumsum(counts) - counts, tf.int64)  # of each bucket's
        self._counts, self._sizes = (tf.constant(x, tf.int64) for x in (counts, sizes))
        self._ends = tf.constant(np.cumsum(batches), tf.int64)  # of each bucket's batches
        self._batches = int(batches.sum())
        first = rows.read(np.zeros(1, np.int64))
        self._names = list(first)
        self._dtypes = [array.dtype for array in first.values()]
        self._ranks = [array.ndim for array in first.values()]

    @property
    def steps_per_epoch(self) -> float:
        """Return how many batches make one pass over the rows."""
        return self._batches

    def at(self, step: Any, part: Any = 0, parts: int = 1) -> Batch:
        """Return the batch of one step, or of its equal parts that of this number.

        The last batch of a bucket begins it again where it is short.
        """
        step = tf.cast(step, tf.int64)
        epoch, place = step // self._batches, step % self._batches
        number = shuffled(place[None], self._batches, self._keys(epoch, 0))[0]
        bucket = tf.searchsorted(self._ends, number[None], side="right")[0]
        before = tf.where(bucket > 0, tf.gather(self._ends, tf.maximum(bucket - 1, 0)), 0)
        size, count = tf.gather(self._sizes, bucket), tf.gather(self._counts, bucket)
        own = tf.cast(part, tf.int64) * (size // parts) + tf.range(size // parts, dtype=tf.int64)
        places = ((number - before) * size + own) % count
        keys = self._keys(epoch, 1 + tf.cast(bucket, tf.int64))
        places = shuffled(places, count, tf.repeat(keys, tf.shape(own)[0], axis=0))
        row = tf.gather(self._order, tf.gather(self._first, bucket) + places)
        arrays = self._read(row, tf.gather(self._widths, bucket))
        return self.transform(arrays, tf.fill(tf.shape(row), epoch), row)

    def stream(self, first: int, last: int, share: Share = WHOLE) -> Dataset:
        """Return the batches of the steps from `first` to before `last`."""
        numbers = tf.data.Dataset.range(first * share.own, last * share.own)

        def at(number: Tensor) -> Batch:
            return self.at(*share.places(number), share.parts)

        at = tf.autograph.experimental.do_not_convert(at)
        return numbers.map(at, num_parallel_calls=2, deterministic=True).prefetch(4)

    def _keys(self, epoch: Tensor, number: Any) -> Tensor:
        """Return the key of permutation `number` of an epoch, (1, 3) uint32."""
        row = tf.reshape(tf.cast(number, tf.int64), [1])
        return bits(self.seed, Stream.LENGTH_BATCH_ORDER, tf.reshape(epoch, [1]), row, 3)

    def _read(self, row: Tensor, widths: Tensor) -> dict[str, Tensor]:
        def read(indices: np.ndarray, widths: np.ndarray) -> list[np.ndarray]:
            arrays = self.rows.read(indices, widths)
            return [arrays[name] for name in self._names]

        arrays = tf.numpy_function(read, [row, widths], self._dtypes, stateful=False)
        for array, rank in zip(arrays, self._ranks, strict=True):
            array.set_shape([None] * rank)
        return dict(zip(self._names, arrays, strict=True))


def bucket_edges(longest: int) -> np.ndarray:
    """Return the widths of the buckets, of which the last has just room for the longest row."""
    edges = [STEP]
    while edges[-1] < longest:
        wider = int(edges[-1] * GROWTH) // STEP * STEP
        edges.append(max(wider, edges[-1] + STEP))
    return np.array([*edges[:-1], -(-longest // STEP) * STEP])


def _even(sizes: np.ndarray) -> np.ndarray:
    """Return sizes that several devices, threads and vector units can share, unless few."""
    some = np.where(sizes >= 4, sizes // EVEN * EVEN, sizes)
    return np.where(sizes >= 16, sizes // 8 * 8, some)
