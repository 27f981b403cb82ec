"""From a source and its target the text can be put together again, and draws are what they say."""

import math
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipelines.text.data.corruption import (
    beginning_example,
    corrupted_spans,
    mask_example,
    permuted,
    poisson_spans,
    random_parts,
    sentinel_example,
    span_sizes,
    text_length,
)

END, MASK, FIRST = 1, 3, 100  # tokens of texts are from FIRST on
SENTINELS = [99, 98, 97, *range(50, 90)]  # in the order of their use
RATES = [(0.15, 3.0), (0.15, 1.0), (0.3, 3.0), (0.5, 2.5), (0.9, 1.0)]


def batch(counts, length, seed=0):
    """Return draws, texts of different tokens filled up with 0, and their counts."""
    rng, counts = np.random.default_rng(seed), np.asarray(counts, np.int32)
    draws = rng.random((len(counts), 2 * length), np.float32)
    tokens = np.where(np.arange(length) < counts[:, None], FIRST + np.arange(length), 0)
    return tf.constant(draws), tf.constant(tokens, tf.int32), tf.constant(counts)


def plain(example):
    """Return sources and targets as lists, after a look at what fills them up."""
    sides = []
    for ids, count in ((example.source, example.source_count), (example.target, example[3])):
        assert ids.dtype == count.dtype == tf.int32
        rows = [
            (row.tolist(), n) for row, n in zip(ids.numpy(), count.numpy().tolist(), strict=True)
        ]
        assert not any(any(row[n:]) for row, n in rows)
        assert all(row[n - 1] == END and END not in row[: n - 1] for row, n in rows)
        sides.append([row[: n - 1] for row, n in rows])
    return list(zip(*sides, strict=True))


def corrupted(counts, length, rate, span, seed=0):
    """Return the spans, and the examples in lists, of texts that span corruption leaves whole."""
    draws, tokens, counts = batch(counts, length, seed)
    spans = corrupted_spans(draws, counts, rate, span)
    noise, most = span_sizes(length, rate, span)
    sentinels = tf.constant(SENTINELS[: max(most, 1)])
    widths = (length - noise + most + 1, noise + most + 1)
    return spans, plain(sentinel_example(tokens, counts, spans, sentinels, END, widths))


def restored(source, target):
    """Return the text of which these two are, by hand."""
    held = {}
    for token in target:
        if token in SENTINELS:
            assert token not in held
            held[token] = []
        else:
            held[list(held)[-1]].append(token)
    text = []
    for token in source:
        text += held.pop(token) if token in SENTINELS else [token]
    assert not held
    return text


def test_numbers_are_those_published():
    assert text_length(512, 0.15, 3.0) == 568
    noise, spans = span_sizes(568, 0.15, 3.0)
    assert (noise, spans) == (85, 28)
    assert 568 - noise + spans + 1 == 512 and noise + spans + 1 == 114
    [(source, target)] = corrupted([568], 568, 0.15, 3.0)[1]
    assert (len(source) + 1, len(target) + 1) == (512, 114)


@pytest.mark.parametrize(("rate", "span"), RATES)
def test_no_longer_text_leaves_as_few_tokens(rate, span):
    def left(count):
        noise, spans = span_sizes(count, rate, span)
        return count - noise + spans + 1

    for length in range(2, 130):
        count = text_length(length, rate, span)
        assert left(count) <= length < min(map(left, range(count + 1, count + 50)))


@pytest.mark.parametrize(("rate", "span"), RATES[:4])
def test_what_is_left_out_follows_from_the_count_alone(rate, span):
    """Among the counts are those, such as 190, of which float32 takes another share."""
    counts = [*range(1, 40), 50, 70, 90, 95, 110, 170, 175, 190, 195, 230, 330, 350, 390]
    draws, _, given = batch(counts, max(counts))
    spans = corrupted_spans(draws, given, rate, span)
    found = zip(spans.sizes.numpy().sum(axis=1), spans.count.numpy(), strict=True)
    assert list(found) == [span_sizes(count, rate, span) for count in counts]


@settings(max_examples=30, derandomize=True)
@given(st.integers(1, 60), st.sampled_from(RATES), st.integers(0, 2**32), st.data())
def test_a_text_can_be_put_together_again(length, given_rate, seed, data):
    counts = data.draw(st.lists(st.integers(1, length), min_size=1, max_size=20))
    spans, found = corrupted(counts, length, *given_rate, seed)
    for count, starts, sizes, (source, target) in zip(
        counts, spans.starts.numpy(), spans.sizes.numpy(), found, strict=True
    ):
        text = [*range(FIRST, FIRST + count)]
        assert restored(source, target) == text
        noise, number = span_sizes(count, *given_rate)
        assert len(source) == count - noise + number and len(target) == noise + number
        marks = [token for token in source if token in SENTINELS]
        assert marks == [token for token in target if token in SENTINELS] == SENTINELS[:number]
        # The first token is kept, and a token or more between two spans.
        assert source[0] == FIRST
        assert not any({*pair} <= {*marks} for pair in zip(source, source[1:], strict=False))
        # The spans are told as they are.
        pieces = [text[at : at + n] for at, n in zip(starts[:number], sizes[:number], strict=True)]
        assert [t for piece in pieces for t in piece] == [t for t in target if t not in marks]
        assert all(pieces)


