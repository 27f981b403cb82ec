from math import erf

import numpy as np
import pytest
from keras import ops

from tfattn.blocks import feedforward
from tfattn.blocks.feedforward import FeedForward

ACTIVATIONS = {
    "gelu": lambda x: x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2))),
    "gelu-tanh": lambda x: x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_equals_the_formula(rng, close, activation):
    layer = FeedForward(dim=6, hidden_dim=10, activation=activation)
    layer.build()
    w1, b1, w2, b2 = (rng.normal(size=v.shape).astype("float32") for v in layer.weights)
    layer.set_weights([w1, b1, w2, b2])
    x = rng.normal(size=(2, 5, 6)).astype("float32")
    close(layer(x), ACTIVATIONS[activation](x @ w1 + b1) @ w2 + b2)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_in_bfloat16_an_activation_is_rounded_once(rng, array, activation):
    x = ops.cast(rng.normal(size=4000), "bfloat16")
    found = array(ops.cast(feedforward.ACTIVATIONS[activation](x), "float32"))
    exact = ACTIVATIONS[activation](array(ops.cast(x, "float32")).astype("float64"))
    assert (np.abs(found - exact) <= 2**-8 * np.abs(exact) + 1e-6).all()  # half a last digit


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_gate_multiplies_what_was_activated(rng, close, activation):
    layer = FeedForward(dim=6, hidden_dim=10, activation=activation, gated=True, bias=False)
    layer.build()
    w1, w3, w2 = (rng.normal(size=v.shape).astype("float32") for v in layer.weights)
    layer.set_weights([w1, w3, w2])
    x = rng.normal(size=(2, 5, 6)).astype("float32")
    close(layer(x), (ACTIVATIONS[activation](x @ w1) * (x @ w3)) @ w2)


def test_the_last_kernel_may_start_otherwise(array):
    layer = FeedForward(6, 10, initializer="ones", output_initializer="zeros")
    layer.build()
    assert array(layer.expand.kernel).all() and not array(layer.contract.kernel).any()


def test_every_position_is_treated_alike(rng, close):
    layer = FeedForward(6, 10)
    x = rng.normal(size=(2, 5, 6)).astype("float32")
    close(layer(x[:, ::-1]), ops.flip(layer(x), axis=1))


def test_both_kernels_start_with_different_numbers(array):
    layer = FeedForward(6, 6)
    layer.build()
    assert not np.array_equal(array(layer.expand.kernel), array(layer.contract.kernel))
