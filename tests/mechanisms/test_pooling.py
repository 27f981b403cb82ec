"""Softmax, dropout and pooling as one gives what the operations give one after the other."""

import keras
import numpy as np
import pytest

from tfattn import ways
from tfattn.mechanisms.dropout import dropped
from tfattn.mechanisms.masks import Causal, Everything, admissible
from tfattn.mechanisms.pooling import masked_softmax, pool, remembering, softmax_pool

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="islands are for TensorFlow"
)
SEED, RATE = np.array([3, 7, 0]), 0.25


def one_by_one(scores, allowed, value, seed):
    weights = masked_softmax(scores, allowed)
    weights = weights if seed is None else dropped(weights, seed, RATE)
    return pool(weights, value)


def as_one(scores, allowed, value, seed, mask=None):
    with ways.using(fused=True):
        return softmax_pool(scores, allowed, value, seed, RATE, mask)


def with_gradients(fn, scores, allowed, value, seed, dtype="float32"):
    import tensorflow as tf

    given = [tf.cast(scores, dtype), tf.cast(value, dtype)]
    with tf.GradientTape() as tape:
        tape.watch(given)
        made = fn(given[0], allowed, given[1], seed)
        loss = tf.reduce_sum(tf.sin(tf.cast(made, "float32")))
    found = tape.gradient(loss, given, unconnected_gradients="zero")  # the softmax of one is 1
    return [tf.cast(x, "float32").numpy() for x in (made, *found)]


def drawn(rng, t=6, s=9):
    return 3 * rng.normal(size=(2, 3, t, s)), rng.normal(size=(2, s, 3, 4))


@pytest.mark.parametrize("seed", [None, SEED], ids=["all", "dropped"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("s", [1, 9, 1500])  # sums of short and of long rows
def test_it_is_softmax_dropout_and_a_mean(s, masked, seed, rng, close):
    scores, value = drawn(rng, s=s)
    allowed = None
    if masked:
        allowed = rng.random((2, 1, 6, s)) < 0.5
        allowed[0, 0, 2] = False  # a query that may see nothing
    ours = with_gradients(as_one, scores, allowed, value, seed)
    for found, expected in zip(
        ours, with_gradients(one_by_one, scores, allowed, value, seed), strict=True
    ):
        assert np.isfinite(found).all()
        close(found, expected)
    if masked:
        assert not ours[0][0, 2].any() and not ours[1][0, :, 2].any()


@pytest.mark.parametrize("mask", [Everything(), Causal()], ids=str)
def test_what_is_allowed_may_be_made_by_the_way(mask, rng, close):
    scores, value = drawn(rng)
    places, segments = np.arange(9, dtype="int32")[None].repeat(2, 0), np.ones((2, 9), "int32")
    segments[1, :4], segments[1, 7:] = 0, 2
    sides = (places[:, :6], places, segments[:, :6], segments)

    def by_the_way(scores, allowed, value, seed):
        return as_one(scores, sides, value, seed, mask)

    ours = with_gradients(by_the_way, scores, None, value, SEED)
    theirs = with_gradients(as_one, scores, admissible(mask, *sides), value, SEED)
    for found, expected in zip(ours, theirs, strict=True):
        close(found, expected)
    assert not ours[0][1, :4].any() and ours[0][1, 4:].all()  # padding


def test_large_scores_are_no_trouble(rng, close):
    scores, value = drawn(rng)
    for far in (1e4, -1e4):
        allowed = np.ones((1, 1, 6, 9), bool)
        allowed[..., 4:] = False
        ours = with_gradients(as_one, scores + far, allowed, value, None)
        theirs = with_gradients(one_by_one, scores + far, allowed, value, None)
        for found, expected in zip(ours, theirs, strict=True):
            close(found, expected)


def test_in_bfloat16_it_is_as_exact_as_one_by_one(rng):
    scores, value = drawn(rng, 64, 64)
    exact = with_gradients(one_by_one, scores, None, value, None)
    ours = with_gradients(as_one, scores, None, value, None, "bfloat16")
    theirs = with_gradients(one_by_one, scores, None, value, None, "bfloat16")
    for true, found, other in zip(exact, ours, theirs, strict=True):
        assert 0 < np.abs(found - true).mean() <= 1.1 * np.abs(other - true).mean()


def test_what_is_remembered_is_not_made_again(rng, close):
    scores, value = drawn(rng)
    with remembering(None) as kept:
        made = with_gradients(as_one, scores, None, value, None)
    (norm,) = kept
    assert tuple(norm.shape) == (2, 6, 3, 2)
    with remembering([made[0] + 1, norm]):
        again = with_gradients(as_one, scores, None, value, None)
    close(again[0], made[0] + 1)  # what was given
    with remembering([made[0], norm]):
        again = with_gradients(as_one, scores, None, value, None)
    for found, expected in zip(again, made, strict=True):
        close(found, expected)
