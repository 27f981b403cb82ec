"""Batches of rows of like length: all rows, one shape a bucket, and `batch(k)` a pure function."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tiny import plain

from pipelines.core.batches import shuffled
from pipelines.core.length_batches import LengthBatches, bucket_edges
from pipelines.core.randomness import bits
from tfattn.errors import InputError


class Numbers:
    """Rows that hold their own number, in as many places as they are long."""

    def __init__(self, counts):
        self.counts = np.asarray(counts).T  # (2, n)

    def read(self, indices, widths=None):
        widths = self.counts.max(axis=1) if widths is None else widths
        found = {"row": indices.astype(np.int32)}
        for name, counts, width in zip(("source", "target"), self.counts, widths, strict=True):
            assert (counts[indices] <= width).all()
            there = np.arange(width) < counts[indices][:, None]
            found[name] = (there * (indices[:, None] + 1)).astype(np.int32)
        return found


def transform(rows, epoch, row):
    return {**rows, "epoch": epoch, "number": row}


def batches(counts, tokens=64, accumulate=1, seed=0):
    return LengthBatches(Numbers(counts), transform, tokens, accumulate, seed)


def lengths(count, longest=60, seed=0):
    rng = np.random.default_rng(seed)
    longer = rng.integers(1, longest + 1, count)
    return np.stack([longer, rng.integers(1, longer + 1)], axis=1)[:, rng.permutation(2)]


def epoch_of(source, epoch=0):
    count = source.steps_per_epoch
    return [plain(source.at(step)) for step in range(epoch * count, (epoch + 1) * count)]


def edge(row, counts):
    """Return the bucket of a row, by its longer side."""
    edges = bucket_edges(int(np.max(counts)))
    return int(edges[edges >= np.max(counts[row])].min())


def test_buckets_grow_by_their_widths():
    edges = bucket_edges(1000)
    assert edges[:5].tolist() == [8, 16, 24, 32, 40] and edges[-1] == 1000
    assert not (edges % 8).any()
    growth = edges[6:-1] / edges[5:-2]
    assert growth.min() > 1.25 and growth.max() <= 1.4
    assert bucket_edges(60).tolist() == [8, 16, 24, 32, 40, 56, 64]
    assert bucket_edges(1).tolist() == [8] and bucket_edges(9).tolist() == [8, 16]


@settings(max_examples=25, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=60),
    st.integers(40, 400),
    st.integers(1, 3),
    st.integers(0, 2**62),
)
def test_every_row_is_in_every_epoch_and_only_last_batches_repeat_some(
    counts, tokens, accumulate, seed
):
    source = batches(counts, tokens, accumulate, seed)
    for epoch in (0, 1):
        seen, buckets, shapes = np.zeros(len(counts), int), {}, {}
        for found in epoch_of(source, epoch):
            rows = found["number"]
            assert (found["epoch"] == epoch).all() and np.array_equal(rows, found["row"])
            np.testing.assert_array_equal(found["source"].max(axis=1), rows + 1)
            seen += np.bincount(rows, minlength=len(counts))
            [bucket] = {edge(row, counts) for row in rows}
            shape = found["source"].shape, found["target"].shape
            assert shapes.setdefault(bucket, shape) == shape
            size, width = len(rows), max(shape[0][1], shape[1][1])
            assert size % accumulate == 0 and size // accumulate * width <= tokens
            buckets[bucket] = buckets.get(bucket, 0) + size
        assert seen.min() >= 1
        for bucket, given_rows in buckets.items():
            own = [row for row in range(len(counts)) if edge(row, counts) == bucket]
            size = shapes[bucket][0][0]
            assert sum(seen[own]) == given_rows == -(-len(own) // size) * size
            # A row comes again when all of its bucket have been there as often.
            assert seen[own].max() - seen[own].min() <= 1


def test_a_side_is_no_wider_than_its_longest_row_of_the_bucket():
    counts = [(30, 3), (29, 9), (2, 12), (5, 5)]
    found = epoch_of(batches(counts))
    widths = {(batch["source"].shape[1], batch["target"].shape[1]) for batch in found}
    assert widths == {(32, 16), (8, 16), (8, 8)}


def test_large_batches_are_even_and_all_of_them_are_of_about_as_many_tokens():
    counts = lengths(400)
    source = batches(counts, tokens=1000, accumulate=3)
    for found in epoch_of(source):
        size, rest = divmod(len(found["number"]), 3)
        bucket = edge(found["number"][0], counts)
        assert not rest and (size % 8 == 0 or size < 16)
        assert 0.75 * 1000 < size * bucket <= 1000


@pytest.mark.parametrize("parts", [1, 3, 5, 7])
def test_batches_can_be_cut_into_parts_however_few_rows_they_have(parts):
    tokens = 64 * parts  # of the longest one row each
    source = LengthBatches(Numbers(lengths(60)), transform, tokens, 2, 0, parts)
    sizes = [len(found["number"]) for found in epoch_of(source)]
    assert min(sizes) == 2 * parts and not any(size % (2 * parts) for size in sizes)


@pytest.mark.parametrize("first", [0, 1, 17])
def test_a_stream_from_any_step_gives_what_at_gives(first):
    source = batches(lengths(60), seed=2)
    assert source.steps_per_epoch > 12
    streamed = [plain(batch) for batch in source.stream(first, first + 9)]
    assert len(streamed) == 9
    for step, batch in enumerate(streamed, first):
        np.testing.assert_equal(batch, plain(source.at(step)))


def test_the_order_follows_from_data_and_seed_and_each_epoch_has_another():
    counts = lengths(60)
    orders = {}
    for seed in (0, 1, 0):
        source = batches(counts, seed=seed)
        epochs = [np.concatenate([b["number"] for b in epoch_of(source, e)]) for e in (0, 1)]
        orders.setdefault(seed, []).extend(order.tolist() for order in epochs)
    assert orders[0][:2] == orders[0][2:]
    assert len({tuple(order) for orders in orders.values() for order in orders}) == 4


def test_buckets_take_turns_at_random_and_rows_change_their_company():
    counts = lengths(200, longest=24)
    source = batches(counts, tokens=96)
    count, epochs = source.steps_per_epoch, 40
    found = [plain(batch) for batch in source.stream(0, epochs * count)]
    buckets = [edge(batch["number"][0], counts) for batch in found]
    order = np.array(buckets).reshape(epochs, count)
    assert (np.sort(order, axis=1) == np.sort(order[0])).all()  # each epoch has the same batches
    share = (order == 24).mean(axis=0)  # of the longest, at every place
    assert abs(share - share.mean()).max() < 4.5 * np.sqrt(0.25 / epochs)
    company = [tuple(sorted(batch["number"])) for batch in found[: 2 * count]]
    assert len(set(company)) > 0.95 * 2 * count


def test_steps_beyond_32_bits_are_reached_at_once():
    source = batches(lengths(20))
    step = 2**40
    assert (source.at(step)["epoch"].numpy() == step // source.steps_per_epoch).all()


def test_fewer_tokens_than_the_longest_pair_are_an_error():
    counts = [(3, 3), (3, 21)]
    assert len(epoch_of(batches(counts, tokens=24))) == 2
    with pytest.raises(InputError, match=r"batch_tokens: expected at least the 24 .*: 23\."):
        batches(counts, tokens=23)


@settings(max_examples=25, derandomize=True)
@given(st.integers(1, 300), st.integers(0, 2**32))
def test_places_are_shuffled_by_a_permutation_of_each_key(count, seed):
    epochs = tf.repeat(tf.constant([3, 4], tf.int64), count)
    keys = bits(seed, 9, epochs, epochs * 0, 3)
    places = tf.tile(tf.range(count, dtype=tf.int64), [2])
    found = shuffled(places, count, keys).numpy().reshape(2, count)
    assert all(np.array_equal(np.sort(row), np.arange(count)) for row in found)
    assert count < 20 or (found[0] != found[1]).any()
    picked = shuffled(places[::3], count, keys[::3]).numpy()  # each place alone
    np.testing.assert_array_equal(picked, found.reshape(-1)[::3])


def test_all_permutations_of_few_places_are_equally_likely():
    epochs = tf.repeat(tf.range(1200, dtype=tf.int64), 3)
    places = tf.tile(tf.range(3, dtype=tf.int64), [1200])
    found = shuffled(places, 3, bits(1, 9, epochs, epochs * 0, 3)).numpy().reshape(-1, 3)
    orders, counts = np.unique(found, axis=0, return_counts=True)
    assert len(orders) == 6 and stats.chisquare(counts).pvalue > 1e-4
