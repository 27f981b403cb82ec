"""Random numbers as a pure function of (seed, epoch, row, column): no state, no order.

A counter is mixed by an integer hash, so that any worker computes the numbers of any row alone, and
a resumed run sees what an uninterrupted one saw. tf.random's stateless generators take one seed for
a whole tensor; here every row has its own.
"""

from enum import IntEnum
from typing import Any

import tensorflow as tf

ROUNDS = ((16, 0x7FEB352D), (15, 0x846CA68B))  # of shift and factor


class Stream(IntEnum):
    """The independent streams of random numbers of one seed, epoch and row, one for each use.

    The values are part of every run: another value is another result. Streams of one batch
    pipeline have different values. Objectives exclude each other, and sampling has seeds and rows
    of its own, so their groups below share the values 1 and 2; Python then makes the later name an
    alias of the first. Numbers, not names, tell streams apart.
    """

    # Masked language modelling
    MASK_CHOICE = 0  # scores of the tokens: the lowest are masked
    MASK_FATE = 1  # whether a chosen token becomes [MASK], another token, or stays
    MASK_REPLACEMENT = 2  # the token that replaces it
    OTHER_SEGMENT = 3  # the row that a second segment comes from if it does not follow
    SEGMENT_FOLLOWS = 4  # whether the second segment follows the first

    # Causal language modelling
    PREFIX_LENGTH = 1  # tokens of the bidirectional prefix of a prefix LM

    # Denoising of a source and a target
    CORRUPTED_SPANS = 1  # lengths and positions of the spans; where a prefix ends
    SENTENCE_ORDER = 2  # the permutation of a text's sentences

    # Sampling: the epoch is 0, the row the number of the text
    SAMPLE_CONTINUATION = 1  # tokens of a decoder-only model
    SAMPLE_TARGET = 2  # tokens of an encoder-decoder

    # Images
    AUGMENTATION = 41  # the seed of Keras' augmentation layers, one a batch
    MASKED_PATCHES = 42  # scores of the patches: the highest are masked

    # Order of the data, with any objective
    LENGTH_BATCH_ORDER = 254  # batches of similar lengths, and rows within each length bucket
    ROW_ORDER = 255  # rows of an epoch


def uniform(
    seed: Any, stream: int, epoch: tf.Tensor, row: tf.Tensor, columns: int | tf.Tensor
) -> tf.Tensor:
    """Return numbers in [0, 1), (b, columns), that depend on nothing but the arguments.

    Args:
        seed: of the run, an integer or () int64.
        stream: a `Stream`; not 0 where the first number is read, for it is 0 where all
            arguments are 0.
        epoch: (b,) int64.
        row: (b,) int64.
        columns: numbers a row; or which of them alone, (b, n) int32.
    """
    random = tf.bitwise.right_shift(bits(seed, stream, epoch, row, columns), 8)
    return tf.cast(random, tf.float32) * 2.0**-24


def bits(
    seed: Any, stream: int, epoch: tf.Tensor, row: tf.Tensor, columns: int | tf.Tensor
) -> tf.Tensor:
    """Return 32 random bits each, (b, columns) uint32; the arguments are those of `uniform`."""
    if isinstance(seed, int):  # nothing of it is left to a graph, which is the smaller
        key = tf.constant(_mix_integer(seed * 0x9E3779B9 + stream * 0x85EBCA6B), tf.uint32)
    else:
        base = tf.cast(tf.cast(seed, tf.int64) & 0xFFFFFFFF, tf.uint32) * 0x9E3779B9
        key = _mix(base + tf.constant(stream * 0x85EBCA6B % 2**32, tf.uint32))
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
