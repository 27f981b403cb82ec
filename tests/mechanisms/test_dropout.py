"""Masks that are hashes: their share, their independence, and one island with what is around."""

import keras
import numpy as np
import pytest
from keras import ops

import tfattn
from tfattn import ways
from tfattn.mechanisms.dropout import dropped, keeps

SIZE = 1 << 18


def mask(seed, count=0, size=SIZE, rate=0.5):
    return np.asarray(keeps(np.array([seed, count, 0]), (size,), rate))


def reference(seed, size, rate):
    """Return the mask by Python's integers."""

    def hashed(x, between=0):
        x ^= x >> 16
        x = x * 0x21F0AAAD % 2**32
        x ^= x >> 15
        x = (x ^ between) * 0xD35A2D97 % 2**32
        return x ^ x >> 15

    golden = 0x9E3779B9
    first = hashed((seed[0] + hashed((seed[1] + golden) % 2**32)) % 2**32)
    second = hashed((first + golden) % 2**32)
    return [
        hashed((place * golden + first) % 2**32, second) >= int(rate * 2**32)
        for place in range(size)
    ]


@pytest.mark.parametrize("seed", [(0, 0), (1, 5), (2**31, 3), (123456789, 10**6)])
def test_it_is_the_hash_that_it_says(seed):
    expected = np.reshape(reference(seed, 200, 0.3), (5, 8, 5))  # places as they are in memory
    np.testing.assert_array_equal(keeps(np.array([*seed, 0]), (5, 8, 5), 0.3), expected)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_the_share_is_that_of_chance(rate):
    deviation = np.sqrt(rate * (1 - rate) / SIZE)
    found = np.array(
        [mask(seed, count, rate=rate).mean() for seed in range(4) for count in range(8)]
    )
    z = (found - (1 - rate)) / deviation
    assert np.abs(z).max() < 4.5 and 0.5 < z.std() < 1.5


def correlation(a, b):
    """Return that of two masks of half, in deviations of what chance gives."""
    return np.mean((a * 2.0 - 1) * (b * 2.0 - 1)) * np.sqrt(a.size)


def test_places_know_nothing_of_each_other():
    drawn = mask(7)
    lags = [*range(1, 70), 127, 128, 255, 256, 257, 1000, 1024, 4096, 65536]
    z = np.array([correlation(drawn[lag:], drawn[:-lag]) for lag in lags])
    assert np.abs(z).max() < 4.5 and 0.7 < z.std() < 1.3


def test_steps_and_layers_know_nothing_of_each_other():
    drawn = [mask(3, count) for count in range(8)] + [mask(seed, 0) for seed in range(4, 12)]
    z = np.array([correlation(a, b) for i, a in enumerate(drawn) for b in drawn[:i]])
    assert np.abs(z).max() < 4.5 and 0.7 < z.std() < 1.3
    # Nor is one the other, moved.
    z = np.array([correlation(drawn[0][lag:], drawn[1][: SIZE - lag]) for lag in range(1, 200)])
    assert np.abs(z).max() < 4.5 and 0.8 < z.std() < 1.2


def test_eight_places_in_a_row_are_all_patterns_equally_often():
    patterns = np.packbits(mask(11).reshape(-1, 8), axis=1)[:, 0]
    counts = np.bincount(patterns, minlength=256)
    expected = len(patterns) / 256
    chi_square = np.sum((counts - expected) ** 2 / expected)  # of 255 degrees of freedom
    assert abs(chi_square - 255) < 4.5 * np.sqrt(2 * 255)


def test_rows_and_columns_are_dropped_alike():
    drawn = mask(5, rate=0.1).reshape(512, 512)
    for axis in (0, 1):
        z = (drawn.mean(axis=axis) - 0.9) / np.sqrt(0.09 / 512)
        assert np.abs(z).max() < 5 and 0.85 < z.std() < 1.15


def test_what_is_kept_is_larger_and_the_rest_is_nothing(rng, close):
    x = rng.normal(size=(3, 5, 7)).astype("float32")
    kept = mask(4, 2, x.size, 0.3).reshape(x.shape)
    close(dropped(x, np.array([4, 2, 0]), 0.3), np.where(kept, x / 0.7, 0.0))


def test_in_half_the_precision_products_are_rounded_and_not_their_factor(array):
    x = ops.cast(np.linspace(1, 2, 1000), "bfloat16")
    kept = np.array(reference((1, 1), 1000, 0.1))
    exact = array(ops.cast(np.where(kept, array(x) * np.float32(1 / 0.9), 0.0), "bfloat16"))
    np.testing.assert_array_equal(array(dropped(x, np.array([1, 1, 0]), 0.1)), exact)


