import math

import numpy as np
import pytest

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
