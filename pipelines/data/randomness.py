"""Random numbers as a pure function of (seed, epoch, row, column): no state, no order.

A counter is mixed by an integer hash, so that any worker computes the numbers of any row alone, and
a resumed run sees what an uninterrupted one saw. tf.random's stateless generators take one seed for
a whole tensor; here every row has its own.
"""

from typing import Any

import tensorflow as tf

ROUNDS = ((16, 0x7FEB352D), (15, 0x846CA68B))  # of shift and factor


def uniform(
    seed: Any, purpose: int, epoch: tf.Tensor, row: tf.Tensor, columns: int | tf.Tensor
) -> tf.Tensor:
    """Return numbers in [0, 1), (b, columns), that depend on nothing but the arguments.

    Args:
        seed: of the run, an integer or () int64.
        purpose: tells apart the uses within one row; from 1 where the first number is
            read, for it is 0 where all arguments are 0.
        epoch: (b,) int64.
        row: (b,) int64.
        columns: numbers a row; or which of them alone, (b, n) int32.
    """
    random = tf.bitwise.right_shift(bits(seed, purpose, epoch, row, columns), 8)
    return tf.cast(random, tf.float32) * 2.0**-24


def bits(
    seed: Any, purpose: int, epoch: tf.Tensor, row: tf.Tensor, columns: int | tf.Tensor
) -> tf.Tensor:
    """Return 32 random bits each, (b, columns) uint32; the arguments are those of `uniform`."""
    if isinstance(seed, int):  # nothing of it is left to a graph, which is the smaller
        key = tf.constant(_mix_integer(seed * 0x9E3779B9 + purpose * 0x85EBCA6B), tf.uint32)
    else:
        base = tf.cast(tf.cast(seed, tf.int64) & 0xFFFFFFFF, tf.uint32) * 0x9E3779B9
        key = _mix(base + tf.constant(purpose * 0x85EBCA6B % 2**32, tf.uint32))
    key = _mix(tf.bitwise.bitwise_xor(key, tf.cast(epoch, tf.uint32)))
    key = _mix(key + tf.cast(row & 0xFFFFFFFF, tf.uint32))
    key = _mix(tf.bitwise.bitwise_xor(key, tf.cast(tf.bitwise.right_shift(row, 32), tf.uint32)))
    which = columns if tf.is_tensor(columns) else tf.range(columns, dtype=tf.int32)[None]
    return _mix(_mix(key[:, None] + tf.cast(which, tf.uint32) * 0x9E3779B1))


def _mix(x: tf.Tensor) -> tf.Tensor:
    """Mix 32 bits: two rounds of xor-shift and multiply, a bijection of uint32."""
    for shift, factor in ROUNDS:
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, tf.uint32)))
        x = x * tf.constant(factor, tf.uint32)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.uint32)))


def _mix_integer(x: int) -> int:
    """Mix the lowest 32 bits of an integer, as `_mix` does."""
    x %= 2**32
    for shift, factor in ROUNDS:
        x = (x ^ x >> shift) * factor % 2**32
    return x ^ x >> 16
