import numpy as np

from tfattn.mechanisms.scores import ScaledDotProduct


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
