"""Gradients of our own making, and what is computed again for them.

`recomputed(fn)` trades time for memory: it stores nothing for its gradient.
"""

import contextvars
import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfattn.backend.which import on_tensorflow

Tensor = Any


def recomputed(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return `fn`, whose gradient computes it again in place of all that it would store.

    Args:
        fn: from tensors, numbers or None to one tensor or a list of them. All that it has a
            gradient for is among its arguments, and what takes longest hangs on the first.
    """
    if on_tensorflow():
        later = functools.partial(_later, fn)
        return lambda *args: differentiable(fn, later, args)

    def call(*args):
        tensors, every = bound(args)
        return keras.remat(lambda *tensors: fn(*every(tensors)))(*tensors)

    return call


def after(x: Tensor, y: Tensor) -> Tensor:
    """Return `x`, there no sooner than `y`; in gradients `y` comes after `x`.

    TensorFlow's graph mode computes all that it can at once. What hangs on `x` and what led to `y`
    are so computed one after the other, and hold memory one at a time. XLA, which decides on an
    order by the memory that it takes, sees `x` alone.
    """
    if not on_tensorflow():
        return x
    import tensorflow as tf

    def forward(x, y):
        with tf.control_dependencies([y]):
            return tf.identity(x)

    def backward(args, made, upstream):
        with tf.control_dependencies([upstream]):
            return upstream, tf.zeros_like(args[1])

    return differentiable(forward, backward, (x, y))


def differentiable(
    forward: Callable[..., Any], backward: Callable[..., Sequence[Any]], args: Sequence[Any]
) -> Any:
    """Return what `forward` makes of `args`, with a gradient of our own; on TensorFlow alone.

    Of that gradient no other is taken: it has first derivatives only.

    Args:
        forward: from `args` to a tensor, or a list of them.
        backward: `backward(args, made, upstream)`, from all that was made and what comes for it, of
            the same structure, to the gradients of the floats among `args`.
        args: tensors, numbers or None; all that there is a gradient for.
    """
    import tensorflow as tf

    # custom_gradient takes tensors alone, so that None and numbers are bound from outside.
    tensors, every = bound(args)
    context = contextvars.copy_context()  # with the ways of now

    @tf.custom_gradient
    def call(*tensors):
        made = forward(*every(tensors))

        def gradient(*upstream):
            alike = list(upstream) if isinstance(made, (list, tuple)) else upstream[0]
            found = iter(context.run(backward, every(tensors), made, alike))
            return [next(found) if t.dtype.is_floating else None for t in tensors]

        return made, gradient

    return call(*map(tf.convert_to_tensor, tensors))  # no variables


def gradients(fn, args, upstream):
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


def _later(fn, args, made, upstream):
    """Return the gradients of `fn`, which is run again when `upstream` is there.

    Compilers would take what is computed again for what was computed before, and store that. XLA
    knows no order but that of data: hence a sum with what is 0, unless all is NaN anyway.
    """
    import tensorflow as tf

    first = next(u for u in tf.nest.flatten(upstream) if u.dtype.is_floating)
    some = tf.reduce_max(tf.reshape(first, [-1])[:1])
    nothing = tf.where(some == some, tf.zeros_like(some), float("nan"))
    return gradients(fn, [args[0] + tf.cast(nothing, args[0].dtype), *args[1:]], upstream)


def bound(args):
    """Return the tensors among arguments, and a function that puts the others beside them."""
    known = [a is None or isinstance(a, (bool, int, float)) for a in args]

    def every(tensors):
        tensors = iter(tensors)
        return [a if is_known else next(tensors) for a, is_known in zip(args, known, strict=True)]

    given = [a for a, is_known in zip(args, known, strict=True) if not is_known]
    return [keras.ops.convert_to_tensor(a) for a in given], every
