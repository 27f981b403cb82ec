"""`batch(k)` is a pure function of (data, seed, k), however it is computed."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tiny import masked, plain

from pipelines.core.api import Rows
from pipelines.core.batches import Batches
from pipelines.core.randomness import uniform


class Numbers(Rows):
    """Rows that hold their own number."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def read(self, indices, *draws):
        assert ((indices >= 0) & (indices < self.count)).all()
        found = {"number": indices.astype(np.int32), "wide": np.repeat(indices[:, None], 3, axis=1)}
        return {**found, **{f"draw_{i}": draw for i, draw in enumerate(draws)}}


def transform(rows, epoch, row):
    weights = {"rows": tf.ones_like(rows["number"], tf.float32), "wide": tf.ones((tf.size(row), 3))}
    noise = uniform(5, 0, epoch, row, 4)
    return {"features": {**rows, "epoch": epoch, "noise": noise}, "weights": weights}


def batches(count, size, seed=0):
    return Batches(Numbers(count), transform, size, seed)


def orders(count, size, steps, seed=0):
    """Return the row and epoch numbers of all examples of the first steps."""
    found = [plain(batches(count, size, seed).at(step))["features"] for step in range(steps)]
    return tuple(np.concatenate([f[name] for f in found]) for name in ("number", "epoch"))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.integers(5, 200), st.integers(0, 2**62))
