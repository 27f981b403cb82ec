"""Texts spoiled, and what is to be written of them: span corruption, text infilling, a beginning.

    text                     Thank you for inviting me to your party last week
    span corruption          Thank you <x> me to your party <y> week      <x> for inviting <y> last
    text infilling           Thank you <mask> me to your <mask> week      Thank you for inviting ...
    a beginning              Thank you for inviting                       me to your party last week

All is drawn from uniform numbers that are given, a row from its own: nothing depends on the batch.
Every source and every target ends with the end token.
"""

from typing import Any, NamedTuple

import tensorflow as tf

Tensor = Any


class Example(NamedTuple):
    """A source and a target of each row, filled up with 0."""

    source: Tensor  # (b, s) int32
    source_count: Tensor  # (b,) int32
    target: Tensor  # (b, t) int32
    target_count: Tensor  # (b,) int32


class Spans(NamedTuple):
    """Parts of each text that are left out, with a token or more between two of them."""

    starts: Tensor  # (b, n) int32, rising
    sizes: Tensor  # (b, n) int32
    count: Tensor  # (b,) int32: how many of them there are


def span_sizes(count: int, rate: float, span: float) -> tuple[int, int]:
    """Return how many of `count` tokens are left out, and in how many spans."""
    if count < 2:  # of one token nothing can be left out
        return 0, 0
    noise = min(max(round(count * rate), 1), count - 1)
    return noise, min(max(round(noise / span), 1), count - noise)


def text_length(length: int, rate: float, span: float) -> int:
    """Return the longest text of which `length` tokens are left with sentinels and the end token.

    512 tokens are left of 568, and 114 are to be written, at the published rate and span.
    """

    def left(count):
        noise, spans = span_sizes(count, rate, span)
        return count - noise + spans + 1

    count = max(length - 1, 1)  # from here on a text may grow with every span of one token
    while left(count + 1) <= length:
        count += 1
    return count


def corrupted_spans(draws: Tensor, count: Tensor, rate: float, span: float) -> Spans:
    """Return spans of a fixed number in all and of random sizes (arXiv:1910.10683, 3.1.4).

    As released: both what is left out and what is kept are cut at places that are drawn uniformly,
    into as many parts; the first part is kept. So lengths follow from `count` alone.

    Args:
        draws: (b, 2 t) numbers in [0, 1), for texts of at most t tokens.
        count: (b,) tokens of each text.
        rate: share of the tokens that is left out.
        span: mean size of a span.
    """
    length = draws.shape[1] // 2
    most_noise, most = span_sizes(max(length, 2), rate, span)
    some = count > 1
    noise = tf.clip_by_value(_round(tf.cast(count, tf.float64) * rate), 1, tf.maximum(count - 1, 1))
    spans = tf.clip_by_value(_round(tf.cast(noise, tf.float64) / span), 1, count - noise)
    noise, spans = (tf.where(some, x, 0) for x in (noise, spans))
    sizes = random_parts(draws[:, :most_noise], noise, spans, most)
    kept = random_parts(draws[:, length:], count - noise, spans, most)
    return Spans(tf.cumsum(kept + sizes, axis=1) - sizes, sizes, spans)


def poisson_spans(draws: Tensor, count: Tensor, rate: float, span: float) -> Spans:
    """Return spans whose sizes are Poisson, 0 among them (arXiv:1910.13461, section 2.2).

    They are as many as it takes to leave out that share; the last one is cut to it.

    Args:
        draws: (b, 2 t), as for `corrupted_spans`.
        count: (b,) tokens of each text.
        rate: share of the tokens that is left out.
        span: mean size of a span.
    """
    length = draws.shape[1] // 2
    noise = _round(tf.cast(count, tf.float64) * rate)
    noise = tf.minimum(noise, tf.maximum(count - 1, 0))  # of every text something is left
    most = min(2 * span_sizes(max(length, 2), rate, span)[1] + 4, length)
    sizes = _poisson(draws[:, :most], span)
    before = tf.cumsum(sizes, axis=1) - sizes
    wanted = tf.reduce_sum(tf.cast(before < noise[:, None], tf.int32), axis=1)
    spans = tf.minimum(wanted, count - noise)
    there = tf.range(most)[None] < spans[:, None]
    sizes = tf.where(there, tf.clip_by_value(noise[:, None] - before, 0, sizes), 0)
    left = count - tf.reduce_sum(sizes, axis=1)
    # One more part is what follows the last span. It and the first may be empty: both are cut with
    # a token more, for which there is room where anything is left out.
    items = tf.minimum(left + 2, length + 1)
    kept = random_parts(draws[:, length:], items, spans + 1, most + 1)[:, :most]
    kept = tf.where(there, kept - tf.one_hot(0, most, dtype=tf.int32), 0)
    return Spans(tf.cumsum(kept + sizes, axis=1) - sizes, sizes, spans)


