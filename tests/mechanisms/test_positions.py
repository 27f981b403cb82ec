import math

import keras
import numpy as np
import pytest
from keras import ops

from tfattn.mechanisms.positions import Buckets, Learned, Position, Rotary, Sinusoidal, bucket_of

POSITIONS = np.array([[0, 1, 2, 3], [2, 0, 1, 4]])


def test_the_hooks_of_the_base_do_nothing(rng):
    x = rng.normal(size=(2, 4, 6)).astype("float32")
    position = Position()
    assert position.embed(x, POSITIONS) is x and position.rotate(x, POSITIONS) is x
    assert position.bias(POSITIONS, POSITIONS) is None


def test_learned_adds_the_row_of_each_position(rng, array, close):
    x = rng.normal(size=(2, 4, 6)).astype("float32")
    position = Learned(length=5, dim=6)
    position.build()
    table = array(position.embeddings)
    assert table.shape == (5, 6)
    close(position.embed(ops.convert_to_tensor(x), POSITIONS), x + table[POSITIONS])


@pytest.mark.parametrize("dim", [6, 7])
def test_sinusoidal_is_the_formula_of_the_paper(close, dim):
    expected = np.zeros((*POSITIONS.shape, dim))
    for b, t, i in np.ndindex(expected.shape):
        angle = POSITIONS[b, t] / 10_000 ** (2 * (i // 2) / dim)
        expected[b, t, i] = np.cos(angle) if i % 2 else np.sin(angle)
    close(Sinusoidal().embed(ops.zeros((2, 4, dim)), POSITIONS), expected)


@pytest.mark.parametrize("dim", [6, 8])
def test_sines_may_come_before_all_cosines(close, dim):
    expected = np.zeros((*POSITIONS.shape, dim))
    for b, t, i in np.ndindex(expected.shape):
        angle = POSITIONS[b, t] / 10_000 ** (2 * (i % (dim // 2)) / dim)
        expected[b, t, i] = np.sin(angle) if i < dim // 2 else np.cos(angle)
    halves = Sinusoidal(interleaved=False)
    close(halves.embed(ops.zeros((2, 4, dim)), POSITIONS), expected)
    again = Sinusoidal.from_config(halves.get_config())
    close(again.embed(ops.zeros((2, 4, dim)), POSITIONS), expected)


def test_waves_of_later_positions_are_rotations(array):
    waves = array(Sinusoidal().embed(ops.zeros((1, 50, 8)), np.arange(50)[None]))[0]
    distance = [np.linalg.norm(waves[p + 3] - waves[p]) for p in range(40)]
    np.testing.assert_allclose(distance, distance[0], rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_positions_keep_the_dtype_of_the_stream(dtype):
    x = ops.zeros((2, 4, 6), dtype)
    learned = Learned(5, 6)
    learned.build()
    for position in (learned, Sinusoidal()):
        assert position.embed(x, POSITIONS).dtype == x.dtype


def test_rotary_products_depend_on_the_distance_alone(rng, array):
    q, k = rng.normal(size=(2, 1, 1, 3, 8)).astype("float32")
    position = Rotary()

    def product(p, r):
        turned = (position.rotate(x, np.array([[at]])) for x, at in ((q, p), (k, r)))
        first, second = map(array, turned)
        return (first * second).sum(-1)

    np.testing.assert_allclose(product(7, 3), product(104, 100), rtol=1e-3, atol=1e-4)
    assert not np.allclose(product(7, 3), product(7, 4), atol=0.1)
    np.testing.assert_allclose(product(5, 5), (q * k).sum(-1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("base", [10_000.0, 100.0])
def test_rotary_turns_pairs_half_the_width_apart(rng, close, base):
    x = rng.normal(size=(2, 4, 3, 6)).astype("float32")
    z = (x[..., :3] + 1j * x[..., 3:]) * np.exp(
        1j * POSITIONS[..., None, None] / base ** (np.arange(3) / 3)
    )
    close(Rotary(base).rotate(x, POSITIONS), np.concatenate([z.real, z.imag], axis=-1))


def log_bucket(offset, buckets, distance, future):
    """As section 2.1 of arXiv:1910.10683 has it, by logarithms, for one offset."""
    side = buckets // 2 if future else buckets
    upper = side if future and offset > 0 else 0
    far = abs(offset) if future else max(-offset, 0)
    single = side // 2
    if far < single:
        return upper + far
    share = math.log(far / single) / math.log(distance / single)
    return upper + min(side - 1, single + int(share * (side - single) + 1e-9))


@pytest.mark.parametrize("future", [True, False])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (8, 20), (10, 64), (4, 3)])
def test_buckets_are_single_distances_and_then_growing_ranges(buckets, distance, future):
    offsets = np.arange(-2 * distance, 2 * distance + 1)
    found = bucket_of(offsets, buckets, distance, future)
    assert found.tolist() == [log_bucket(int(o), buckets, distance, future) for o in offsets]
    assert set(found) == set(range(buckets)) - ({buckets // 2} if future else set())


def test_each_offset_has_the_number_of_its_bucket_for_each_head(rng, array, close):
    position = Buckets(heads=3, buckets=8, distance=20)
    position.build()
    table = rng.normal(size=(8, 3)).astype("float32")
    position.embeddings.assign(table)
    q, k = np.array([[0, 30, 4], [7, 8, 9]]), np.array([[0, 1, 2, 90], [7, 2, 30, 8]])
    bias = array(position.bias(q, k))
    assert bias.shape == (2, 3, 3, 4)
    for b, h, t, s in np.ndindex(bias.shape):
        assert bias[b, h, t, s] == table[log_bucket(int(k[b, s] - q[b, t]), 8, 20, True), h]
    again = Buckets.from_config(position.get_config())
    again.build()
    again.set_weights(position.get_weights())
    close(again.bias(q, k), bias)


def test_buckets_that_cannot_be_are_refused():
    for options in (
        {"buckets": 3},
        {"buckets": 32, "distance": 8},
        {"buckets": 1, "future": False},
    ):
        with pytest.raises(ValueError, match="buckets must be 2 or more a side"):
            Buckets(2, **options)


def test_the_numbers_of_buckets_are_trained():
    position = Buckets(2, initializer=keras.initializers.Zeros(), name="positions")
    position.build()
    assert [v.path for v in position.trainable_variables] == ["positions/embeddings"]
