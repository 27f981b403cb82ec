"""What depends on the backend: the only file of the package that may name one.

`scan` is a loop over steps that has a gradient everywhere. keras.ops.scan has none under XLA with
TensorFlow, whose loops are then to say how often they run at most.

`island(fn)` marks an elementwise stretch (softmax, bias + GELU, residual + norm). TensorFlow's
graph mode runs every operation of such a stretch on its own, each one a pass over memory, while
XLA on a CPU fuses the stretch but loses oneDNN's matrix products. Inside `fusing()` an island is
compiled alone by XLA, with its gradient recomputed instead of stored; everywhere else, and on other
backends, it is `fn` itself.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras

_fusing = contextvars.ContextVar("fusing", default=False)


@contextlib.contextmanager
def fusing(enabled: bool = True) -> Iterator[None]:
    """Compile islands while a step is traced in this block."""
    token = _fusing.set(enabled)
    try:
        yield
    finally:
        _fusing.reset(token)


def island(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return `fn`, compiled alone by XLA when it is called inside `fusing()`.

    Args:
        fn: written in keras.ops, from tensors, numbers or None to one tensor. Integer and boolean
            tensors have no gradient, nor do numbers, each of which is compiled in.
    """
    if keras.backend.backend() != "tensorflow":
        return fn

    @functools.wraps(fn)
    def call(*args: Any) -> Any:
        return _compiled(fn)(*args) if _fusing.get() else fn(*args)

    return call


def compiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return `fn`, compiled alone by XLA when it is called inside `fusing()`, without a gradient.

    Args:
        fn: written in keras.ops, from tensors to tensors.
    """
    if keras.backend.backend() != "tensorflow":
        return fn

    @functools.wraps(fn)
    def call(*args: Any) -> Any:
        return _alone(fn)(*args) if _fusing.get() else fn(*args)

    return call


@functools.cache
def _alone(fn: Callable[..., Any]) -> Callable[..., Any]:
    import tensorflow as tf

    return tf.function(fn, jit_compile=True, autograph=False)


@functools.cache
def _compiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    import tensorflow as tf

    forward = _alone(fn)

    @tf.function(jit_compile=True, autograph=False)
    def backward(args, upstream):
        floats = [a for a in args if tf.is_tensor(a) and a.dtype.is_floating]
        with tf.GradientTape() as tape:
            tape.watch(floats)
            result = fn(*args)
        return tape.gradient(
            result,
            floats,
            output_gradients=upstream,
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )

    def call(*args):
        # custom_gradient takes tensors alone, so that None and numbers are bound from outside.
        bound = [a is None or isinstance(a, (bool, int, float)) for a in args]

        def every(tensors):
            tensors = iter(tensors)
            return [a if known else next(tensors) for a, known in zip(args, bound, strict=True)]

        @tf.custom_gradient
        def differentiable(*tensors):
            def gradient(upstream):
                found = iter(backward(every(tensors), upstream))
                return [next(found) if t.dtype.is_floating else None for t in tensors]

            return forward(*every(tensors)), gradient

        given = [a for a, known in zip(args, bound, strict=True) if not known]
        return differentiable(*map(tf.convert_to_tensor, given))

    return call


def scan(
    step: Callable[..., Any],
    start: tuple[Any, ...],
    given: tuple[Any, ...],
    made: int,
    reverse: bool = False,
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return what is carried after the last step, and what all steps gave, stacked.

    Args:
        step: `step(carried, now) -> (carried, made)`, all flat tuples of tensors; shapes and types
            of what is carried stay, and what is made is of the type of the first of it.
        start: carried into the first step.
        given: tensors (n, ...), of which step i reads the i-th.
        made: how many tensors a step makes.
        reverse: whether the last is read first. What is made stands where its input does.
    """
    if keras.backend.backend() != "tensorflow":
        return keras.ops.scan(step, start, given, reverse=reverse)
    import tensorflow as tf

    start = tuple(tf.convert_to_tensor(x) for x in start)
    count = given[0].shape[0]
    count = tf.shape(given[0])[0] if count is None else count
    read = [
        tf.TensorArray(x.dtype, size=count, element_shape=x.shape[1:]).unstack(x) for x in given
    ]
    arrays = tuple(tf.TensorArray(start[0].dtype, size=count) for _ in range(made))

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
