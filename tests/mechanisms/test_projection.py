import math

import keras
import numpy as np
import pytest

from tfattn import ways
from tfattn.mechanisms.projection import Projection


@pytest.mark.parametrize(
    ("source", "target", "equation"),
    [
        ((6,), (2, 5), "btd,dhe->bthe"),
        ((2, 5), (6,), "bthe,hed->btd"),
        ((6,), (4,), "btd,de->bte"),
        ((2, 3), (4, 2), "btmn,mnpq->btpq"),
    ],
)
def test_it_is_the_contraction_of_its_axes(rng, close, source, target, equation):
    layer = Projection(source, target)
    layer.build()
    kernel, bias = layer.kernel, layer.bias
    assert tuple(kernel.shape) == (math.prod(source), math.prod(target))
    values = [rng.normal(size=v.shape).astype("float32") for v in (kernel, bias)]
    layer.set_weights(values)
    x = rng.normal(size=(3, 7, *source)).astype("float32")
    tensor = values[0].reshape(*source, *target)
    close(layer(x), np.einsum(equation, x, tensor) + values[1].reshape(target))


def test_any_number_of_leading_axes_will_do(rng, close):
    layer = Projection((6,), (2, 5))
    x = rng.normal(size=(2, 3, 4, 6)).astype("float32")
    whole = layer(x)
    assert tuple(whole.shape) == (2, 3, 4, 2, 5)
    close(whole[1, 2], layer(x[1, 2]))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="islands are for TensorFlow")
@pytest.mark.parametrize("outer", ["eager", "graph"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_where_islands_are_compiled_its_gradients_are_the_same(dtype, outer, rng, close):
    import tensorflow as tf

    layer = Projection((6,), (2, 5), dtype=dtype)
    layer.build()
    layer.bias.assign(rng.normal(size=10))
    x = tf.constant(rng.normal(size=(3, 7, 6)).astype("float32"))
    variables = [layer.kernel.value, layer.bias.value]

    def run(fused):
        with ways.using(fused=fused), tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(tf.cast(layer(x), "float32")))
        return tape.gradient(loss, variables)

    run = tf.function(run, autograph=False) if outer == "graph" else run
    for found, expected in zip(run(True), run(False), strict=True):
        scale = float(np.abs(expected).max())
        close(found / scale, expected / scale, "float32" if dtype == "float32" else "bfloat16")
