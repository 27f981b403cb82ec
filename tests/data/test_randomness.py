"""Random numbers are uniform, independent, and the same wherever they are computed."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from pipelines.core.randomness import Stream, uniform

SIGMAS = 4.5  # one failure in 150,000 tests of chance; the numbers are fixed, so none or always


def draw(seed=0, stream=0, epoch=0, rows=range(1000), columns=200):
    row = tf.constant(list(rows), tf.int64)
    epochs = tf.fill(row.shape, tf.constant(epoch, tf.int64))
    return uniform(seed, stream, epochs, row, columns).numpy()


def assert_uncorrelated(x, y):
    correlation = np.corrcoef(x.ravel(), y.ravel())[0, 1]
    assert abs(correlation) < SIGMAS / np.sqrt(x.size)


def assert_uniform(x):
    counts, _ = np.histogram(x, bins=100, range=(0, 1))
    assert stats.chisquare(counts).pvalue > 1e-5


def test_numbers_are_at_least_zero_and_below_one():
    found = draw()
    assert found.dtype == np.float32
    assert found.shape == (1000, 200)
    assert 0 <= found.min() < 1e-4
    assert 1 - 1e-4 < found.max() < 1


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**31, 2**40])
def test_numbers_are_uniform_together_and_in_each_row_and_column(seed):
    found = draw(seed)
    assert_uniform(found)
    counts = np.stack([np.histogram(row, bins=10, range=(0, 1))[0] for row in found])
    assert stats.chisquare(counts, axis=1).pvalue.min() > 1e-5
    counts = np.stack([np.histogram(row, bins=10, range=(0, 1))[0] for row in found.T])
    assert stats.chisquare(counts, axis=1).pvalue.min() > 1e-5


def test_the_p_values_of_rows_are_uniform_themselves():
    """Neither too random nor too even: each row's chi-square has its own distribution."""
    counts = np.stack([np.histogram(row, bins=10, range=(0, 1))[0] for row in draw(columns=1000)])
    assert stats.kstest(stats.chisquare(counts, axis=1).pvalue, "uniform").pvalue > 1e-4


def test_neighbouring_rows_and_columns_are_independent():
    found = draw()
    for lag in (1, 2, 3, 16):
        assert_uncorrelated(found[lag:], found[:-lag])
        assert_uncorrelated(found[:, lag:], found[:, :-lag])
        assert_uncorrelated(found[lag:, lag:], found[:-lag, :-lag])
        assert_uncorrelated(found[lag:, :-lag], found[:-lag, lag:])


@pytest.mark.parametrize("change", [{"seed": 1}, {"stream": 1}, {"epoch": 1}])
def test_another_seed_stream_or_epoch_gives_independent_numbers(change):
    found, other = draw(), draw(**change)
    assert np.mean(found == other) < 1e-4
    assert_uncorrelated(found, other)
    assert_uncorrelated(found[1:], other[:-1])
    assert_uncorrelated(found[:, 1:], other[:, :-1])


def test_the_first_columns_over_rows_and_epochs_are_uniform_and_independent():
    """Draws such as "is next" use one column of each row."""
    first = np.stack([draw(epoch=epoch, columns=1)[:, 0] for epoch in range(100)])
    assert_uniform(first)
    assert_uncorrelated(first[1:], first[:-1])
    assert_uncorrelated(first[:, 1:], first[:, :-1])


def test_single_bits_are_fair_and_independent():
    bits = (draw() * 2**24).astype(np.uint32)
    planes = np.stack([(bits >> shift) & 1 for shift in range(24)]).reshape(24, -1).astype(float)
    assert np.abs(planes.mean(axis=1) - 0.5).max() < SIGMAS * 0.5 / np.sqrt(bits.size)
    correlations = np.corrcoef(planes) - np.eye(24)
    assert np.abs(correlations).max() < SIGMAS / np.sqrt(bits.size)


