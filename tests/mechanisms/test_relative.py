import math

import keras
import numpy as np
import pytest

from tfattn.mechanisms.multihead import MultiHeadAttention
from tfattn.mechanisms.relative import Alibi, Buckets, Shaw, bucket_of


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


@pytest.mark.parametrize("future", [True, False])
def test_new_buckets_start_as_penalties_of_distance(future, array):
    position = Buckets(4, buckets=8, distance=20, future=future)
    position.build()
    first = array(position.embeddings)
    for row in range(8):
        alike = [abs(o) for o in range(-20, 21) if log_bucket(o, 8, 20, future) == row]
        wanted = [-min(alike, default=0) * slope for slope in (1, 1 / 4, 1 / 16, 1 / 64)]
        assert first[row].tolist() == wanted
    again = Buckets.from_config(position.get_config())
    again.build()
    np.testing.assert_array_equal(array(again.embeddings), first)


def test_the_numbers_of_buckets_are_trained():
    position = Buckets(2, initializer=keras.initializers.Zeros(), name="positions")
    position.build()
    assert [v.path for v in position.trainable_variables] == ["positions/embeddings"]


def test_the_slopes_of_alibi_are_those_of_the_paper(close):
    close(Alibi(8).slopes(), 2.0 ** -np.arange(1, 9))
    close(Alibi(16).slopes(), 2.0 ** -np.arange(0.5, 8.5, 0.5))
    # Of a number between: those of the power of two below it, and every other one of the next.
    twelve = [*2.0 ** -np.arange(1, 9), *2.0 ** -np.arange(0.5, 4.5)]
    close(Alibi(12).slopes(), twelve)
    assert Alibi(1).slopes().tolist() == [2.0**-8]


def test_alibi_penalizes_distance_by_the_slope_of_the_head(array):
    q, k = np.array([[0, 30, 4], [7, 8, 9]]), np.array([[0, 1, 2, 90], [7, 2, 30, 8]])
    position = Alibi(4)
    bias = array(position.bias(q, k))
    assert bias.shape == (2, 4, 3, 4) and not position.weights
    for b, h, t, s in np.ndindex(bias.shape):
        assert bias[b, h, t, s] == -abs(k[b, s] - q[b, t]) * 2.0 ** (-2 * (h + 1))


def shaw(q, k, v, keys, values, distance):
    """Equations 3 and 4 of arXiv:1803.02155, one query of one head at a time."""
    out = np.zeros(q.shape)
    for b, t, h in np.ndindex(q.shape[:3]):
        row = np.clip(np.arange(len(k[b])) - t, -distance, distance) + distance
        scores = (k[b, :, h] + keys[row]) @ q[b, t, h] / np.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max())
        out[b, t, h] = weights / weights.sum() @ (v[b, :, h] + values[row])
    return out


@pytest.mark.parametrize("kv_heads", [3, 1])
def test_distances_have_vectors_beside_keys_and_values(kv_heads, rng, array, close):
    layer = MultiHeadAttention(12, 3, position=Shaw(4, 2, name="positions"), kv_heads=kv_heads)
    layer.build()
    layer.set_weights([rng.normal(size=v.shape) for v in layer.weights])
    table, other = (array(x) for x in (layer.position.keys, layer.position.values))
    assert table.shape == other.shape == (5, 4)
    x = rng.normal(size=(2, 7, 12)).astype("float32")
    q, k, v = (array(project(x)) for project in (layer.query, layer.key, layer.value))
    k, v = (np.repeat(a, 3 // kv_heads, axis=2) for a in (k, v))
    close(layer(x), layer.output_projection(shaw(q, k, v, table, other, 2).astype("float32")))