def test_what_is_longer_than_its_places_is_cut_and_still_ends():
    draws, tokens, counts = batch([20, 3], 20)
    spans = corrupted_spans(draws, counts, 0.5, 2.0)
    whole = plain(sentinel_example(tokens, counts, spans, tf.constant(SENTINELS), END, (30, 30)))
    found = plain(sentinel_example(tokens, counts, spans, tf.constant(SENTINELS), END, (8, 6)))
    assert found == [(source[:7], target[:5]) for source, target in whole]
    assert len(whole[0][0]) > 7 and len(whole[0][1]) > 5


def parts_of(draws, items, parts):
    """Return the sizes of the parts when the `parts` - 1 smallest draws are cuts."""
    gaps = np.argsort(draws[: max(items - 1, 0)], kind="stable")[: max(parts - 1, 0)]
    edges = [0, *np.sort(gaps + 1), items]
    return np.diff(edges).tolist() if parts else []


@settings(max_examples=40, derandomize=True)
@given(st.integers(1, 30), st.integers(0, 2**32), st.data())
def test_parts_are_cut_at_the_smallest_draws(width, seed, data):
    items = data.draw(st.lists(st.integers(0, width + 1), min_size=1, max_size=8))
    parts = [data.draw(st.integers(min(n, 1), n)) for n in items]
    most = max(parts) + data.draw(st.integers(1, 3))
    draws = np.random.default_rng(seed).random((len(items), width), np.float32)
    found = random_parts(tf.constant(draws), tf.constant(items), tf.constant(parts), most).numpy()
    assert found.shape == (len(items), most)
    for row, *case in zip(found.tolist(), draws, items, parts, strict=True):
        wanted = parts_of(*case)
        assert row == wanted + [0] * (most - len(wanted))


def test_all_ways_to_cut_are_equally_likely():
    rows, items, parts = 20_000, 7, 3
    draws = np.random.default_rng(0).random((rows, 9), np.float32)
    found = random_parts(draws, tf.fill([rows], items), tf.fill([rows], parts), 4).numpy()
    ways = Counter(map(tuple, found.tolist()))
    assert all(sum(way) == items and 0 not in way[:3] and not way[3] for way in ways)
    assert len(ways) == math.comb(items - 1, parts - 1)
    assert stats.chisquare(list(ways.values())).pvalue > 1e-4


def infilled(text, starts, sizes):
    """Return the text with a mask in place of each span, by hand."""
    found, at = [], 0
    for start, size in zip(starts, sizes, strict=True):
        found += text[at:start] + [MASK]
        at = start + size
    return found + text[at:]


def test_sizes_are_poisson_until_the_share_is_left_out():
    length, span = 511, 3.0
    draws, _, counts = batch([length] * 200, length)
    spans = poisson_spans(draws, counts, 0.3, span)
    number, sizes = spans.count.numpy(), spans.sizes.numpy()
    assert (sizes.sum(axis=1) == round(0.3 * length)).all()
    assert all(row[n - 1] > 0 and not row[n:].any() for row, n in zip(sizes, number, strict=True))
    # The first 25, of which none is the one that is cut, are of Poisson's distribution.
    assert number.min() > 25
    first = np.minimum(sizes[:, :25].ravel(), 9)
    shares = stats.poisson.pmf(np.arange(9), span)
    shares = np.append(shares, 1 - shares.sum())
    assert stats.chisquare(np.bincount(first, minlength=10), shares * first.size).pvalue > 1e-4
    assert abs(number.mean() - 0.3 * length / span) < 1.5  # by Wald's identity


@settings(max_examples=30, derandomize=True)
@given(
    st.integers(1, 60),
    st.sampled_from([(0.3, 3.0), (0.15, 1.0), (0.5, 5.0)]),
    st.integers(0, 2**32),
    st.data(),
)
def test_a_mask_stands_for_each_span_and_the_whole_text_is_written(length, given_rate, seed, data):
    counts = data.draw(st.lists(st.integers(1, length), min_size=1, max_size=20))
    draws, tokens, given = batch(counts, length, seed)
    spans = poisson_spans(draws, given, *given_rate)
    found = plain(mask_example(tokens, tokens, given, spans, MASK, END))
    rows = (x.numpy().tolist() for x in spans)
    for count, starts, sizes, number, (source, target) in zip(counts, *rows, found, strict=True):
        text = [*range(FIRST, FIRST + count)]
        assert target == text
        wanted = infilled(text, starts[:number], sizes[:number])
        assert source == wanted[:length]
        total = round(given_rate[0] * count)
        # Of few tokens so many spans of none can come that no room is left for others.
        assert sum(sizes) == total if count > 14 else sum(sizes) <= total
        assert len(wanted) == count - sum(sizes) + number
        assert all(pair != (MASK, MASK) for pair in zip(wanted, wanted[1:], strict=False))


