"""Labelled texts as rows: special tokens, types, and what is cut when a row is full."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import words

from pipelines.text.data.table_rows import TableRows
from tfattn.errors import InputError


def table(tokenizer, texts, pairs=None, length=16):
    return TableRows(tokenizer, texts, pairs, np.arange(len(texts), dtype=np.int32), length)


def ids(tokenizer, text):
    flat, _ = tokenizer.encode_batch([text])
    return list(flat)


def longest_first(a, b, room):
    """`_truncate_seq_pair` of arXiv:1810.04805's released code."""
    a, b = list(a), list(b)
    while len(a) + len(b) > room:
        (a if len(a) > len(b) else b).pop()
    return a, b


def expected(tokenizer, parts, length):
    start, end = tokenizer.start_id, tokenizer.separator_id
    tokens, types = [start], [0]
    for number, part in enumerate(parts):
        tokens += [*part, end]
        types += [number] * (len(part) + 1)
    fill = length - len(tokens)
    return {
        "tokens": tokens + [tokenizer.pad_id] * fill,
        "segments": [1] * len(tokens) + [0] * fill,
        "types": types + [0] * fill,
    }


sizes = st.lists(st.integers(0, 12), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(sizes, st.integers(4, 20), st.integers(0, 1000))
def test_a_text_stands_between_start_and_separator_and_is_cut_at_its_end(
    tokenizer, sizes, length, seed
):
    rng = np.random.default_rng(seed)
    texts = [" ".join(words(rng, size)) for size in sizes]
    rows = table(tokenizer, texts, length=length)
    found = rows.read(np.arange(len(texts)))
    encoded = [ids(tokenizer, text) for text in texts]
    for i, tokens in enumerate(encoded):
        for name, wanted in expected(tokenizer, [tokens[: length - 2]], rows.width).items():
            assert found[name][i].tolist() == wanted, name
    assert rows.cut == sum(len(tokens) > length - 2 for tokens in encoded)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.integers(5, 20), st.integers(0, 1000))
def test_of_a_pair_the_longer_text_is_cut_first(tokenizer, sizes, others, length, seed):
    rng = np.random.default_rng(seed)
    count = min(len(sizes), len(others))
    texts = [" ".join(words(rng, size)) for size in sizes[:count]]
    pairs = [" ".join(words(rng, size)) for size in others[:count]]
    rows = table(tokenizer, texts, pairs, length)
    found = rows.read(np.arange(count))
    cut = 0
    for i, (text, pair) in enumerate(zip(texts, pairs, strict=True)):
        a, b = ids(tokenizer, text), ids(tokenizer, pair)
        kept = longest_first(a, b, length - 3)
        cut += kept != (a, b)
        for name, wanted in expected(tokenizer, kept, rows.width).items():
            assert found[name][i].tolist() == wanted, name
    assert rows.cut == cut


def test_rows_come_in_any_order_with_their_labels(tokenizer):
    rng = np.random.default_rng(0)
    rows = table(tokenizer, [" ".join(words(rng, n)) for n in range(6)])
    every, some = rows.read(np.arange(6)), rows.read(np.array([4, 1, 4]))
    assert len(rows) == 6
    assert some["label"].tolist() == [4, 1, 4]
    for name in ("tokens", "segments", "types"):
        assert some[name].dtype == np.int32
        assert np.array_equal(some[name], every[name][[4, 1, 4]])


@pytest.mark.parametrize(
    ("count", "length", "width"), [(1, 64, 3), (6, 64, 8), (30, 64, 32), (18, 20, 20), (30, 20, 20)]
)
def test_rows_are_no_wider_than_the_longest_needs(tokenizer, count, length, width):
    known = next(token for token in tokenizer.vocabulary if token.isalpha() and len(token) > 1)
    rows = table(tokenizer, [known, " ".join([known] * count)], length=length)
    assert rows.width == width
    assert rows.read(np.arange(2))["tokens"].shape == (2, width)


@pytest.mark.parametrize(("pairs", "least"), [(None, 4), (["ba"], 5)])
def test_rows_without_room_for_a_text_are_refused(tokenizer, pairs, least):
    table(tokenizer, ["ba"], pairs, least)
    with pytest.raises(InputError, match=f"length: .*Received: {least - 1} tokens a row"):
        table(tokenizer, ["ba"], pairs, least - 1)
