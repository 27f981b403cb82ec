import numpy as np
import pytest
from keras import ops

from tfattn.mechanisms.positions import Learned, Position, Rotary, Sinusoidal, Sinusoidal2D

POSITIONS = np.array([[0, 1, 2, 3], [2, 0, 1, 4]])


def test_the_hooks_of_the_base_do_nothing(rng):
    x = rng.normal(size=(2, 4, 6)).astype("float32")
    position = Position()
    assert position.embed(x, POSITIONS) is x and position.rotate(x, POSITIONS) is x
    assert position.bias(POSITIONS, POSITIONS) is None
    assert position.compare(x, POSITIONS, POSITIONS) is None
    assert position.carry(x, POSITIONS, POSITIONS) is None


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


@pytest.mark.parametrize("interleaved", [True, False])
def test_waves_of_later_positions_are_rotations(interleaved, array, close):
    position = Sinusoidal(interleaved=interleaved)
    waves = array(position.embed(ops.zeros((1, 50, 8)), np.arange(50)[None]))[0]
    for distance in (0, 1, 7):
        turn = position.rotation(distance, 8)
        close(waves[: 50 - distance] @ turn.T, waves[distance:])
        close(turn @ turn.T, np.eye(8))


def test_waves_of_a_grid_are_those_of_its_columns_and_rows(close):
    columns, rows, dim = 3, 2, 8
    expected = np.zeros((1, 1 + rows * columns, dim))
    for place in range(rows * columns):
        row, column = divmod(place, columns)
        angles = [at / 10_000 ** (2 * np.arange(2) / 4) for at in (column, row)]
        parts = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
        expected[0, 1 + place] = np.concatenate(parts)
    grid = Sinusoidal2D(columns, leading=1)
    places = np.arange(1 + rows * columns)[None]
    close(grid.embed(ops.ones((1, len(places[0]), dim)), places), 1 + expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_positions_keep_the_dtype_of_the_stream(dtype):
    x = ops.zeros((2, 4, 6), dtype)
    learned = Learned(5, 6)
    learned.build()
    for position in (learned, Sinusoidal(), Sinusoidal2D(2)):
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