def test_rows_beyond_32_bits_have_numbers_of_their_own():
    rows = [5, 2**32 + 5, 2**33 + 5, 2**62 + 5]
    found = draw(rows=rows, columns=500)
    assert len(np.unique(found[:, 0])) == len(rows)
    for i in range(len(rows)):
        for j in range(i):
            assert_uncorrelated(found[i], found[j])


def test_no_two_rows_of_an_epoch_draw_the_same_numbers():
    found = draw(rows=range(200_000), columns=3)
    assert len(np.unique(found, axis=0)) == len(found)


def test_a_row_draws_the_same_numbers_alone_and_among_others_and_with_more_columns():
    among = draw(rows=range(50), columns=20)
    alone = draw(rows=[17], columns=20)
    more = draw(rows=[17], columns=33)
    assert np.array_equal(among[17:18], alone)
    assert np.array_equal(more[:, :20], alone)


@pytest.mark.parametrize("jit", [False, True])
def test_eager_graph_and_xla_agree(jit):
    rows = tf.constant([0, 1, 2**31, 2**32, 2**40 + 3], tf.int64)
    epoch = tf.constant([0, 1, 2, 3, 2**31 - 1], tf.int64)
    compiled = tf.function(lambda e, r: uniform(9, 2, e, r, 7), jit_compile=jit)
    assert np.array_equal(compiled(epoch, rows), uniform(9, 2, epoch, rows, 7))


def mix(x):
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ x >> shift) * factor % 2**32
    return x ^ x >> 16


def test_numbers_never_change():
    """A run that is resumed with a later version sees the same masks: plain Python, once more."""
    seed, stream, epoch, columns = 3, 1, 2, 4
    rows = [4, 2**32 - 1, 2**40 + 9]
    wanted = []
    for row in rows:
        key = mix((seed * 0x9E3779B9 + stream * 0x85EBCA6B) % 2**32)
        key = mix((mix(key ^ epoch) + row) % 2**32)
        key = mix(key ^ row >> 32)
        counters = [(key + column * 0x9E3779B1) % 2**32 for column in range(columns)]
        wanted.append([(mix(mix(counter)) >> 8) / 2**24 for counter in counters])
    assert draw(seed, stream, epoch, rows, columns).tolist() == wanted


def test_numbers_of_some_columns_are_those_of_all():
    row = tf.range(50, dtype=tf.int64)
    which = np.random.default_rng(0).integers(0, 200, (50, 7)).astype(np.int32)
    some = uniform(3, 1, row * 0 + 2, row, tf.constant(which)).numpy()
    whole = uniform(3, 1, row * 0 + 2, row, 200).numpy()
    assert np.array_equal(some, np.take_along_axis(whole, which, axis=1))


@pytest.mark.parametrize("seed", [0, 1, 2**31 + 5, 2**40 + 3])
def test_a_seed_may_be_a_number_or_a_tensor(seed):
    assert np.array_equal(draw(seed, 3), draw(tf.constant(seed, tf.int64), 3))


def test_streams_keep_their_values_so_that_runs_keep_their_results():
    assert {name: int(stream) for name, stream in Stream.__members__.items()} == {
        "MASK_CHOICE": 0,
        "MASK_FATE": 1,
        "MASK_REPLACEMENT": 2,
        "OTHER_SEGMENT": 3,
        "SEGMENT_FOLLOWS": 4,
        "PREFIX_LENGTH": 1,
        "CORRUPTED_SPANS": 1,
        "SENTENCE_ORDER": 2,
        "SAMPLE_CONTINUATION": 1,
        "SAMPLE_TARGET": 2,
        "AUGMENTATION": 41,
        "MASKED_PATCHES": 42,
        "LENGTH_BATCH_ORDER": 254,
        "ROW_ORDER": 255,
    }


@pytest.mark.parametrize("seed", [3, tf.constant(3, tf.int64)])
def test_a_stream_is_its_number(seed):
    row = tf.range(4, dtype=tf.int64)
    named = uniform(seed, Stream.ROW_ORDER, row * 0, row, 5)
    assert np.array_equal(named, uniform(seed, 255, row * 0, row, 5))
