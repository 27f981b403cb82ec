"""What depends on the backend: the only file of the package that may name one.

`scan` is a loop over steps that has a gradient everywhere. keras.ops.scan has none under XLA with
TensorFlow, whose loops are then to say how often they run at most.

`island(fn)` marks an elementwise stretch (softmax, bias + GELU, residual + norm). TensorFlow's
graph mode runs every operation of such a stretch on its own, each one a pass over memory, while
XLA on a CPU fuses the stretch but loses oneDNN's matrix products. Under `using(fused=True)` an
island is compiled alone by XLA, with its gradient recomputed instead of stored; everywhere else,
and on other backends, it is `fn` itself.

`recomputed(fn)` and `by_blocks(fn, ...)` trade time for memory: the one stores nothing for its
gradient, the other neither does nor holds more than one block of its result's making.
"""

import contextvars
import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from tfattn import ways
from tfattn.errors import InputError

Tensor = Any


def _on_tensorflow() -> bool:
    return keras.backend.backend() == "tensorflow"


def check_distribution() -> None:
    """Complain where keras.distribution takes layouts and does nothing with them.

    Raises:
        InputError: on TensorFlow.
    """
    if _on_tensorflow():
        raise InputError(
            "KERAS_BACKEND: expected jax, for with tensorflow keras.distribution splits nothing; "
            "there tf.distribute.MirroredStrategy splits the batch. Received: tensorflow."
        )


