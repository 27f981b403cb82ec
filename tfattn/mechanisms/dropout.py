"""Dropout whose mask is a hash of places (Srivastava et al., JMLR 15, 2014; D2L section 5.6).

    y_i = x_i / (1 - rate) where hash(seed, i) >= rate 2^32, else 0          i the place in memory

A counter-based generator (Salmon et al., doi:10.1145/2063384.2063405) needs no memory for its mask:
any bit of it can be drawn again where it is wanted. So a stretch of elementwise operations with
dropout in it is one island of compilation, whose gradient draws the same mask anew.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfattn import backend, ways
from tfattn.types import Tensor

GOLDEN = np.uint32(0x9E3779B9)  # 2^32 over the golden ratio: far from any small number
# Of a hash of 32 bits in two rounds of xor, shift and multiply, whose bits are hardly correlated:
# found by search, by the project hash-prospector.
FIRST, SECOND = np.uint32(0x21F0AAAD), np.uint32(0xD35A2D97)


def _fold(x, bits):
    return ops.bitwise_xor(x, ops.bitwise_right_shift(x, np.uint32(bits)))


def _hashed(x, between=None):
    """Return a hash of uint32 numbers; `between` is a second key, that of the second round."""
    x = _fold(_fold(x, 16) * FIRST, 15)
    x = x if between is None else ops.bitwise_xor(x, between)
    return _fold(x * SECOND, 15)


def keeps(seed: Tensor, shape: Sequence[Any], rate: float) -> Tensor:
    """Return which places of `shape` are kept, all but a share `rate`.

    Args:
        seed: (3,) integers: another first or second is another mask. The third is the number of a
            part: the masks of n parts, one after the other, are that of a tensor n times as long.
        shape: of fewer than 2^31 places. Parts that are 2^32 places apart have one mask.
        rate: share that is not.
    """
    seed = ops.cast(seed, "uint32")
    first = _hashed(seed[0] + _hashed(seed[1] + GOLDEN))
    # Numbers in a row are made unlike each other first: hashed as they are, two rounds leave places
    # that are 1,024 or 4,096 apart correlated by a percent. Of rows and of columns, and not of all
    # places: that would be a large constant, which XLA works out in no hurry and then reads.
    *rows, columns = shape
    count = math.prod(rows)
    before = seed[2] * ops.cast(count, "uint32")
    row = ops.cast(ops.arange(count, dtype="int32"), "uint32") + before
    row = row * (ops.cast(columns, "uint32") * GOLDEN) + first
    column = ops.cast(ops.arange(columns, dtype="int32"), "uint32") * GOLDEN
    place = ops.expand_dims(row, 1) + column
    drawn = _hashed(place, between=_hashed(first + GOLDEN))
    return ops.reshape(drawn >= np.uint32(rate * 2**32), shape)


def fold_in(seed: Tensor, index: Tensor) -> Tensor:
    """Return the seed (2,) of the chunk `index` of what a seed is for; chunks have their own masks.

    The second number counts the steps, so it is the first that differs.
    """
    more = ops.cast(_hashed(ops.cast(index, "uint32")), seed.dtype)
    return seed + ops.stack([more, ops.zeros_like(more)])


def dropped(x: Tensor, seed: Tensor, rate: float, rows: bool = False) -> Tensor:
    """Return `x` with a share `rate` of its numbers 0 and the others larger by 1 / (1 - rate).

    Args:
        x: of any shape.
        seed: (3,), as of `keeps`.
        rate: share that is dropped.
        rows: whether of its rows, along the first axis, and not of single numbers.
    """
    wide = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))  # 1 / .9 is not in bfloat16
    shape = (ops.shape(x)[0], *[1] * (len(x.shape) - 1)) if rows else ops.shape(x)
    kept = keeps(seed, shape, rate)
    return ops.cast(ops.where(kept, wide * (1 / (1 - rate)), 0.0), x.dtype)


@functools.cache  # one function, so that all layers share what is compiled of it
def _after(fn: Callable[..., Tensor], rate: float, rows: bool) -> Callable[..., Tensor]:
    def after(seed, *args):
        return dropped(fn(*args), seed, rate, rows)

    after.__name__ = f"{fn.__name__}_dropout"  # in a profile
    return backend.island(after)


@functools.cache
def _within(fn: Callable[..., Tensor], rate: float, rows: bool) -> Callable[..., Tensor]:
    def within(seed, x, y, *rest):
        return fn(x, dropped(y, seed, rate, rows), *rest)

    within.__name__ = f"dropout_{fn.__name__}"
    return backend.island(within)


def _same(x):
    return x


@keras.saving.register_keras_serializable(package="tfattn")
class Dropout(keras.layers.Layer):
    """Drops a share of numbers in training, alone or in one island with what is around.

    Args:
        rate: share that is dropped, from 0 to below 1.
        rows: whether whole rows are, along the first axis (arXiv:1603.09382), or single numbers.

    Raises:
        ValueError: another rate.
    """

    def __init__(self, rate: float, rows: bool = False, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be from 0 to below 1. Received: rate={rate}.")
        self.rate, self.rows = rate, rows
        # Every layer has its own seed, and moves on by a count that checkpoints keep.
        self.seeds = keras.random.SeedGenerator(name="seed_generator") if rate else None
        self.built = True

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        """Drop of `x`, of any shape."""
        return self.after(_same, x, training=True) if self.drops(training) else x

    def after(self, fn: Callable[..., Tensor], *args: Any, training: bool | None) -> Tensor:
        """Return `dropout(fn(*args))` as one island.

        Args:
            fn: of a module, not made anew for each call: what is compiled is kept by it.
            args: as for an island.
            training: whether anything is dropped.
        """
        seed = self.next_seed(training)
        if seed is None:
            return backend.island(fn)(*args)
        return _after(fn, self.rate, self.rows)(seed, *args)

    def within(
        self, fn: Callable[..., Tensor], x: Tensor, y: Tensor, *rest: Any, training: bool | None
    ) -> Tensor:
        """Return `fn(x, dropout(y), *rest)` as one island; arguments as of `after`."""
        seed = self.next_seed(training)
        if seed is None:
            return backend.island(fn)(x, y, *rest)
        return _within(fn, self.rate, self.rows)(seed, x, y, *rest)

    def next_seed(self, training: bool | None) -> Tensor | None:
        """Return the next seed (3,), with the part of a batch, or None where nothing is dropped."""
        if self.seeds is None or not training:  # as in `drops`
            return None
        seed = self.seeds.next()
        part = ops.cast(ways.current().part, seed.dtype)
        return ops.concatenate([seed, ops.reshape(part, (1,))])

    def drops(self, training: bool | None) -> bool:
        """Return whether anything is dropped."""
        return self.seeds is not None and bool(training)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "rate": self.rate, "rows": self.rows}