def test_each_call_draws_anew_and_training_alone(array):
    layer, x = tfattn.Dropout(0.5), np.ones((4, 50), "float32")
    first, second = (array(layer(x, training=True)) for _ in range(2))
    assert set(np.unique(first)) == {0.0, 2.0} and not np.array_equal(first, second)
    np.testing.assert_array_equal(array(layer(x)), x)
    assert [tuple(v.shape) for v in layer.variables] == [(2,)] and not layer.trainable_variables
    again = tfattn.Dropout.from_config(layer.get_config())
    assert again.rate == 0.5
    assert tfattn.Dropout(0.0).variables == []
    np.testing.assert_array_equal(array(tfattn.Dropout(0.0)(x, training=True)), x)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_another_rate_is_refused(rate):
    with pytest.raises(ValueError, match=f"rate must be from 0 to below 1. Received: rate={rate}"):
        tfattn.Dropout(rate)


def test_within_and_after_are_what_they_say(rng, close, array):
    layer = tfattn.Dropout(0.4)
    x, y = rng.normal(size=(2, 3, 8)).astype("float32")
    seed = array(layer.seeds.state)
    kept = np.array(reference((int(seed[0]) % 2**32, int(seed[1])), x.size, 0.4)).reshape(x.shape)
    close(layer.within(ops.add, x, y, training=True), x + np.where(kept, y / 0.6, 0.0))
    kept = np.array(reference((int(seed[0]) % 2**32, int(seed[1]) + 1), x.size, 0.4))
    close(layer.after(ops.square, x, training=True), np.where(kept.reshape(x.shape), x**2 / 0.6, 0))
    close(layer.after(ops.square, x, training=False), x**2)
    close(layer.within(ops.add, x, y, training=False), x + y)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="islands are for TensorFlow")
def test_a_model_learns_the_same_with_and_without_islands_with_dropout_too(close, rng):
    import tensorflow as tf

    config = tfattn.TransformerConfig(
        dim=8, depth=2, hidden_dim=16, vocab_size=20, dropout=0.3, attention_dropout=0.3
    )
    tokens = tf.constant(rng.integers(1, 20, size=(4, 6)), tf.int32)

    def gradients(fused):
        keras.utils.set_random_seed(0)
        model = tfattn.build(config, tfattn.Tokens())

        @tf.function(autograph=False)
        def step():
            with ways.using(fused=fused), tf.GradientTape() as tape:
                loss = tf.reduce_mean(model({"tokens": tokens}, training=True) ** 2)
            return loss, tape.gradient(loss, [v.value for v in model.trainable_variables])

        return [tf.nest.map_structure(tf.convert_to_tensor, step()) for _ in range(2)]

    plain, fused = gradients(False), gradients(True)
    assert float(plain[0][0]) != float(plain[1][0])  # another mask each step
    for ours, theirs in zip(tf.nest.flatten(fused), tf.nest.flatten(plain), strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("shape", [(7,), (2, 7), (2, 3, 5), (1, 3, 4, 5)])
def test_the_masks_of_parts_are_that_of_the_whole(shape):
    whole = np.asarray(keeps(np.array([3, 1, 0]), (4 * shape[0], *shape[1:]), 0.4))
    parts = [np.asarray(keeps(np.array([3, 1, part]), shape, 0.4)) for part in range(4)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("rows", [False, True])
def test_a_layer_drops_of_a_part_what_it_drops_of_it_in_the_whole(rows, array):
    layer, x = tfattn.Dropout(0.5, rows), np.ones((6, 3, 4), "float32")
    state, found = array(layer.seeds.state), []
    whole = array(layer(x, training=True))
    for part in range(3):
        layer.seeds.state.assign(state)
        with ways.using(part=ops.convert_to_tensor(part)):
            found.append(array(layer(x[:2], training=True)))
    np.testing.assert_array_equal(np.concatenate(found), whole)
    assert set(np.unique(whole)) == {0.0, 2.0}


def test_whole_rows_are_dropped_by_chance_and_their_share_too(array):
    layer = tfattn.Dropout(0.3, rows=True)
    found = array(layer(np.ones((4000, 2, 3), "float32"), training=True))
    assert (found == found[:, :1, :1]).all()
    assert abs((found[:, 0, 0] == 0).mean() - 0.3) < 4 * np.sqrt(0.21 / 4000)
    np.testing.assert_allclose(np.unique(found), [0, 1 / 0.7], rtol=1e-6)
    assert tfattn.Dropout.from_config(layer.get_config()).rows
