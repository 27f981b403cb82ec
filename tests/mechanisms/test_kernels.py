import keras
import numpy as np
import pytest
from keras import ops

from tfattn.mechanisms.attention import Attention
from tfattn.mechanisms.kernels import KERNELS, Kernel
from tfattn.mechanisms.masks import Everything, Window

BY_DISTANCE = {  # as the literature has them, up to a factor
    "gaussian": lambda u: np.exp(-(u**2) / 2),
    "boxcar": lambda u: (u <= 1).astype("float32"),
    "triangular": lambda u: np.maximum(1 - u, 0),
    "epanechnikov": lambda u: np.maximum(1 - u**2, 0),
    "constant": np.ones_like,
}


def regression(kernel, queries, keys, values, width, left_out=None):
    """Nadaraya-Watson with vectors for one text and head; queries far from all keys get 0."""
    out = np.zeros((len(queries), values.shape[-1]))
    for t, q in enumerate(queries):
        apart = np.linalg.norm((q - keys).astype("float64") / width, axis=-1)
        k = BY_DISTANCE[kernel](apart)
        k = k if left_out is None else k * (np.arange(len(keys)) != left_out[t])
        if k.sum() > 0:
            out[t] = k @ values / k.sum()
    return out


def drawn(rng, e=1):
    normal = lambda t, e: rng.normal(size=(1, t, 1, e)).astype("float32")  # noqa: E731
    return normal(9, e) * 2, normal(12, e), normal(12, 3)


def test_every_kernel_is_checked():
    assert set(BY_DISTANCE) == set(KERNELS)


@pytest.mark.parametrize("e", [1, 3])
@pytest.mark.parametrize("width", [0.7, 1.5])
@pytest.mark.parametrize("kernel", KERNELS)
def test_attention_by_a_kernel_is_nadaraya_watson(kernel, width, e, rng, close):
    q, k, v = drawn(rng, e)
    q[0, 0] = 10.0  # far from all keys
    pooled = Attention(Kernel(kernel, width))(q, k, v)
    close(pooled[0, :, 0], regression(kernel, q[0, :, 0], k[0, :, 0], v[0, :, 0], width))


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_key_may_be_left_out_where_it_is_the_query(kernel, rng, close):
    _, k, v = drawn(rng)
    pooled = Attention(Kernel(kernel), ~Window(0, 0))(k, k, v)
    expected = regression(kernel, k[0, :, 0], k[0, :, 0], v[0, :, 0], 1.0, np.arange(12))
    close(pooled[0, :, 0], expected)


def test_two_heads_and_texts_have_kernels_of_their_own(rng, close):
    q, k, v = (rng.normal(size=(2, t, 3, 2)).astype("float32") for t in (4, 5, 5))
    pooled = Attention(Kernel("epanechnikov", 2.0))(q, k, v)
    for b, h in np.ndindex(2, 3):
        close(pooled[b, :, h], regression("epanechnikov", q[b, :, h], k[b, :, h], v[b, :, h], 2.0))


def test_the_gaussian_of_width_one_is_the_distance_based_score(rng, close):
    q, k = rng.normal(size=(2, 2, 3, 4, 5)).astype("float32")
    expected = np.zeros((2, 4, 3, 3))
    for b, h, t, s in np.ndindex(expected.shape):
        expected[b, h, t, s] = -((q[b, t, h] - k[b, s, h]) ** 2).sum() / 2
    close(Kernel()(q, k), expected)


@pytest.mark.parametrize(("learned", "dim"), [("global", None), ("dimension", 3)])
def test_widths_are_weights(learned, dim, rng, close):
    q, k, v = drawn(rng, 3)
    attention = Attention(Kernel("gaussian", 0.5, learned, dim))
    attention.build()
    (width,) = attention.trainable_variables
    assert width.shape == (() if dim is None else (3,))
    drawn_widths = np.array([0.5, 2.0, 9.0]) if dim else np.array(1.7)
    width.assign(np.log(drawn_widths))
    expected = regression("gaussian", q[0, :, 0], k[0, :, 0], v[0, :, 0], drawn_widths)
    close(attention(q, k, v)[0, :, 0], expected)
    score = attention.score
    close(score(q, score.keys(k), prepared=True), score(q, k))


@pytest.mark.parametrize("kernel", ["gaussian", "triangular", "epanechnikov"])
def test_the_gradient_is_finite_also_where_a_query_is_a_key(kernel, rng, gradient):
    _, k, v = drawn(rng)

    def pool(x):
        return Attention(Kernel(kernel, 0.5))(x, k, v) ** 2

    found = gradient(pool, k)
    assert np.isfinite(found).all() and found.any()


def test_leaving_one_out_finds_the_width_of_the_data(rng):
    """Without it the width that fits best is 0, where each value is its own mean."""
    x = np.sort(rng.uniform(0, 5, 60)).astype("float32")[None, :, None, None]
    y = (2 * np.sin(x) + x + rng.normal(size=x.shape) * 0.3).astype("float32")

    def fitted(mask):
        inputs = keras.Input((60, 1, 1))
        attention = Attention(Kernel("gaussian", 1.0, "global"), mask, name="pooling")
        values = keras.Input((60, 1, 1))
        model = keras.Model([inputs, values], attention(inputs, inputs, values))
        model.compile(keras.optimizers.Adam(0.05), "mse")
        model.fit([x, y], y, epochs=150, verbose=0)
        return float(ops.convert_to_numpy(attention.score.widths()))

    keys, values = x[0, :, 0], y[0, :, 0]
    widths = np.geomspace(0.05, 1, 100)
    errors = [
        np.mean((regression("gaussian", keys, keys, values, w, np.arange(60)) - values) ** 2)
        for w in widths
    ]
    best = fitted(~Window(0, 0))
    assert abs(np.log(best / widths[np.argmin(errors)])) < 0.05
    assert fitted(Everything()) < 0.75 * best


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision_pools_and_knows_the_edge(dtype, rng, close, array):
    q, k, v = (ops.cast(x, dtype) for x in drawn(rng))
    q = ops.concatenate([ops.full((1, 1, 1, 1), 100.0, dtype), q], axis=1)
    pooled = Attention(Kernel("triangular", 2.0, dtype=dtype), dtype=dtype)(q, k, v)
    assert keras.backend.standardize_dtype(pooled.dtype) == dtype
    q, k, v = (array(x)[0, :, 0] for x in (q, k, v))
    assert not array(pooled)[0, 0].any()
    close(array(pooled)[0, :, 0], regression("triangular", q, k, v, 2.0), dtype)


def test_kernels_that_cannot_be_are_refused():
    for options, said in (
        ({"kernel": "gauss"}, "kernel must be one of gaussian, .*Received: 'gauss'"),
        ({"width": 0.0}, "width must be positive. Received: 0.0"),
        ({"learned": "all"}, "learned must be None, global or dimension. Received: 'all'"),
        ({"learned": "dimension"}, "dim goes with learned='dimension'"),
        ({"dim": 3}, "dim goes with learned='dimension'"),
    ):
        with pytest.raises(ValueError, match=said):
            Kernel(**options)