def test_each_epoch_is_a_permutation_of_all_rows(count, size, seed):
    steps = -(-2 * count // size)
    number, epoch = orders(count, size, steps, seed)
    assert np.array_equal(epoch, np.arange(steps * size) // count)
    for e in (0, 1):
        assert sorted(number[epoch == e]) == list(range(count))


def test_epochs_and_seeds_have_different_orders():
    count = 50
    found = [orders(count, 400 * count, 1, seed)[0].reshape(400, count) for seed in (0, 1, 256)]
    assert len({tuple(order) for order in np.concatenate(found)}) > 1190  # of 16 million


def test_every_row_is_equally_likely_at_every_place_and_after_every_other():
    count, epochs = 20, 1000
    number = orders(count, count * epochs, 1)[0].reshape(epochs, count)
    table = np.stack([np.bincount(column, minlength=count) for column in number.T])
    assert stats.chisquare(table, axis=1).pvalue.min() > 1e-5
    follows = np.zeros((count, count))
    np.add.at(follows, (number[:, :-1], number[:, 1:]), 1)
    assert stats.chisquare(follows[~np.eye(count, dtype=bool)]).pvalue > 1e-5


def test_an_order_has_nothing_left_of_the_order_of_the_store_or_of_the_last_epoch():
    count, epochs = 1000, 20
    found = orders(count, count, epochs)[0].reshape(epochs, count)
    for before, order in zip([np.arange(count), *found], found, strict=False):
        assert stats.spearmanr(order, np.arange(count)).pvalue > 1e-4
        assert stats.spearmanr(order, before).pvalue > 1e-4
        assert np.mean(np.abs(np.diff(order)) <= 10) < 0.05  # by chance 0.02


def test_one_row_is_every_example():
    number, epoch = orders(1, 4, 3)
    assert (number == 0).all()
    assert np.array_equal(epoch, np.arange(12))


def test_a_batch_larger_than_the_data_takes_several_epochs():
    number, epoch = orders(3, 8, 3)
    assert np.array_equal(epoch, np.arange(24) // 3)
    assert all(set(number[epoch == e]) == {0, 1, 2} for e in range(8))


def test_the_order_does_not_depend_on_the_size_of_batches():
    assert np.array_equal(orders(20, 5, 12)[0], orders(20, 12, 5)[0])


def test_steps_beyond_32_bits_are_reached_at_once():
    found = plain(batches(7, 4).at(2**40))["features"]
    assert np.array_equal(found["epoch"], (2**42 + np.arange(4)) // 7)


@pytest.mark.parametrize("row_independent", [False, True])
@pytest.mark.parametrize("first", [0, 1, 17])
def test_a_stream_from_any_step_gives_what_at_gives(first, row_independent):
    source = Batches(Numbers(30), transform, 4, 2, row_independent=row_independent)
    streamed = [plain(batch) for batch in source.stream(first, first + 9)]
    assert len(streamed) == 9
    for step, batch in enumerate(streamed, first):
        np.testing.assert_equal(batch, plain(source.at(step)))


@pytest.mark.parametrize(("size", "together"), [(4, 16), (2**12, 5), (2**14, 1)])
def test_several_batches_are_made_at_once_where_they_are_small(size, together):
    source, made = Batches(Numbers(30), transform, size, 0, row_independent=True), []
    read = source.rows.read
    source.rows.read = lambda indices: made.append(len(indices)) or read(indices)
    found = [len(batch["features"]["number"]) for batch in source.stream(0, 9)]
    assert found == [size] * 9 and set(made) == {together * size}  # rows of three numbers


def test_two_streams_are_equal_and_an_empty_one_is_empty():
    source = batches(30, 4)
    np.testing.assert_equal(*([plain(b) for b in source.stream(0, 40)] for _ in range(2)))
    assert list(source.stream(5, 5)) == []


@pytest.mark.parametrize("next_sentence", [False, True])
def test_masked_batches_are_equal_in_eager_mode_and_in_a_stream(store, tokenizer, next_sentence):
    _, source = masked(store, tokenizer, 6, next_sentence=next_sentence)
    for step, batch in enumerate(source.stream(3, 7), 3):
        np.testing.assert_equal(plain(batch), plain(source.at(step)))


@pytest.mark.parametrize("next_sentence", [False, True])
def test_masks_depend_on_epoch_and_row_and_not_on_the_size_of_batches(
    store, tokenizer, next_sentence
):
    small, large = (
        masked(store, tokenizer, size, next_sentence=next_sentence)[1] for size in (4, 12)
    )
    joined = tf.nest.map_structure(lambda *x: np.concatenate(x), *map(small.at, range(6)))
    np.testing.assert_equal(
        joined, tf.nest.map_structure(lambda *x: np.concatenate(x), *map(large.at, range(2)))
    )


def test_the_same_row_is_masked_differently_in_each_epoch(store, tokenizer):
    _, source = masked(store, tokenizer, 1)
    count = len(source.rows)
    found = [plain(batch) for batch in source.stream(0, 2 * count)]
    originals = [source.rows.read(np.array([i]))["tokens"].tobytes() for i in range(count)]
    assert len(set(originals)) == count
    views = {}
    for batch in found:
        tokens = batch["features"]["tokens"].copy()
        there = batch["weights"]["mlm"][0] > 0
        tokens[0, batch["features"]["predict_positions"][0, there]] = batch["targets"]["mlm"][
            0, there
        ]
        views.setdefault(tokens.tobytes(), []).append(batch["features"]["tokens"].tobytes())
    assert set(views) == set(originals)  # masked places filled in, they are the rows
    assert all(len(seen) == 2 for seen in views.values())
    assert np.mean([first != second for first, second in views.values()]) > 0.8


@pytest.mark.parametrize(("count", "size"), [(10, 4), (8, 4), (3, 8), (1, 1), (1, 5)])
def test_in_order_every_row_is_real_once_and_all_batches_have_one_size(count, size):
    found = [plain(batch) for batch in batches(count, size).in_order()]
    assert {len(batch["real"]) for batch in found} == {size}
    real = np.concatenate([batch["real"] for batch in found]) > 0
    number = np.concatenate([batch["features"]["number"] for batch in found])
    assert np.array_equal(number[real], np.arange(count))
    for name, shape in (("rows", (-1,)), ("wide", (-1, 3))):
        weights = np.concatenate([batch["weights"][name] for batch in found])
        wanted = np.broadcast_to(real.reshape(-1, *[1] * (len(shape) - 1)), weights.shape)
        assert np.array_equal(weights, wanted)


def test_in_order_a_limit_counts_batches():
    assert len(list(batches(10, 4).in_order(2))) == 2
    assert len(list(batches(10, 4).in_order(99))) == 3


def test_in_order_masks_are_the_same_every_time(store, tokenizer):
    _, source = masked(store, tokenizer, 8)
    np.testing.assert_equal(*([plain(b) for b in source.in_order()] for _ in range(2)))


def test_shapes_are_known_before_the_data_is_read():
    for row_independent in (False, True):
        spec = (
            Batches(Numbers(10), transform, 4, 0, row_independent=row_independent)
            .stream(0, 1)
            .element_spec
        )
        assert spec["features"]["number"].shape == (4,)
        assert spec["features"]["wide"].shape == (4, 3)


def test_draws_reach_the_rows_that_ask_for_them():
    class Drawing(Numbers):
        def draws(self, epoch, row):
            return row * 10, epoch + 1

    source = Batches(Drawing(6), transform, 4, 0)
    found = plain(source.at(2))["features"]
    assert np.array_equal(found["draw_0"], found["number"] * 10)
    assert np.array_equal(found["draw_1"], found["epoch"] + 1)
    for batch in source.in_order():
        assert (plain(batch)["features"]["draw_1"] == 1).all()


def test_steps_per_epoch_are_rows_by_size():
    assert batches(10, 4).steps_per_epoch == 2.5
