"""A loop over steps that has a gradient everywhere.

keras.ops.scan has none under XLA with TensorFlow, whose loops are then to say how often they run at
most.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfattn.backend.which import on_tensorflow


def scan(
    step: Callable[..., Any],
    start: tuple[Any, ...],
    given: tuple[Any, ...],
    made: Sequence[Any],
    reverse: bool = False,
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return what is carried after the last step, and what all steps gave, stacked.

    Args:
        step: `step(carried, now) -> (carried, made)`, all flat tuples of tensors; shapes and types
            of what is carried stay.
        start: carried into the first step.
        given: tensors (n, ...), of which step i reads the i-th.
        made: type of each tensor that a step makes.
        reverse: whether the last is read first. What is made stands where its input does.
    """
    if not on_tensorflow():
        return keras.ops.scan(step, start, given, reverse=reverse)
    import tensorflow as tf

    start = tuple(tf.convert_to_tensor(x) for x in start)
    count = given[0].shape[0]
    count = tf.shape(given[0])[0] if count is None else count
    read = [
        tf.TensorArray(x.dtype, size=count, element_shape=x.shape[1:]).unstack(x) for x in given
    ]
    arrays = tuple(tf.TensorArray(dtype, size=count) for dtype in made)

    def body(i, carried, arrays):
        place = count - 1 - i if reverse else i
        new, own = step(carried, tuple(array.read(place) for array in read))
        for now, before in zip(new, carried, strict=True):
            now.set_shape(before.shape)
        return i + 1, new, tuple(a.write(place, x) for a, x in zip(arrays, own, strict=True))

    _, carried, arrays = tf.while_loop(
        lambda i, *_: i < count, body, (0, start, arrays), maximum_iterations=count
    )
    return carried, tuple(array.stack() for array in arrays)
