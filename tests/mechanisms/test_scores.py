import keras
import numpy as np
import pytest

from tfattn.mechanisms.attention import Attention
from tfattn.mechanisms.scores import Additive, Bilinear, ScaledDotProduct


def test_scaled_dot_product_is_the_scaled_dot_product(rng, close):
    q, k = rng.normal(size=(2, 2, 3, 4, 5)).astype("float32")
    k = k[:, :2]  # (b, s, h, e) with fewer keys than queries
    expected = np.zeros((2, 4, 3, 2))
    for b, h, t, s in np.ndindex(expected.shape):
        expected[b, h, t, s] = q[b, t, h] @ k[b, s, h] / np.sqrt(5)
    close(ScaledDotProduct()(q, k), expected)


def test_scale_replaces_the_root_of_the_width(rng, close):
    q, k = rng.normal(size=(2, 2, 3, 4, 5)).astype("float32")
    close(ScaledDotProduct(scale=1.0)(q, k), ScaledDotProduct()(q, k) * np.sqrt(5, dtype="float32"))


def test_the_variance_of_the_score_is_one(rng, array):
    q, k = rng.normal(size=(2, 1, 200, 1, 64)).astype("float32")
    assert abs(array(ScaledDotProduct()(q, k)).var() - 1) < 0.1


def additive(rng):
    """Return a score of queries of width 5 with keys of width 7, and its weights."""
    score = Additive(5, 7, 6)
    score.build()
    score.set_weights([rng.normal(size=v.shape) for v in score.weights])
    return score, [np.asarray(v) for v in score.weights]


def test_additive_is_the_sum_of_its_tanh(rng, close):
    score, (vector, query, key) = additive(rng)
    q, k = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 2, 4, 7))
    expected = np.zeros((2, 4, 3, 2))
    for b, h, t, s in np.ndindex(expected.shape):
        expected[b, h, t, s] = vector[:, 0] @ np.tanh(q[b, t, h] @ query + k[b, s, h] @ key)
    close(score(q, k), expected)


def bilinear(rng):
    """Return the same with a matrix (7, 5) between them."""
    score = Bilinear(5, 7)
    score.build()
    score.set_weights([rng.normal(size=v.shape) for v in score.weights])
    return score, [np.asarray(v) for v in score.weights]


def test_bilinear_is_a_product_through_a_matrix(rng, close):
    score, (matrix,) = bilinear(rng)
    q, k = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 2, 4, 7))
    close(score(q, k), np.einsum("bthe,fe,bshf->bhts", q, matrix, k))


@pytest.mark.parametrize("kind", [Additive, Bilinear])
def test_keys_may_be_prepared_once(kind, rng, close):
    q, k = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 2, 4, 7))
    score = {Additive: additive, Bilinear: bilinear}[kind](rng)[0]
    close(score(q, score.keys(k), prepared=True), score(q, k))
    attention = Attention(score)
    value, there = rng.normal(size=(2, 2, 4, 3)), np.array([[1, 0], [1, 1]])
    ready = attention(q, score.keys(k), value, key_segments=there, prepared=True)
    close(ready, attention(q, k, value, key_segments=there))
    q = rng.normal(size=(2, 3, 4, 7))
    dot = Attention()
    close(dot(q, dot.score.keys(k), value, prepared=True), dot(q, k, value))


def test_they_equal_the_layers_of_keras(rng, close):
    q, k, v = (rng.normal(size=(2, t, 1, 6)).astype("float32") for t in (3, 5, 5))
    given = [x[:, :, 0] for x in (q, v, k)]  # theirs: query, value, key
    for score, theirs in (
        (ScaledDotProduct(scale=1.0), keras.layers.Attention()),
        (ScaledDotProduct(scale=0.3), keras.layers.Attention(use_scale=True)),
        (identity(6), keras.layers.AdditiveAttention()),
    ):
        theirs.build([x.shape for x in given])
        if theirs.weights:
            dot = isinstance(score, ScaledDotProduct)
            theirs.weights[0].assign(0.3 if dot else np.asarray(score.vector)[:, 0])
        there = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
        expected = theirs(given, mask=[None, there.astype(bool)])
        ours = Attention(score)(q, k, v, key_segments=there)
        close(ours[:, :, 0], expected)


def identity(dim):
    """Return the additive score of Keras, whose queries and keys are compared as they are."""
    score = Additive(dim, dim, dim, keras.initializers.RandomNormal(seed=1))
    score.build()
    score.query.kernel.assign(np.eye(dim))
    score.key.kernel.assign(np.eye(dim))
    return score


def test_an_attention_builds_the_weights_of_its_score():
    attention = Attention(Additive(5, 7, 6, name="score"), name="attention")
    attention.build()
    assert [v.path for v in attention.weights] == [
        f"attention/score/{name}" for name in ("vector", "query/kernel", "key/kernel")
    ]