def random_parts(draws: Tensor, items: Tensor, parts: Tensor, most: int) -> Tensor:
    """Return the sizes (b, most) of so many parts of so many items, all cuts being equally likely.

    Args:
        draws: (b, m) numbers in [0, 1), of which the first `items` - 1 are read.
        items: (b,) things that are parted, at most m + 1.
        parts: (b,) parts, each of an item at least; 0 parts of 0 items.
        most: parts at most; sizes after the last one are 0.
    """
    gap = tf.range(draws.shape[1])[None]
    inside = gap < items[:, None] - 1
    order = tf.argsort(tf.where(inside, draws, 2.0), axis=1, stable=True)
    rank = tf.argsort(order, axis=1, stable=True)
    cut = tf.cast(inside & (rank < parts[:, None] - 1), tf.int32)
    part = tf.pad(tf.cumsum(cut, axis=1), [[0, 0], [1, 0]])  # of each item
    there = tf.range(draws.shape[1] + 1)[None] < items[:, None]
    return tf.reduce_sum(tf.one_hot(tf.where(there, part, -1), most, dtype=tf.int32), axis=1)


def sentinel_example(
    tokens: Tensor,
    count: Tensor,
    spans: Spans,
    sentinels: Tensor,
    end: int,
    widths: tuple[int, int],
) -> Example:
    """Return the texts with a sentinel for each span, and after each sentinel what it stands for.

    Args:
        tokens: (b, t) int32.
        count: (b,) tokens of each text.
        spans: of each.
        sentinels: (n,) ids, in the order of their use.
        end: what ends a source and a target.
        widths: places of a source and of a target; what is longer is cut.
    """
    begins, noise = _places(spans, tokens.shape[1])
    number = tf.cumsum(tf.cast(begins, tf.int32), axis=1) - 1
    marks = tf.gather(sentinels, tf.clip_by_value(number, 0, len(sentinels) - 1))
    there = tf.range(tokens.shape[1])[None] < count[:, None]
    source = _joined(begins, marks, there & ~noise, tokens, end, widths[0])
    return Example(*source, *_joined(begins, marks, there & noise, tokens, end, widths[1]))


def mask_example(
    tokens: Tensor, spoiled: Tensor, count: Tensor, spans: Spans, mask: int, end: int
) -> Example:
    """Return the spoiled texts with one mask for each span, and the texts as they are.

    Both have t + 1 places: a source with more masks than tokens left out, as of some very short
    texts, is cut.

    Args:
        tokens: (b, t) int32: what is to be written.
        spoiled: (b, t), the same, or with its sentences in another order.
        count: (b,) tokens of each text.
        spans: of the spoiled ones.
        mask: id of what stands for a span.
        end: what ends a source and a target.
    """
    length = tokens.shape[1]
    begins, noise = _places(spans, length)
    there = tf.range(length)[None] < count[:, None]
    marks = tf.fill(tf.shape(begins), mask)
    source = _joined(begins, marks, there & ~noise, spoiled, end, length + 1)
    return Example(*source, *_ended(tokens, count, end, length + 1))


def beginning_example(draws: Tensor, tokens: Tensor, count: Tensor, end: int) -> Example:
    """Return a beginning of each text, of any length, and what follows it.

    Args:
        draws: (b, 1) numbers in [0, 1).
        tokens: (b, t) int32.
        count: (b,) tokens of each text.
        end: what ends a source and a target.
    """
    length = tokens.shape[1]
    first = 1 + tf.cast(draws[:, 0] * tf.cast(tf.maximum(count - 1, 1), tf.float32), tf.int32)
    first = tf.minimum(first, count)
    after = tf.minimum(first[:, None] + tf.range(length)[None], length - 1)
    rest = tf.gather(tokens, after, batch_dims=1)
    return Example(
        *_ended(tokens, first, end, length + 1), *_ended(rest, count - first, end, length + 1)
    )