def island(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return `fn`, compiled alone by XLA when it is called under `using(fused=True)`.

    Args:
        fn: written in keras.ops, from tensors, numbers or None to one tensor. Integer and boolean
            tensors have no gradient, nor do numbers, each of which is compiled in.
    """
    if not _on_tensorflow():
        return fn

    @functools.wraps(fn)
    def call(*args: Any) -> Any:
        return _compiled(fn)(*args) if ways.current().fused else fn(*args)

    return call


def compiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return `fn`, compiled alone by XLA as an island is, without a gradient.

    Args:
        fn: written in keras.ops, from tensors to tensors.
    """
    if not _on_tensorflow():
        return fn

    @functools.wraps(fn)
    def call(*args: Any) -> Any:
        return _alone(fn)(*args) if ways.current().fused else fn(*args)

    return call


@functools.cache
def _alone(fn: Callable[..., Any]) -> Callable[..., Any]:
    import tensorflow as tf

    return tf.function(fn, jit_compile=True, autograph=False)


@functools.cache
def _compiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    import tensorflow as tf

    def backward(args, upstream):
        return _gradients(fn, args, upstream)

    backward.__name__ = f"{fn.__name__}_gradient"  # in a profile
    backward = tf.function(backward, jit_compile=True, autograph=False)
    return lambda *args: _differentiable(_alone(fn), backward, args)


def recomputed(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return `fn`, whose gradient computes it again in place of all that it would store.

    Args:
        fn: from tensors, numbers or None to one tensor or a list of them. All that it has a
            gradient for is among its arguments, and what takes longest hangs on the first.
    """
    if _on_tensorflow():
        return lambda *args: _differentiable(fn, functools.partial(_later, fn), args)

    def call(*args):
        tensors, every = _bound(args)
        return keras.remat(lambda *tensors: fn(*every(tensors)))(*tensors)

    return call


def by_blocks(
    fn: Callable[..., Tensor], parts: Sequence[Any], whole: Sequence[Any], size: int
) -> Tensor:
    """Return `fn` of blocks of the second axis, one after the other, joined along it.

    Its gradient computes each block again: neither holds more of the making than one block.

    Args:
        fn: `fn(index, parts, whole) -> (b, size, ...)` of the type of the first part: from the
            number of a block, its share of the parts, and all of the rest.
        parts: tensors (b or 1, t, ...) or None, the first with all of b. Places behind the last
            are 0, and what is made of them is left out.
        whole: tensors, numbers or None, of any shape.
        size: places of a block.
    """
    tensors, every = _bound([*parts, *whole])
    cut = sum(part is not None for part in parts)  # the first so many tensors
    length = ops.shape(tensors[0])[1]
    count = -(-length // size)

    def block(index, tensors):
        args = every(tensors)
        return fn(index, args[: len(parts)], args[len(parts) :])

    def padded(part):
        rest = [(0, 0)] * (len(part.shape) - 2)
        return ops.pad(part, [(0, 0), (0, count * size - length), *rest])

    loop = _loop_tensorflow if _on_tensorflow() else _loop
    made: Any = loop(block, [*map(padded, tensors[:cut]), *tensors[cut:]], cut, count, size)
    return made[:, :length]


def _bound(args):
    """Return the tensors among arguments, and a function that puts the others beside them."""
    known = [a is None or isinstance(a, (bool, int, float)) for a in args]

    def every(tensors):
        tensors = iter(tensors)
        return [a if is_known else next(tensors) for a, is_known in zip(args, known, strict=True)]

    given = [a for a, is_known in zip(args, known, strict=True) if not is_known]
    return [keras.ops.convert_to_tensor(a) for a in given], every


def _loop(block, tensors, cut, count, size):
    """Run the loop of by_blocks where loops have gradients, and these may recompute."""

    def split(x):  # (n, b, size, ...)
        return ops.moveaxis(ops.reshape(x, (x.shape[0], count, size, *x.shape[2:])), 1, 0)

    step = keras.remat(lambda index, *parts: block(index, [*parts, *tensors[cut:]]))
    made = ops.map(lambda xs: step(*xs), (ops.arange(count), *map(split, tensors[:cut])))
    return ops.reshape(ops.moveaxis(made, 0, 1), (made.shape[1], count * size, *made.shape[3:]))


def _loop_tensorflow(block, tensors, cut, count, size):
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
        def body(i, made):
            return i + 1, made.write(i, block(i, blocks(i, tensors)))

        return joined(*run(body, tf.TensorArray(tensors[0].dtype, size=count)))

    def backward(tensors, upstream):
        floats = [x for x in tensors if x.dtype.is_floating]
        split = sum(x.dtype.is_floating for x in tensors[:cut])

        def body(i, arrays, sums):
            found = _gradients(lambda *args: block(i, args), blocks(i, tensors), at(i, upstream))
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

    return _differentiable(forward, backward, tensors)


def _differentiable(forward, backward, args):
    """Return `forward(*args)`, whose gradient is `backward(args, upstream)`: that of its floats."""
    import tensorflow as tf

    # custom_gradient takes tensors alone, so that None and numbers are bound from outside.
    tensors, every = _bound(args)
    context = contextvars.copy_context()  # with the ways of now

    @tf.custom_gradient
    def differentiable(*tensors):
        def gradient(*upstream):
            one = upstream[0] if len(upstream) == 1 else list(upstream)
            found = iter(context.run(backward, every(tensors), one))
            return [next(found) if t.dtype.is_floating else None for t in tensors]

        return forward(*every(tensors)), gradient

    return differentiable(*tensors)


def _gradients(fn, args, upstream):
    """Return the gradients of the floats among `args` by what comes for the results of `fn`."""
    import tensorflow as tf

    floats = [a for a in args if tf.is_tensor(a) and a.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch(floats)
        results = tf.nest.flatten(fn(*args))
    kept = [i for i, r in enumerate(results) if r.dtype.is_floating]
    upstream = tf.nest.flatten(upstream)
    return tape.gradient(
        [results[i] for i in kept],
        floats,
        output_gradients=[upstream[i] for i in kept],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )


def _later(fn, args, upstream):
    """Return the gradients of `fn`, which is run again when `upstream` is there.

    Compilers would take what is computed again for what was computed before, and store that. XLA
    knows no order but that of data: hence a sum with what is 0, unless all is NaN anyway.
    """
    import tensorflow as tf

    first = next(u for u in tf.nest.flatten(upstream) if u.dtype.is_floating)
    some = tf.reduce_max(tf.reshape(first, [-1])[:1])
    nothing = tf.where(some == some, tf.zeros_like(some), float("nan"))
    return _gradients(fn, [args[0] + tf.cast(nothing, args[0].dtype), *args[1:]], upstream)


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
    if not _on_tensorflow():
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
