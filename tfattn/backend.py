"""What depends on the backend: the only file of the package that may name one.

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
            arguments have no gradient.
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
        floats = [a for a in args if a is not None and a.dtype.is_floating]
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
        # custom_gradient takes tensors alone, so that None arguments are bound from outside.
        present = [a is not None for a in args]

        def every(tensors):
            tensors = iter(tensors)
            return [next(tensors) if there else None for there in present]

        @tf.custom_gradient
        def differentiable(*tensors):
            def gradient(upstream):
                found = iter(backward(every(tensors), upstream))
                return [next(found) if t.dtype.is_floating else None for t in tensors]

            return forward(*every(tensors)), gradient

        return differentiable(*[tf.convert_to_tensor(a) for a in args if a is not None])

    return call
