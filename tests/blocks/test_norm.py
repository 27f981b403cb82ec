import numpy as np
import pytest
from keras import ops

from tfattn import ways
from tfattn.blocks.norm import NORMS, LayerNorm, RMSNorm


def reference(x, gamma, beta, epsilon):
    x = x.astype("float64")
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def weighted(layer, rng):
    """Return a layer whose weights are gamma and beta, built with random ones, and those."""
    layer.build((None, None, 6))
    gamma, beta = (rng.normal(size=6).astype("float32") for _ in range(2))
    layer.set_weights([gamma, beta])
    return layer, gamma, beta


@pytest.mark.parametrize("epsilon", [1e-12, 0.5])
def test_it_norms_its_input_or_a_sum(rng, close, epsilon):
    layer, gamma, beta = weighted(LayerNorm(epsilon), rng)
    x, y = rng.normal(size=(2, 2, 5, 6)).astype("float32")
    close(layer(x), reference(x, gamma, beta, epsilon))
    close(layer(x, y), reference(x + y, gamma, beta, epsilon))


def test_in_half_precision_it_adds_and_averages_in_float32(rng, array):
    layer, gamma, beta = weighted(LayerNorm(dtype="mixed_bfloat16"), rng)
    x, y = (
        ops.cast(100.0 + rng.normal(size=(2, 5, 6)).astype("float32"), "bfloat16") for _ in "xy"
    )
    found = layer(x, y)
    assert found.dtype == "bfloat16"
    exact = array(ops.cast(x, "float32")) + array(ops.cast(y, "float32"))
    # Beside the result's own rounding to 8 bits nothing is lost, though 200 + 1 has none to spare.
    np.testing.assert_allclose(
        array(ops.cast(found, "float32")),
        reference(exact, gamma, beta, 1e-12),
        rtol=2**-7,
        atol=0.02,
    )


@pytest.mark.parametrize("epsilon", [1e-6, 0.5])
def test_the_root_mean_square_norm_subtracts_nothing(rng, close, epsilon):
    layer = RMSNorm(epsilon)
    layer.build((None, None, 6))
    gamma = rng.normal(size=6).astype("float32")
    layer.set_weights([gamma])
    x, y = rng.normal(size=(2, 2, 5, 6)).astype("float32") + 3.0
    for found, whole in ((layer(x), x), (layer(x, y), x + y)):
        whole = whole.astype("float64")
        expected = whole / np.sqrt((whole**2).mean(-1, keepdims=True) + epsilon) * gamma
        close(found, expected)


def test_without_a_bias_there_is_no_beta(rng, close):
    layer = NORMS["layer-no-bias"](1e-5)
    layer.build((None, None, 6))
    gamma = rng.normal(size=6).astype("float32")
    layer.set_weights([gamma])
    x = rng.normal(size=(2, 5, 6)).astype("float32")
    close(layer(x), reference(x, gamma, 0.0, 1e-5))


@pytest.mark.parametrize("kind", NORMS)
def test_every_kind_survives_its_config(kind):
    layer = NORMS[kind](0.25, name="norm")
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config() and again.epsilon == 0.25


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("norm", NORMS)
def test_its_weights_may_be_of_half_precision(norm, dtype, rng, close):
    x = rng.normal(size=(2, 5, 6))
    layer = NORMS[norm](1e-6, dtype=dtype)
    plain = layer(ops.cast(x, dtype))
    assert plain.dtype == dtype
    with ways.using(fused=True):
        close(layer(ops.cast(x, dtype)), plain, dtype)
