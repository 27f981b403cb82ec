"""What is found without sorting, against sorting."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from keras import ops

from tfattn.models.long_rows import BLOCK, draw, likeliest, top_k

WIDTHS = (1, 5, BLOCK, 3 * BLOCK + 7, 50_257)


def rows_of(seed, width, count=3):
    logits = 3 * np.random.default_rng(seed).normal(size=(count, width))
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return shares.astype("float32")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", [1, 4, 40])
def test_the_largest_are_those_of_a_sort(rng, array, width, k):
    if k > width:
        return
    x = rng.normal(size=(3, width)).astype("float32")
    x[1, : width // 2] = x[1, 0]  # equal ones
    values, index = map(array, top_k(ops.convert_to_tensor(x), k))
    np.testing.assert_array_equal(values, -np.sort(-x, axis=1)[:, :k])
    np.testing.assert_array_equal(np.take_along_axis(x, index, axis=1), values)
    assert all(len(set(row)) == k for row in index)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [1, 2, 40, 10**6])
def test_as_many_stay_as_are_asked_for(array, width, count):
    shares = rows_of(0, width)
    found = array(likeliest(ops.convert_to_tensor(shares), count=count))
    kept = min(count, width)
    least = -np.sort(-shares, axis=1)[:, kept - 1 : kept]
    np.testing.assert_array_equal(found, np.where(shares >= least, shares, 0))
    assert ((found > 0).sum(axis=1) == kept).all()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("part", [1e-6, 0.1, 0.5, 0.9, 0.99])
def test_as_few_stay_as_make_the_part(array, width, part):
    shares = rows_of(1, width)
    found = array(likeliest(ops.convert_to_tensor(shares), part=part)).astype("float64")
    total = shares.astype("float64").sum(axis=1)
    for row, kept in enumerate(found):
        there = kept[kept > 0]
        assert there.sum() >= (part - 1e-5) * total[row]
        assert there.sum() - there.min() < (part + 1e-5) * total[row]
        assert there.min() >= np.where(kept > 0, 0, shares[row]).max()


def test_the_whole_leaves_all_that_a_sum_can_tell(array):
    shares = rows_of(2, 5000)
    found = array(likeliest(ops.convert_to_tensor(shares), part=1.0))
    assert (shares - found).sum() < 1e-6 and ((found == shares) | (found == 0)).all()


def test_equal_shares_stay_together(array):
    shares = np.array([[0.4, 0.2, 0.2, 0.2], [0.25, 0.25, 0.25, 0.25]], "float32")
    found = array(likeliest(ops.convert_to_tensor(shares), count=2))
    np.testing.assert_array_equal(found, shares)
    found = array(likeliest(ops.convert_to_tensor(shares), part=0.4))
    np.testing.assert_array_equal(found, [[np.float32(0.4), 0, 0, 0], [0.25] * 4])


def test_one_that_is_certain_stays(array):
    certain = ops.convert_to_tensor(np.array([[0.0, 1.0, 0.0]], "float32"))
    for options in ({"count": 1}, {"count": 3}, {"part": 1e-9}, {"part": 1.0}):
        np.testing.assert_array_equal(array(likeliest(certain, **options)), [[0, 1, 0]])


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**24 - 1))
@example(0, 0)
@example(0, 2**24 - 1)
def test_a_draw_is_where_the_cumulated_shares_pass(seed, chance):
    shares = rows_of(seed, 777)
    shares[:, ::3] = 0
    uniform = np.full((3, 1), chance / 2**24, "float32")
    found = np.asarray(draw(ops.convert_to_tensor(shares), ops.convert_to_tensor(uniform)))[:, 0]
    ends = shares.astype("float64").cumsum(axis=1)
    passed = uniform[:, 0] * ends[:, -1]
    rows = np.arange(3)
    assert (shares[rows, found] > 0).all()
    assert (ends[rows, found] >= passed - 1e-5).all()
    assert (ends[rows, found] - shares[rows, found] <= passed + 1e-5).all()
