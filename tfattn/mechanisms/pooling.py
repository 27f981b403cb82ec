"""Means of values by weights, and the softmax that makes these (D2L sections 11.2 and 11.3)."""

import functools
from typing import Any

import keras
from keras import ops

from tfattn import backend
from tfattn.mechanisms.dropout import dropped
from tfattn.mechanisms.scores import fold, is_split

Tensor = Any


def masked_softmax(scores: Tensor, allowed: Tensor | None) -> Tensor:
    """Softmax over the last axis where `allowed`, zero elsewhere.

    A row in which nothing is allowed gives zeros, not NaN. Sums are taken in float32.
    """
    return ops.cast(_wide_softmax(scores, allowed), scores.dtype)


def pool(weights: Tensor, value: Tensor) -> Tensor:
    """Return the means (b, t, h, e) of values (b, s, h, e) by weights (b, h, t, s)."""
    if is_split():
        return ops.einsum("bhts,bshe->bthe", weights, value)
    heads, t, s = weights.shape[1], *ops.shape(weights)[2:]
    pooled = ops.matmul(ops.reshape(weights, (-1, t, s)), fold(value))  # (b h, t, e)
    return _unfold(pooled, heads)


def softmax_pool(
    scores: Tensor, allowed: Tensor | None, value: Tensor, seed: Tensor | None, rate: float
) -> Tensor:
    """Return `pool(dropout(masked_softmax(scores)), value)`, for where islands are compiled.

    Of the scores alone is kept: the gradient makes the weights w again, and in the same pass over
    memory, with u what comes for them, the gradient w (u - sum_s w_s u_s) of the scores.

    Args:
        scores: (b, h, t, s).
        allowed: what the softmax is over, broadcasts to (b, h, t, s); None = everything.
        value: (b, s, h, e).
        seed: of the dropout of weights; None = nothing is dropped.
        rate: share that is.
    """
    rate = 0.0 if seed is None else rate

    def forward(scores, allowed, value, seed):
        weights = _weights(rate)(scores, allowed, seed)
        return ops.matmul(_flat(weights), value), None

    def backward(args, kept, upstream):
        scores, allowed, value, seed = args
        by_weights = ops.matmul(upstream, ops.transpose(value, (0, 2, 1)))
        by_weights = ops.reshape(by_weights, ops.shape(scores))
        weights, by_scores = _weights_and_gradient(rate)(scores, allowed, seed, by_weights)
        return [by_scores, ops.matmul(ops.transpose(_flat(weights), (0, 2, 1)), upstream)]

    given = (ops.cast(scores, value.dtype), allowed, fold(value), seed)
    return _unfold(backend.differentiable(forward, backward, given), scores.shape[1])


@functools.cache
def _weights(rate):
    """Return what makes the weights (b, h, t, s), dropped by a share."""

    def softmax(scores, allowed, seed):
        weights = _wide_softmax(scores, allowed)
        return ops.cast(dropped(weights, seed, rate) if rate else weights, scores.dtype)

    return backend.compiled(softmax)


@functools.cache
def _weights_and_gradient(rate):
    """Return what makes of scores, and of what comes for the weights, both of what is needed."""

    def softmax_gradient(scores, allowed, seed, upstream):
        weights, upstream = _wide_softmax(scores, allowed), ops.cast(upstream, "float32")
        upstream = dropped(upstream, seed, rate) if rate else upstream
        by_scores = weights * (upstream - backend.row_sums(weights * upstream))
        weights = dropped(weights, seed, rate) if rate else weights
        return ops.cast(weights, scores.dtype), ops.cast(by_scores, scores.dtype)

    return backend.compiled(softmax_gradient)


def _wide_softmax(scores, allowed):
    """Return the masked softmax in float32 at least."""
    scores = ops.cast(scores, keras.backend.result_type(scores.dtype, "float32"))
    if allowed is None:
        return _softmax(scores)
    # A large finite number rather than -inf: -inf minus the row's maximum of -inf is NaN. It is
    # added, for the mask is the same for all heads and has no gradient.
    weights = _softmax(scores + ops.where(allowed, 0.0, -1e30))
    some = ops.any(allowed, axis=-1, keepdims=True)
    return weights * ops.cast(some, weights.dtype)


def _softmax(x):
    if backend.is_fused():
        powers = ops.exp(x - ops.max(x, axis=-1, keepdims=True))
        return powers / backend.row_sums(powers)
    return ops.ones_like(x) if x.shape[-1] == 1 else ops.softmax(x)  # Keras warns of one key


def _flat(weights):
    """Return (b, h, t, s) as (b h, t, s)."""
    return ops.reshape(weights, (-1, *ops.shape(weights)[2:]))


def _unfold(pooled, heads):
    """Return (b h, t, e) as (b, t, h, e)."""
    apart = ops.reshape(pooled, (-1, heads, *ops.shape(pooled)[1:]))
    return ops.transpose(apart, (0, 2, 1, 3))
