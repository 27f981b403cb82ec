"""Means of values by weights, and the softmax that makes these (D2L sections 11.2 and 11.3)."""

import contextlib
import contextvars
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from tfattn import backend
from tfattn.mechanisms.dropout import dropped
from tfattn.mechanisms.kernels import OUTSIDE
from tfattn.mechanisms.masks import Mask, admissible
from tfattn.mechanisms.scores import fold, is_split, unfold
from tfattn.types import Tensor

# Of one pooling what is known, where it is made again, and a list for what is kept of it.
_remembered: contextvars.ContextVar[Any] = contextvars.ContextVar("remembered", default=None)


def masked_softmax(scores: Tensor, allowed: Tensor | None) -> Tensor:
    """Softmax over the last axis where `allowed`, zero elsewhere.

    A row in which nothing is allowed gives zeros, not NaN. Sums are taken in float32.
    """
    softmax = ops.ones_like if scores.shape[-1] == 1 else ops.softmax  # Keras warns of one key
    weights = softmax(_masked(scores, allowed))
    if allowed is not None:
        weights = weights * ops.cast(ops.any(allowed, axis=-1, keepdims=True), weights.dtype)
    return ops.cast(weights, scores.dtype)


def pool(weights: Tensor, value: Tensor) -> Tensor:
    """Return the means (b, t, h, e) of values (b, s, h, e) by weights (b, h, t, s)."""
    if is_split():
        return ops.einsum("bhts,bshe->bthe", weights, value)
    return unfold(ops.matmul(_flat(weights), fold(value)), weights.shape[1])


def softmax_pool(
    scores: Tensor,
    allowed: Any,
    value: Tensor,
    seed: Tensor | None,
    rate: float,
    mask: Mask | None = None,
) -> Tensor:
    """Return `pool(dropout(masked_softmax(scores)), value)`, for where islands are compiled.

    Beside what is given the gradient reads what is pooled, and of each row the largest score m and
    l = log sum_s exp(score_s - m). The weights are exp(score - m - l), a pass over memory less than
    exp(score - m) / sum, and, u being what comes for the weights before dropout, the gradient by
    the scores is weight (u - sum_s weight_s u_s): that sum is the product of what is pooled and
    what comes for it (arXiv:2205.14135, appendix B.2).

    Args:
        scores: (b, h, t, s).
        allowed: what the softmax is over, broadcasts to (b, h, t, s); None = everything.
        value: (b, s, h, e).
        seed: of the dropout of weights; None = nothing is dropped.
        rate: share that is.
        mask: with it `allowed` is what `admissible` takes beside a mask, and is made by the way.
    """
    rate = 0.0 if seed is None else rate
    known, kept = _remembered.get() or (None, [])

    def forward(scores, value):
        if known is not None:
            pooled, norm = known
            return [fold(pooled), ops.transpose(norm, (0, 2, 1, 3))]
        made = _softmax(rate, value.dtype, mask)(scores, allowed, seed)
        weights, norm = (backend.with_rank(x, 4) for x in made)
        return [ops.matmul(_flat(weights), value), norm]

    def backward(args, made, upstream):
        (scores, value), by_pooled = args, upstream[0]
        by_weights = ops.matmul(by_pooled, ops.transpose(value, (0, 2, 1)))
        by_weights = ops.reshape(by_weights, ops.shape(scores))
        results = _softmax_gradient(rate, mask)(scores, allowed, seed, *made, by_pooled, by_weights)
        weights, by_scores = (backend.with_rank(x, 4) for x in results)
        return [by_scores, ops.matmul(ops.transpose(_flat(weights), (0, 2, 1)), by_pooled)]

    pooled, norm = backend.differentiable(forward, backward, (scores, fold(value)))
    kept.append(ops.transpose(norm, (0, 2, 1, 3)))  # (b, t, h, 2)
    return unfold(pooled, scores.shape[1])


@contextlib.contextmanager
def remembering(known: Sequence[Tensor] | None) -> Iterator[list[Tensor]]:
    """Collect what one `softmax_pool` keeps for its gradient beside its result, or give it both.

    A block of attention is made again for its gradient, but for what is known of it.

    Args:
        known: the result (b, t, h, e) and what was collected; None = it is made.
    """
    token = _remembered.set((known, kept := []))
    try:
        yield kept
    finally:
        _remembered.reset(token)


def remembered_types(dtype: str) -> tuple[str, ...]:
    """Return the types of what is collected of an attention that computes in `dtype`."""
    return (keras.backend.result_type(dtype, "float32"),) if backend.is_fused() else ()


@functools.cache
def _softmax(rate, dtype, mask):
    """Return what makes the weights (b, h, t, s), dropped by a share, and m and l (b, h, t, 2).

    With a mask what is allowed is made from what `admissible` takes beside one.
    """

    def softmax(scores, allowed, seed):
        scores = _masked(scores, _allowed(mask, allowed))
        largest = ops.max(scores, axis=-1, keepdims=True)
        powers = ops.exp(scores - largest)
        total = backend.row_sums(powers)
        share, log = 1 / total, ops.log(total)
        if allowed is not None:  # of a row without any all weights are 0
            is_any = largest > OUTSIDE / 2
            share, log = ops.where(is_any, share, 0.0), ops.where(is_any, log, -OUTSIDE)
        weights = powers * share
        weights = dropped(weights, seed, rate) if rate else weights
        return ops.cast(weights, dtype), ops.concatenate([largest, log], axis=-1)

    return backend.compiled(softmax)


@functools.cache
def _softmax_gradient(rate, mask):
    """Return what makes the weights again, and the gradient by the scores."""

    def softmax_gradient(scores, allowed, seed, pooled, norm, by_pooled, by_weights):
        largest, log = ops.split(norm, 2, axis=-1)
        weights = ops.exp(_masked(scores, _allowed(mask, allowed)) - largest - log)
        both = ops.cast(pooled, norm.dtype) * ops.cast(by_pooled, norm.dtype)
        mean = ops.reshape(backend.row_sums(both), ops.shape(log))
        dtype, by_weights = by_weights.dtype, ops.cast(by_weights, norm.dtype)
        by_weights = dropped(by_weights, seed, rate) if rate else by_weights
        by_scores = weights * (by_weights - mean)
        weights = dropped(weights, seed, rate) if rate else weights
        return ops.cast(weights, dtype), ops.cast(by_scores, scores.dtype)

    return backend.compiled(softmax_gradient)


def _allowed(mask, allowed):
    return allowed if mask is None or allowed is None else admissible(mask, *allowed)


def _masked(scores, allowed):
    """Return the scores in float32 at least, far below all others where they are not allowed.

    A large finite number rather than -inf: -inf minus the row's maximum of -inf is NaN. It is
    added, for the mask is the same for all heads and has no gradient.
    """
    scores = ops.cast(scores, keras.backend.result_type(scores.dtype, "float32"))
    if allowed is None:
        return scores
    return scores + ops.cast(ops.where(allowed, 0.0, OUTSIDE), scores.dtype)


def _flat(weights):
    """Return (b, h, t, s) as (b h, t, s)."""
    return ops.reshape(weights, (-1, *ops.shape(weights)[2:]))
