"""Stretches of elementwise operations that are compiled alone.

`island(fn)` marks such a stretch (softmax, bias + GELU, residual + norm). TensorFlow's
graph mode runs every operation of it on its own, each one a pass over memory, while
XLA on a CPU fuses the stretch but loses oneDNN's matrix products. Under `using(fused=True)` an
island is compiled alone by XLA, with its gradient recomputed instead of stored; everywhere else,
and on other backends, it is `fn` itself.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

from keras import ops

from tfattn import ways
from tfattn.backend.gradients import differentiable, gradients
from tfattn.backend.which import on_tensorflow
from tfattn.types import Tensor

# YNNPACK, to which XLA gives small products, is set up when a program first runs, by code that two
# threads must not be in at once (TensorFlow 2.21: YnnFusionThunk; seen once, the process dies). Two
# threads may be, most of all where rows of a batch are in lanes. Steps take as long without it.
RACES, WITHOUT_YNNPACK = "2.21.", "--xla_cpu_experimental_ynn_fusion_type="


def island(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return `fn`, compiled alone by XLA when it is called under `using(fused=True)`.

    Args:
        fn: written in keras.ops, from tensors, numbers or None to one tensor. Integer and boolean
            tensors have no gradient, nor do numbers, each of which is compiled in.
    """
    return _instead(fn, _compiled)


def compiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return `fn`, compiled alone by XLA as an island is, without a gradient.

    Args:
        fn: written in keras.ops, from tensors to tensors.
    """
    return _instead(fn, _alone)


def _instead(fn, made):
    """Return a function that is `made(fn)` where islands are compiled, and `fn` elsewhere."""
    if not on_tensorflow():
        return fn

    @functools.wraps(fn)
    def call(*args):
        return made(fn)(*args) if is_fused() else fn(*args)

    return call


@functools.cache
def _alone(fn: Callable[..., Any]) -> Callable[..., Any]:
    import tensorflow as tf

    flags = os.environ.get("XLA_FLAGS", "")  # which are read when the first program is compiled
    if tf.__version__.startswith(RACES) and "ynn_fusion" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {WITHOUT_YNNPACK}".strip()
    return tf.function(fn, jit_compile=True, autograph=False)


@functools.cache
def _compiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    import tensorflow as tf

    def backward(args, made, upstream):
        return gradients(fn, args, upstream)

    backward.__name__ = f"{fn.__name__}_gradient"  # in a profile
    backward = tf.function(backward, jit_compile=True, autograph=False)
    return lambda *args: differentiable(_alone(fn), backward, args)


def is_fused() -> bool:
    """Return whether islands are compiled, which is for CPUs: what is in one is to suit them."""
    return on_tensorflow() and ways.current().fused


def with_rank(x: Tensor, rank: int) -> Tensor:
    """Return `x`, of which TensorFlow knows the rank from here on.

    Where lengths are unknown it may forget the rank of what a compiled function returns.
    """
    if on_tensorflow() and getattr(x, "shape", None) is not None and x.shape.rank is None:
        x.set_shape([None] * rank)
    return x


def row_sums(x: Any) -> Any:
    """Return the sums over the last axis, which stays.

    Where islands are compiled it is a product with ones, which XLA on a CPU does sooner: so the
    gradient of a norm of 4,160 rows of 192 took 1.5 ms, and 2.2 with sums. Elsewhere products may
    be less exact than sums.
    """
    width = x.shape[-1]
    if width is None or width > 1024 or not is_fused():
        return ops.sum(x, axis=-1, keepdims=True)
    sums = ops.matmul(ops.reshape(x, (-1, width)), ops.ones((width, 1), x.dtype))
    return ops.reshape(sums, (*ops.shape(x)[:-1], 1))


def column_sums(x: Any) -> Any:
    """Return the sums (d,) over all axes but the last, as a product like those of rows.

    In float32 if `x` is in float16, in which long sums would run over.
    """
    flat = ops.reshape(x, (-1, x.shape[-1]))
    if x.dtype == "float16":
        return ops.cast(column_sums(ops.cast(flat, "float32")), x.dtype)
    if not is_fused():
        return ops.sum(flat, axis=0)
    return ops.matmul(ops.ones((1, ops.shape(flat)[0]), x.dtype), flat)[0]
