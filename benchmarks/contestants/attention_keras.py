"""One layer of Keras' multi-head attention."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from benchmarks.work import Looking


def contestant(length: int, xla: bool = False, precision: str = "float32") -> Callable[[], Any]:
    """Return a function that goes forward and backward once."""
    work = Looking(length)
    layer = keras.layers.MultiHeadAttention(work.heads, work.width, dtype=precision)
    layer.build(work.hidden().shape, work.hidden().shape)
    return step(lambda x: layer(x, x, training=True), layer, work, xla)


def step(call: Callable[[Any], Any], layer: Any, work: Looking, xla: bool) -> Callable[[], Any]:
    """Return what takes the gradients of the input and of all weights once."""
    x = tf.constant(work.hidden())

    @tf.function(autograph=False, jit_compile=xla)
    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.cast(call(x), tf.float32) ** 2)
        return tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])

    return lambda: [g.numpy() for g in gradients(x)]
