"""One layer of our multi-head attention, by one of its engines."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from benchmarks.contestants.attention_keras import step
from benchmarks.work import Looking
from tfattn import ways
from tfattn.mechanisms.multihead import MultiHeadAttention


def contestant(length: int, way: str, precision: str = "float32") -> Callable[[], Any]:
    """Return a function that goes forward and backward once."""
    work = Looking(length)
    layer = MultiHeadAttention(work.dim, work.heads, dtype=precision)
    layer.build()
    segments = tf.ones((1, length), "int32")  # as in training, of texts that may end early

    def call(x):
        with ways.using(attention=way, fused=True):
            return layer(x, segments=segments, training=True)

    return step(call, layer, work, False)
