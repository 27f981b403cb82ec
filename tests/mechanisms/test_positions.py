import numpy as np
import pytest
from keras import ops

from tfattn.mechanisms.positions import Learned, Position, Sinusoidal

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
