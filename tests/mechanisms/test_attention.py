import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tfattn.mechanisms.attention import Attention, attend, key_length_mask, straight_through
from tfattn.mechanisms.masks import Causal, Everything, Global, Window, admissible
from tfattn.mechanisms.pooling import masked_softmax


def reference(q, k, v, allowed, bias=None):
    """Attention pooling, one query of one head at a time; `allowed` is (b, t, s)."""
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, t, h in np.ndindex(*q.shape[:3]):
        score = k[b, :, h] @ q[b, t, h] / np.sqrt(q.shape[-1])
        if bias is not None:
            score = (
                score + np.broadcast_to(bias, (q.shape[0], q.shape[2], *allowed.shape[1:]))[b, h, t]
            )
        keys = np.flatnonzero(allowed[b, t])
        if len(keys):
            weights = np.exp(score[keys] - score[keys].max())
            out[b, t, h] = weights / weights.sum() @ v[b, keys, h]
    return out


def qkv(rng, b=2, t=4, s=5, h=3, e=8):
    normal = lambda length: rng.normal(size=(b, length, h, e)).astype("float32")  # noqa: E731
    return normal(t), normal(s), normal(s)


def everywhere(q, k):
    return np.ones((len(q), q.shape[1], k.shape[1]), bool)


def test_attention_is_the_weighted_mean_of_values(rng, close):
    q, k, v = qkv(rng)
    close(Attention()(q, k, v), reference(q, k, v, everywhere(q, k)))


def test_attention_with_a_mask(rng, close):
    q, k, v = qkv(rng, t=5)
    for mask in (Causal(), Window(1, 1), Causal() & Window(2, 0), Window(1, 0) | Global(1)):
        allowed = mask(np.arange(5)[:, None], np.arange(5)[None]) & everywhere(q, k)
        close(Attention(mask=mask)(q, k, v), reference(q, k, v, allowed))


def test_attention_with_a_bias(rng, close):
    q, k, v = qkv(rng)
    for shape in ((2, 3, 4, 5), (3, 1, 5), (1, 1, 4, 5)):
        bias = rng.normal(size=shape).astype("float32")
        close(Attention()(q, k, v, bias=bias), reference(q, k, v, everywhere(q, k), bias))


def test_attention_keeps_segments_apart_and_skips_padding(rng, close):
    q, k, v = qkv(rng)
    segments = np.array([[1, 1, 2, 0], [1, 2, 3, 4]])
    key_segments = np.array([[1, 2, 2, 0, 0], [4, 3, 2, 2, 0]])
    allowed = (segments[:, :, None] == key_segments[:, None]) & (key_segments[:, None] != 0)
    out = Attention()(q, k, v, segments=segments, key_segments=key_segments)
    close(out, reference(q, k, v, allowed))


def test_the_mask_reads_positions_not_columns(rng, close):
    q, k, v = qkv(rng, t=4, s=4)
    positions = np.array([[0, 1, 0, 1], [3, 2, 1, 0]])
    allowed = positions[:, None] <= positions[:, :, None]
    out = Attention(mask=Causal())(q, k, v, positions=positions, key_positions=positions)
    close(out, reference(q, k, v, allowed))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_row_without_admissible_keys_gives_exactly_zero(rng, array, close, dtype):
    q, k, v = (ops.cast(x, dtype) for x in qkv(rng, t=5))
    segments = np.array([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]])
    layer = Attention(mask=Causal(), dtype=dtype)
    out, weights = layer(q, k, v, segments=segments, key_segments=segments, return_weights=True)
    assert keras.backend.standardize_dtype(out.dtype) == dtype
    out, weights = array(out), array(weights)
    assert np.isfinite(out).all() and np.isfinite(weights).all()
    assert not out[0, 3:].any() and not out[1].any() and not weights[1].any()
    allowed = Causal()(np.arange(5)[:, None], np.arange(5)[None]) & (segments[:, None] != 0)
    allowed &= segments[:, :, None] != 0
    close(out, reference(array(q), array(k), array(v), allowed), dtype)


def test_huge_scores_stay_finite(rng, array):
    q, k, v = qkv(rng)
    for dtype in ("float32", "float16", "bfloat16"):
        large = [ops.cast(x, dtype) * 60 for x in (q, k)]
        out = Attention(dtype=dtype)(
            *large, ops.cast(v, dtype), key_segments=np.array([[1] * 5] * 2)
        )
        assert np.isfinite(array(out)).all(), dtype


def test_the_gradient_of_padding_is_zero_and_never_nan(rng, gradient):
    q, k, v = qkv(rng, t=5)
    segments = np.array([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]])
    layer = Attention()

    def pool(x):
        return layer(q, x, x, segments=segments, key_segments=segments) ** 2

    found = gradient(pool, k)
    assert np.isfinite(found).all() and found[0, :3].any()
    assert not found[0, 3:].any() and not found[1].any()


def test_weights_sum_to_one_and_give_the_same_output(rng, array, close):
    q, k, v = qkv(rng)
    pooled, weights = Attention()(q, k, v, return_weights=True)
    assert weights.shape == (2, 3, 4, 5)
    close(ops.sum(weights, axis=-1), np.ones((2, 3, 4)))
    close(np.einsum("bhts,bshe->bthe", array(weights), v), pooled)
    close(pooled, Attention()(q, k, v))


def test_dropout_acts_in_training_only_and_keeps_the_mean(rng, array, close):
    q, k, v = qkv(rng, b=64)
    layer = Attention(dropout=0.5)
    close(layer(q, k, v), Attention()(q, k, v))
    ones = np.ones_like(v)
    dropped = array(layer(q, k, ones, training=True))
    assert abs(dropped.mean() - 1) < 0.05 and dropped.std() > 0.1