def permuted(draws: Tensor, tokens: Tensor, count: Tensor, full_stops: Tensor) -> Tensor:
    """Return the texts with their sentences in a random order (arXiv:1910.13461, section 2.2).

    Args:
        draws: (b, t) numbers in [0, 1).
        tokens: (b, t) int32.
        count: (b,) tokens of each text.
        full_stops: (v,) bool: which tokens end a sentence.
    """
    ends = tf.cast(tf.gather(full_stops, tokens), tf.int32)
    sentence = tf.cumsum(ends, axis=1, exclusive=True)  # its full stop belongs to it
    key = tf.gather(draws, sentence, batch_dims=1)
    there = tf.range(tokens.shape[1])[None] < count[:, None]
    order = tf.argsort(tf.where(there, key, 2.0), axis=1, stable=True)
    return tf.gather(tokens, order, batch_dims=1)


def _places(spans, length):
    """Return where spans begin, (b, t + 1) bool, and what is in one, (b, t) bool."""
    number = tf.range(spans.starts.shape[1])[None]
    starts = tf.where(number < spans.count[:, None], spans.starts, -1)
    begins = tf.reduce_any(tf.one_hot(starts, length + 1, True, False, dtype=tf.bool), axis=1)
    place = tf.range(length)[None, :, None]
    inside = (starts[:, None] <= place) & (place < (starts + spans.sizes)[:, None])
    return begins, tf.reduce_any(inside & (starts[:, None] >= 0), axis=2)


def _joined(marked, marks, kept, tokens, end, width):
    """Return marks (b, t + 1) and the kept of the tokens (b, t) in their order, and their count."""
    wide = tf.pad(tokens, [[0, 0], [0, 1]])
    all_kept = tf.stack([marked, tf.pad(kept, [[0, 0], [0, 1]])], axis=2)
    values = tf.reshape(tf.stack([marks, wide], axis=2), [tf.shape(tokens)[0], -1])
    all_kept = tf.reshape(all_kept, [tf.shape(tokens)[0], -1])
    place = tf.cumsum(tf.cast(all_kept, tf.int32), axis=1) - 1
    count = tf.minimum(place[:, -1] + 1, width - 1)
    place = tf.where(all_kept & (place < width - 1), place, width)  # beyond the last: dropped
    rows = tf.broadcast_to(tf.range(tf.shape(tokens)[0])[:, None], tf.shape(place))
    index = tf.stack([rows, place], axis=-1)
    found = tf.zeros([tf.shape(tokens)[0], width + 1], tf.int32)
    found = tf.tensor_scatter_nd_max(found, index, tf.where(place < width, values, 0))
    return _ended(found[:, :width], count, end, width)


def _ended(tokens, count, end, width):
    """Return the first `count` tokens with the end after them, in `width` places, and the count."""
    tokens = tf.pad(tokens[:, :width], [[0, 0], [0, max(width - tokens.shape[1], 0)]])
    place = tf.range(width)[None]
    last = count[:, None]
    found = tf.where(place < last, tokens, tf.where(place == last, end, 0))
    return found, count + 1


def _poisson(draws, mean):
    """Return numbers of Poisson's distribution from uniform ones, by its cumulated shares."""
    shares, share, k = [], tf.exp(-tf.constant(mean, tf.float64)), 0
    total = share
    while k < 10 * mean + 10:
        shares.append(total)
        k += 1
        share = share * mean / k
        total = total + share
    table = tf.cast(tf.stack(shares), tf.float32)
    flat = tf.searchsorted(table, tf.reshape(draws, [-1]), side="right", out_type=tf.int32)
    return tf.reshape(flat, tf.shape(draws))


def _round(x):
    """Return float64 numbers as `span_sizes` rounds them; float32 has some on the other side."""
    return tf.cast(tf.round(x), tf.int32)
