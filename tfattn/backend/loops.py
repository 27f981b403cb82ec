"""Loops that have a gradient everywhere.

`scan` is one over steps. keras.ops.scan has no gradient under XLA with TensorFlow, whose loops are
then to say how often they run at most. `by_blocks` is one over blocks of places: it and its
gradient hold what the result is made of one block at a time, but for what is asked to be kept.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from tfattn.backend.gradients import bound, differentiable, gradients
from tfattn.backend.which import on_tensorflow

Tensor = Any


def by_blocks(
    fn: Callable[..., tuple[Tensor, Sequence[Tensor]]],
    parts: Sequence[Any],
    whole: Sequence[Any],
    size: int,
    kept: Sequence[str] = (),
) -> Tensor:
    """Return `fn` of blocks of the second axis, one after the other, joined along it.

    Its gradient makes each block again, so that both hold the making of one block at a time.

    Args:
        fn: `fn(index, parts, whole, known)`, from the number of a block, its share of the parts,
            and all of the rest to (b, size, ...) of the type of the first part, and to what is kept
            of its making, (b, size, ...) each. When it is made again, both are `known`; else None.
        parts: tensors (b or 1, t, ...) or None, the first with all of b. Places behind the last
            are 0, and what is made of them is left out.
        whole: tensors, numbers or None, of any shape.
        size: places of a block.
        kept: types of what is kept, on TensorFlow; elsewhere nothing is.
    """
    tensors, every = bound([*parts, *whole])
    cut = sum(part is not None for part in parts)  # the first so many tensors
    length = ops.shape(tensors[0])[1]
    count = -(-length // size)

    def block(index, tensors, known=None):
        args = every(tensors)
        return fn(index, args[: len(parts)], args[len(parts) :], known)

    def padded(part):
        rest = [(0, 0)] * (len(part.shape) - 2)
        return ops.pad(part, [(0, 0), (0, count * size - length), *rest])

    given = [*map(padded, tensors[:cut]), *tensors[cut:]]
    if on_tensorflow():
        made: Any = _loop_tensorflow(block, given, cut, count, size, kept)
    else:
        made = _loop(lambda *args: block(*args)[0], given, cut, count, size)
    return made[:, :length]


def _loop(block, tensors, cut, count, size):
    """Run the loop of by_blocks where loops have gradients, and these may recompute."""

    def split(x):  # (n, b, size, ...)
        return ops.moveaxis(ops.reshape(x, (x.shape[0], count, size, *x.shape[2:])), 1, 0)

    step = keras.remat(lambda index, *parts: block(index, [*parts, *tensors[cut:]]))
    made = ops.map(lambda xs: step(*xs), (ops.arange(count), *map(split, tensors[:cut])))
    return ops.reshape(ops.moveaxis(made, 0, 1), (made.shape[1], count * size, *made.shape[3:]))


def _loop_tensorflow(block, tensors, cut, count, size, kept_types):
    """Run the loop of by_blocks with a loop of its own for its gradient.

    That of a loop of TensorFlow's would store every block.
    """
    import tensorflow as tf

    def at(i, x):
        rest = [0] * (len(x.shape) - 2)
        cut = tf.slice(x, [0, i * size, *rest], [-1, size, *[-1] * len(rest)])
        return tf.ensure_shape(cut, (x.shape[0], size, *x.shape[2:]))

    def blocks(i, tensors):
        return [*(at(i, x) for x in tensors[:cut]), *tensors[cut:]]

    def joined(array):
        x = tf.experimental.numpy.moveaxis(array.stack(), 0, 1)  # (b, n, size, ...)
        return tf.reshape(x, (*ops.shape(x)[:1], count * size, *x.shape[3:]))

    def run(body, *start):
        once = {"maximum_iterations": count, "parallel_iterations": 1}  # more would hold more
        return tf.while_loop(lambda i, *_: i < count, body, (0, *start), **once)[1:]

    def forward(*tensors):
        def body(i, *arrays):
            result, kept = block(i, blocks(i, tensors))
            return i + 1, *(a.write(i, x) for a, x in zip(arrays, [result, *kept], strict=True))

        types = (tensors[0].dtype, *kept_types)
        return [joined(x) for x in run(body, *(tf.TensorArray(t, size=count) for t in types))]

    def backward(tensors, made, upstream):
        floats = [x for x in tensors if x.dtype.is_floating]
        split = sum(x.dtype.is_floating for x in tensors[:cut])

        def body(i, arrays, sums):
            known = [at(i, x) for x in made]
            again = lambda *args: block(i, args, known)[0]  # noqa: E731
            found = gradients(again, blocks(i, tensors), at(i, upstream[0]))
            arrays = [a.write(i, g) for a, g in zip(arrays, found[:split], strict=True)]
            sums = [
                s + tf.cast(tf.convert_to_tensor(g), s.dtype)
                for s, g in zip(sums, found[split:], strict=True)
            ]
            return i + 1, arrays, sums

        arrays = [tf.TensorArray(x.dtype, size=count) for x in floats[:split]]
        sums = [tf.zeros(tf.shape(x)) for x in floats[split:]]
        arrays, sums = run(body, arrays, sums)
        whole = [tf.cast(s, x.dtype) for s, x in zip(sums, floats[split:], strict=True)]
        return [*map(joined, arrays), *whole]

    return differentiable(forward, backward, tensors)[0]


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