def test_any_score_takes_the_place_of_the_dot_product(rng, close):
    class Constant(keras.layers.Layer):
        def call(self, q, k):
            return ops.zeros((q.shape[0], q.shape[2], q.shape[1], k.shape[1]))

    q, k, v = qkv(rng)
    mean = np.broadcast_to(v.mean(axis=1, keepdims=True), q.shape)
    close(Attention(score=Constant())(q, k, v), mean)


def test_masked_softmax_without_a_mask_is_the_softmax(rng, close):
    scores = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    close(masked_softmax(scores, None), weights)
    close(masked_softmax(scores, np.ones((2, 1, 4, 5), bool)), weights)


def test_a_key_that_fits_badly_still_beats_one_that_is_masked(close):
    scores = np.array([[[[-1e6, -1e6, 5.0]]]], "float32")
    close(masked_softmax(scores, np.array([True, True, False])), [[[[0.5, 0.5, 0.0]]]])


def test_admissible_broadcasts_over_heads(array):
    positions, segments = np.arange(3)[None], np.array([[1, 1, 0]])
    allowed = array(
        admissible(
            Causal(), *map(ops.convert_to_tensor, (positions, positions, segments, segments))
        )
    )
    np.testing.assert_array_equal(allowed[0, 0], [[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    assert allowed.shape == (1, 1, 3, 3)


@settings(deadline=None, max_examples=10)
@given(*[st.integers(1, 4)] * 5, st.booleans())
def test_any_shape(b, t, s, h, e, masked):
    q, k, v = qkv(np.random.default_rng(0), b, t, s, h, e)
    mask = Causal() if masked else Everything()
    out = Attention(mask=mask)(q, k, v)
    allowed = mask(np.arange(t)[:, None], np.arange(s)[None]) & everywhere(q, k)
    np.testing.assert_allclose(ops.convert_to_numpy(out), reference(q, k, v, allowed), atol=1e-5)


def test_lengths_say_how_many_keys_may_be_attended_to(rng, close):
    q, k, v = qkv(rng)
    each = np.array([[1, 5, 0, 2], [3, 3, 4, 5]])
    for lengths in (np.array([2, 4]), each):
        allowed = np.arange(5) < lengths.reshape((2, -1, 1))
        allowed = np.broadcast_to(allowed, (2, 4, 5))
        close(Attention()(q, k, v, lengths=lengths), reference(q, k, v, allowed))
    causal = Causal()(np.arange(4)[:, None], np.arange(5)[None])
    pooled = Attention(mask=Causal())(q, k, v, lengths=each)
    close(pooled, reference(q, k, v, causal & (np.arange(5) < each[..., None])))


def test_the_masked_softmax_of_the_chapter(rng, close):
    scores = rng.normal(size=(2, 2, 4)).astype("float32")[:, None]
    for lengths, zero in (
        ([2, 3], [[[0, 0, 1, 1], [0, 0, 1, 1]], [[0, 0, 0, 1], [0, 0, 0, 1]]]),
        ([[1, 3], [2, 4]], [[[0, 1, 1, 1], [0, 0, 0, 1]], [[0, 0, 1, 1], [0, 0, 0, 0]]]),
    ):
        powers = np.exp(scores) * (1 - np.array(zero)[:, None])
        expected = powers / powers.sum(-1, keepdims=True)
        close(masked_softmax(scores, key_length_mask(np.array(lengths), 4)), expected)


def test_hard_attention_takes_the_best_key_alone(rng, array, close):
    q, k, v = qkv(rng)
    segments = np.array([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]])
    pooled, weights = Attention(normalizer="hard")(
        q, k, v, key_segments=segments, return_weights=True
    )
    scores = np.einsum("bthe,bshe->bhts", q, k)[0, :, :, :3]
    expected = np.eye(5)[scores.argmax(-1)]
    np.testing.assert_array_equal(array(weights)[0], expected)
    close(pooled[0], np.einsum("hts,she->the", expected, v[0]))
    assert not array(pooled)[1].any()
    tie = array(straight_through(np.zeros((1, 1, 1, 3), "float32"), None))
    np.testing.assert_array_equal(tie, [[[[1, 0, 0]]]])


def test_the_gradient_of_hard_attention_is_that_of_the_softmax(rng, gradient, close):
    scores, v = rng.normal(size=(2, 3, 4, 5)).astype("float32"), rng.normal(size=5)
    v = v.astype("float32")
    found = gradient(lambda x: straight_through(x, None) * v, scores)
    close(found, gradient(lambda x: masked_softmax(x, None) * v, scores))


def test_another_normalizer_is_refused():
    with pytest.raises(ValueError, match="normalizer must be one of softmax, hard. Received: 'so"):
        Attention(normalizer="soft")


def test_attend_is_the_layer_and_gives_zero_where_no_key_is_allowed(rng, close):
    q, k, v = (rng.normal(size=(2, n, 4, 3)).astype("float32") for n in (5, 7, 7))
    bias = rng.normal(size=(4, 5, 7)).astype("float32")
    for mask in (None, Causal(), ~Causal()):
        layer = Attention() if mask is None else Attention(mask=mask)
        close(attend(q, k, v, mask, bias), layer(q, k, v, bias=bias))
    allowed = rng.random((2, 1, 5, 7)) > 0.5
    allowed[0, :, 2] = False
    out = attend(q, k[:, :, :2], v[:, :, :2], allowed)  # two heads share one of keys and values
    k, v = (np.repeat(x[:, :, :2], 2, axis=2) for x in (k, v))
    close(out, reference(q, k, v, allowed[:, 0]))
    close(out[0, 2], np.zeros((4, 3)))
