import numpy as np
import pytest

from tfattn.mechanisms.linear import LinearAttention
from tfattn.mechanisms.masks import Causal, Everything, Window


def pooled(q, k, v, allowed):
    """All pairs, one query of one head at a time; `allowed` is (b, t, s)."""
    phi = lambda x: np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))  # noqa: E731
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, t, h in np.ndindex(*q.shape[:3]):
        weights = (phi(k[b, :, h]) @ phi(q[b, t, h])) * allowed[b, t]
        if weights.sum() > 0:
            out[b, t, h] = weights @ v[b, :, h] / weights.sum()
    return out


@pytest.mark.parametrize("mask", [Everything(), Causal()])
@pytest.mark.parametrize("length", [1, 6, 7])
def test_it_is_the_mean_by_products_of_features(mask, length, rng, close):
    q, k = rng.normal(size=(2, 2, length, 3, 4)).astype("float32")
    v = rng.normal(size=(2, length, 3, 5)).astype("float32")
    segments = np.arange(length)[None] < np.array([[length], [length // 2]])
    place = np.arange(length)
    allowed = np.broadcast_to(mask(place[:, None], place), (2, length, length))
    layer = LinearAttention(mask, chunk=3)
    close(layer(q, k, v), pooled(q, k, v, allowed))
    padded = layer(q, k, v, key_segments=segments.astype("int32"))
    close(padded, pooled(q, k, v, allowed & segments[:, None]))


def test_queries_may_be_more_than_keys(rng, close):
    q, k, v = (rng.normal(size=(2, t, 3, 4)).astype("float32") for t in (7, 5, 5))
    close(LinearAttention()(q, k, v), pooled(q, k, v, np.ones((2, 7, 5))))


def test_the_gradient_of_padding_is_zero(rng, gradient):
    q, k, v = rng.normal(size=(3, 2, 6, 3, 4)).astype("float32")
    segments = np.array([[1, 1, 1, 0, 0, 0], [0] * 6])
    for mask in (Everything(), Causal()):
        layer = LinearAttention(mask, chunk=4)
        found = gradient(lambda x, f=layer: f(q, x, x, key_segments=segments) ** 2, k)
        assert np.isfinite(found).all() and found[0, :3].any() and not found[0, 3:].any()
        assert not found[1].any()


def test_other_masks_need_all_pairs():
    with pytest.raises(ValueError, match=r"mask must be Everything\(\) or Causal\(\)"):
        LinearAttention(Window(1, 1))