def test_of_a_short_text_something_is_left_out_and_something_kept():
    draws, _, counts = batch([2] * 20, 4)
    spans = poisson_spans(draws, counts, 0.75, 3.0)
    assert spans.sizes.numpy().sum(axis=1).max() == 1


def test_spans_are_as_likely_at_the_end_of_a_text_as_at_its_begin():
    rows, count = 4000, 12
    draws, tokens, counts = batch([count] * rows, 20)
    spans = poisson_spans(draws, counts, 0.3, 2.0)
    found = plain(mask_example(tokens, tokens, counts, spans, MASK, END))
    edges = [np.sum([source[at] == MASK for source, _ in found]) for at in (0, -1)]
    # Of the gaps between the tokens that are kept, and the two edges, any may have a span.
    share = np.mean(spans.count.numpy() / (count - spans.sizes.numpy().sum(axis=1) + 1))
    assert all(stats.binomtest(int(n), rows, share).pvalue > 1e-3 for n in edges)


STOPS = np.zeros(300, bool)
STOPS[[105, 110, 120, 121]] = True


def sentences(text):
    found = [[]]
    for token in text:
        found[-1].append(token)
        if STOPS[token]:
            found.append([])
    return found if found[-1] else found[:-1]


@settings(max_examples=30, derandomize=True)
@given(st.integers(1, 40), st.integers(0, 2**32), st.data())
def test_sentences_come_in_the_order_of_their_draws(length, seed, data):
    counts = data.draw(st.lists(st.integers(1, length), min_size=1, max_size=10))
    draws, tokens, given = batch(counts, length, seed)
    found = permuted(draws[:, :length], tokens, given, tf.constant(STOPS)).numpy()
    for count, row, own in zip(counts, found, draws.numpy(), strict=True):
        parts = sentences([*range(FIRST, FIRST + count)])
        order = np.argsort(own[: len(parts)])
        assert row[:count].tolist() == [token for number in order for token in parts[number]]
        assert not row[count:].any()


def test_all_orders_of_sentences_are_equally_likely():
    draws, tokens, counts = batch([14] * 6000, 16)  # up to 105, to 110, and three more
    found = permuted(draws[:, :16], tokens, counts, tf.constant(STOPS)).numpy()
    orders = Counter(map(tuple, found.tolist()))
    assert len(orders) == 6
    assert stats.chisquare(list(orders.values())).pvalue > 1e-4


@settings(max_examples=30, derandomize=True)
@given(st.integers(1, 40), st.data())
def test_a_beginning_and_its_rest_are_the_text(length, data):
    counts = data.draw(st.lists(st.integers(1, length), min_size=1, max_size=10))
    edges = st.sampled_from([0.0, 0.5, 1 - 2.0**-24])
    draws = data.draw(st.lists(edges, min_size=len(counts), max_size=len(counts)))
    _, tokens, given = batch(counts, length)
    found = plain(beginning_example(tf.constant(draws)[:, None], tokens, given, END))
    for count, draw, (source, target) in zip(counts, draws, found, strict=True):
        assert source + target == [*range(FIRST, FIRST + count)]
        assert len(source) == min(1 + int(draw * (count - 1)), count)
        assert target or count == 1


def test_every_length_of_a_beginning_is_equally_likely():
    draws, tokens, counts = batch([11] * 5000, 16)
    found = plain(beginning_example(draws[:, :1], tokens, counts, END))
    lengths = np.bincount([len(source) for source, _ in found])
    assert not lengths[0] and len(lengths) == 11
    assert stats.chisquare(lengths[1:]).pvalue > 1e-4


def spans_of(draws, tokens, counts):
    spans = corrupted_spans(draws, counts, 0.15, 3.0)
    return sentinel_example(tokens, counts, spans, tf.constant(SENTINELS), END, (40, 20))


def infilling_of(draws, tokens, counts):
    spoiled = permuted(draws[:, 5:38], tokens, counts, tf.constant(STOPS))
    return mask_example(tokens, spoiled, counts, poisson_spans(draws, counts, 0.3, 3.0), MASK, END)


def beginning_of(draws, tokens, counts):
    return beginning_example(draws[:, :1], tokens, counts, END)


@pytest.mark.parametrize("example", [spans_of, infilling_of, beginning_of])
def test_a_row_is_the_same_alone_in_a_graph_and_in_a_stream(example):
    given = batch([*range(1, 34), 33, 33], 33)
    whole = [x.numpy() for x in example(*given)]
    np.testing.assert_equal([x.numpy() for x in tf.function(example)(*given)], whole)
    stream = tf.data.Dataset.from_tensor_slices(given)
    [found] = stream.batch(35).map(example)
    np.testing.assert_equal([x.numpy() for x in found], whole)
    singles = [[x.numpy() for x in one] for one in stream.batch(1).map(example)]
    np.testing.assert_equal([np.concatenate(x) for x in zip(*singles, strict=True)], whole)
