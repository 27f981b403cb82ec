"""Custom gradients, among them that of rematerialisation (activation checkpointing).

`recomputed(fn)` trades time for memory: it stores nothing for its gradient.
"""

import contextvars
import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfattn.backend.which import on_tensorflow
from tfattn.types import Tensor


def recomputed(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return `fn`, whose gradient computes it again in place of all that it would store.

    Args:
        fn: from tensors, numbers or None to one tensor or a list of them. All that it has a
            gradient for is among its arguments, and what takes longest depends on the first.
    """
    if on_tensorflow():
        backward = functools.partial(_recompute_gradients, fn)
        return lambda *args: differentiable(fn, backward, args)

    def call(*args):
        tensors, restore = separate_tensors(args)
        return keras.remat(lambda *tensors: fn(*restore(tensors)))(*tensors)

    return call


def control_dependency(x: Tensor, y: Tensor) -> Tensor:
    """Return `x`, computed no sooner than `y`; in gradients `y` comes after `x`.

    TensorFlow's graph mode computes all that it can at once. What depends on `x` and what led to
    `y` are so computed one after the other, and hold memory one at a time. XLA, which chooses an
    order by the memory that it takes, sees `x` alone.
    """
    if not on_tensorflow():
        return x
    import tensorflow as tf

    def forward(x, y):
        with tf.control_dependencies([y]):
            return tf.identity(x)

    def backward(args, results, upstream):
        with tf.control_dependencies([upstream]):
            return upstream, tf.zeros_like(args[1])

    return differentiable(forward, backward, (x, y))


def differentiable(
    forward: Callable[..., Any], backward: Callable[..., Sequence[Any]], args: Sequence[Any]
) -> Any:
    """Return `forward(*args)` with a custom gradient; on TensorFlow alone.

    It has first derivatives only: that gradient is not differentiable.

    Args:
        forward: from `args` to a tensor, or a list of them.
        backward: `backward(args, results, upstream)`, from the results and their upstream
            gradients, of the same structure, to the gradients of the floats among `args`.
        args: tensors, numbers or None; all that there is a gradient for.
    """
    import tensorflow as tf

    # custom_gradient takes tensors alone, so that None and numbers are bound from outside.
    tensors, restore = separate_tensors(args)
    context = contextvars.copy_context()  # with the execution options of the forward pass

    @tf.custom_gradient
    def call(*tensors):
        results = forward(*restore(tensors))

        def gradient(*upstream):
            alike = list(upstream) if isinstance(results, (list, tuple)) else upstream[0]
            found = iter(context.run(backward, restore(tensors), results, alike))
            return [next(found) if t.dtype.is_floating else None for t in tensors]

        return results, gradient

    return call(*map(tf.convert_to_tensor, tensors))  # no variables


def gradients(fn: Callable[..., Any], args: Sequence[Any], upstream: Any) -> list[Tensor]:
    """Return the gradients of `fn` by the floats among `args`, from those of its results."""
    import tensorflow as tf

    floats = [a for a in args if tf.is_tensor(a) and a.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch(floats)
        results = tf.nest.flatten(fn(*args))
    has_gradient = [i for i, r in enumerate(results) if r.dtype.is_floating]
    upstream = tf.nest.flatten(upstream)
    return tape.gradient(
        [results[i] for i in has_gradient],
        floats,
        output_gradients=[upstream[i] for i in has_gradient],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )


def _recompute_gradients(
    fn: Callable[..., Any], args: Sequence[Any], results: Any, upstream: Any
) -> list[Tensor]:
    """Return the gradients of `fn`, which is run again no sooner than `upstream` is computed.

    Compilers would merge what is recomputed with what was computed before, and store that. XLA
    orders operations by their data alone: hence the zero that is made of `upstream` and added to
    the first argument, of which `fn` computes what takes longest. The zero is NaN only where the
    gradient is. Tested by tests/test_backend.py::test_what_is_recomputed_has_the_same_gradient.
    """
    import tensorflow as tf

    first = next(u for u in tf.nest.flatten(upstream) if u.dtype.is_floating)
    some = tf.reduce_max(tf.reshape(first, [-1])[:1])
    zero = tf.where(some == some, tf.zeros_like(some), float("nan"))
    return gradients(fn, [args[0] + tf.cast(zero, args[0].dtype), *args[1:]], upstream)


def separate_tensors(
    args: Sequence[Any],
) -> tuple[list[Tensor], Callable[[Sequence[Tensor]], list[Any]]]:
    """Return the tensors among arguments, and a function that restores the others around them."""
    is_constant = [a is None or isinstance(a, (bool, int, float)) for a in args]

    def restore(tensors):
        tensors = iter(tensors)
        return [a if is_c else next(tensors) for a, is_c in zip(args, is_constant, strict=True)]

    tensors = [a for a, is_c in zip(args, is_constant, strict=True) if not is_c]
    return [keras.ops.convert_to_tensor(a) for a in tensors], restore
