import numpy as np
import pytest

from tfattn.mechanisms.squeeze import SqueezeExcitation


@pytest.mark.parametrize("places", [(4, 5), (6,)])
def test_channels_are_scaled_by_gates_of_their_means(places, rng, close):
    layer = SqueezeExcitation(8, ratio=2)
    layer.build()
    layer.set_weights([rng.normal(size=v.shape) for v in layer.weights])
    w1, b1, w2, b2 = layer.get_weights()
    assert w1.shape == (8, 4) and w2.shape == (4, 8)
    x = rng.normal(size=(2, *places, 8)).astype("float32")
    mean = x.reshape((2, -1, 8)).mean(axis=1)
    gates = 1 / (1 + np.exp(-(np.maximum(mean @ w1 + b1, 0) @ w2 + b2)))
    y, weights = layer(x, return_weights=True)
    close(weights, gates)
    close(y, x * gates.reshape((2, *(1 for _ in places), 8)))
    close(layer(x), y)
