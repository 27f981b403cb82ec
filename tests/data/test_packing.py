"""Rows hold every token once, keep pieces apart, and depend on nothing but their numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.text.data.packing import PackedRows, PairRows, best_fit, ranges
from tfattn.errors import InputError

START, SEPARATOR, PAD = 1, 2, 0
IDS = (START, SEPARATOR, PAD)


def corpus(lengths):
    """Every token is a number of its own, from 10 on."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype("<u8")
    return SimpleNamespace(tokens=np.arange(10, 10 + offsets[-1], dtype="<u4"), offsets=offsets)


def document_of(store, token):
    return int(np.searchsorted(store.offsets, token - 10, side="right"))


lengths_of_documents = st.lists(st.integers(0, 40), min_size=1, max_size=60).filter(any)


@settings(max_examples=150, deadline=None)
@given(lengths_of_documents, st.integers(3, 24), st.booleans())
def test_every_token_is_in_the_rows_exactly_once(lengths, length, pack):
    store = corpus(lengths)
    rows = PackedRows(store, length, *IDS, pack=pack)
    tokens = rows.read(np.arange(len(rows)))["tokens"]
    assert tokens.shape == (len(rows), length) and tokens.dtype == np.int32
    assert np.array_equal(np.sort(tokens[tokens >= 10]), store.tokens)


@settings(max_examples=150, deadline=None)
@given(lengths_of_documents, st.integers(3, 24), st.booleans())
def test_segments_number_the_pieces_and_positions_restart_in_each(lengths, length, pack):
    store = corpus(lengths)
    rows = PackedRows(store, length, *IDS, pack=pack)
    batch = rows.read(np.arange(len(rows)))
    assert {array.dtype for array in batch.values()} == {np.dtype(np.int32)}
    for tokens, segments, positions in zip(*batch.values(), strict=True):
        last = segments.max()
        assert (last == 1 or pack) and last >= 1
        used = np.count_nonzero(segments)
        assert not segments[used:].any() and not tokens[used:].any() and not positions[used:].any()
        assert np.array_equal(np.unique(segments[:used]), np.arange(1, last + 1))
        assert (np.diff(segments[:used]) >= 0).all()
        for number in range(1, last + 1):
            piece = tokens[segments == number]
            assert piece[0] == START and piece[-1] == SEPARATOR and len(piece) >= 3
            assert (np.diff(piece[1:-1]) == 1).all()
            assert document_of(store, piece[1]) == document_of(store, piece[-2])
            assert np.array_equal(positions[segments == number], np.arange(len(piece)))


@settings(max_examples=150, deadline=None)
@given(lengths_of_documents, st.integers(3, 24))
def test_a_document_has_as_few_pieces_as_possible_and_only_the_last_is_short(lengths, length):
    store = corpus(lengths)
    rows = PackedRows(store, length, *IDS, pack=False)
    sizes = (rows.read(np.arange(len(rows)))["tokens"] >= 10).sum(axis=1).tolist()
    room = length - 2
    expected = [min(room, n - start) for n in lengths for start in range(0, n, room)]
    assert sizes == expected  # without packing in the order of the store


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(3, 20), min_size=1, max_size=80))
def test_packing_is_best_fit_decreasing(sizes):
    rows = best_fit(np.array(sizes), 20)
    free = []
    for size in sorted(sizes, reverse=True):  # the plain, quadratic algorithm
        fits = [i for i, room in enumerate(free) if room >= size]
        if not fits:
            free.append(20)
            fits = [len(free) - 1]
        free[min(fits, key=lambda i: free[i])] -= size
    used = np.bincount(rows, weights=sizes)
    assert sorted(used) == sorted(20 - room for room in free) and used.max() <= 20


def test_rows_follow_the_order_of_the_store():
    store = corpus([5, 1, 9, 2, 30, 4, 8])
    rows = PackedRows(store, 12, *IDS)
    first = rows.read(np.arange(len(rows)))["tokens"][:, 1]
    assert (np.diff(first) > 0).all() and first[0] == 10


def test_a_row_reads_as_drawn_in_the_module():
    rows = PackedRows(corpus([2, 2]), 9, *IDS)
    batch = rows.read(np.array([0]))
    assert batch["tokens"].tolist() == [[1, 10, 11, 2, 1, 12, 13, 2, 0]]
    assert batch["segments"].tolist() == [[1, 1, 1, 1, 2, 2, 2, 2, 0]]
    assert batch["positions"].tolist() == [[0, 1, 2, 3, 0, 1, 2, 3, 0]]
    assert rows.padding_share == pytest.approx(1 / 9)


def test_padding_share_is_that_of_the_rows():
    rows = PackedRows(corpus([7, 3, 12, 1, 1, 25, 6]), 10, *IDS)
    segments = rows.read(np.arange(len(rows)))["segments"]
    assert rows.padding_share == pytest.approx(float((segments == 0).mean()))


def test_special_tokens_are_those_that_were_given():
    rows = PackedRows(corpus([2]), 6, start_id=7, separator_id=8, pad_id=9)
    assert rows.read(np.array([0]))["tokens"].tolist() == [[7, 10, 11, 8, 9, 9]]


def test_rows_do_not_depend_on_the_company_they_are_read_in():
    store = corpus([7, 3, 12, 1, 1, 25, 6, 19, 2])
    rows, again = (PackedRows(store, 10, *IDS) for _ in range(2))
    whole = rows.read(np.arange(len(rows)))
    picks = np.array([3, 0, 3, len(rows) - 1])
    for name, array in again.read(picks).items():
        assert np.array_equal(array, whole[name][picks])
    assert again.read(np.array([], np.int64))["tokens"].shape == (0, 10)


@pytest.mark.parametrize("wrong", [-1, 4])
def test_a_row_that_is_not_there_is_an_index_error(wrong):
    rows = PackedRows(corpus([5, 5, 5, 5]), 7, *IDS)
    with pytest.raises(IndexError, match="rows from 0 to 3"):
        rows.read(np.array([0, wrong]))


def test_rows_too_short_for_a_token_are_an_input_error():
    assert len(PackedRows(corpus([3]), 3, *IDS)) == 3
    with pytest.raises(InputError, match="at least 3 tokens a row. Received: 2"):
        PackedRows(corpus([3]), 2, *IDS)
    with pytest.raises(InputError, match="at least 6 tokens a pair. Received: 5"):
        PairRows(corpus([3, 3]), 5, *IDS)


def test_a_store_without_tokens_is_an_input_error():
    with pytest.raises(InputError, match="expected documents with tokens"):
        PackedRows(corpus([0, 0]), 8, *IDS)


def test_hundreds_of_thousands_of_pieces_are_planned_without_a_token_lost():
    lengths = np.random.default_rng(0).integers(1, 200, 600_000)
    rows = PackedRows(corpus(lengths), 128, *IDS)
    assert rows.padding_share < 0.001
    assert np.sum(rows._sizes) == lengths.sum() and len(rows._sizes) > 800_000
    assert np.array_equal(np.sort(rows._starts), np.sort(np.unique(rows._starts)))


pairs_of_documents = st.lists(st.integers(0, 40), min_size=2, max_size=30).filter(
    lambda lengths: sum(n > 1 for n in lengths) >= 2
)


def read_all(rows, other, is_next):
    every = np.arange(len(rows))
    return rows.read(every, np.resize(other, len(rows)), np.resize(is_next, len(rows)))


@settings(max_examples=150, deadline=None)
@given(pairs_of_documents, st.integers(6, 24), st.data())
def test_pairs_follow_each_other_or_come_from_two_documents(lengths, length, data):
    store = corpus(lengths)
    rows = PairRows(store, length, *IDS)
    size = len(rows)
    other = data.draw(st.lists(st.integers(0, size - 1), min_size=size, max_size=size))
    is_next = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    batch = rows.read(np.arange(size), np.array(other), is_next)
    assert batch["next"].tolist() == [0 if follows else 1 for follows in is_next]
    for i in range(size):
        tokens, segments, positions, types = (
            batch[name][i] for name in ("tokens", "segments", "positions", "types")
        )
        used = np.count_nonzero(segments)
        assert set(segments[:used]) == {1} and not tokens[used:].any() and not types[used:].any()
        assert positions.tolist() == [*range(used), *[0] * (length - used)]
        first, second = tokens[:used][types[:used] == 0], tokens[:used][types[:used] == 1]
        assert first[0] == START and first[-1] == second[-1] == SEPARATOR
        assert (np.diff(types[:used]) >= 0).all() and len(first) >= 3 and len(second) >= 2
        a, b = first[1:-1], second[:-1]
        assert (np.diff(a) == 1).all() and (np.diff(b) == 1).all()
        if is_next[i]:
            assert b[0] == a[-1] + 1 and document_of(store, a[0]) == document_of(store, b[-1])
        else:
            assert document_of(store, a[0]) != document_of(store, b[0])


@settings(max_examples=150, deadline=None)
@given(pairs_of_documents, st.integers(6, 24))
def test_pairs_that_follow_hold_every_token_of_longer_documents_once(lengths, length):
    store = corpus(lengths)
    tokens = read_all(PairRows(store, length, *IDS), 0, True)["tokens"]
    kept = np.repeat(np.array(lengths) > 1, lengths)
    assert np.array_equal(np.sort(tokens[tokens >= 10]), store.tokens[kept])


def test_a_random_second_sentence_is_that_of_the_row_the_caller_picks():
    rows = PairRows(corpus([8, 8, 8]), 11, *IDS)
    batch = rows.read(np.array([0, 0, 2]), np.array([2, 0, 2]), np.array([False] * 3))
    seconds = [batch["tokens"][i][batch["types"][i] == 1][:-1].tolist() for i in range(3)]
    # From row 2; from the next document, as row 0 is of the same; the next after the last is 0.
    assert seconds == [[30, 31, 32, 33], [22, 23, 24, 25], [14, 15, 16, 17]]


def test_padding_share_of_pairs_is_that_of_the_rows():
    rows = PairRows(corpus([8, 3, 30, 2]), 11, *IDS)
    segments = read_all(rows, 0, True)["segments"]
    assert rows.padding_share == pytest.approx(float((segments == 0).mean()))


@pytest.mark.parametrize("lengths", [[50], [50, 1, 1], [1, 1, 1]])
def test_pairs_from_fewer_than_two_documents_are_an_input_error(lengths):
    with pytest.raises(InputError, match="at least two documents of two or more tokens"):
        PairRows(corpus(lengths), 16, *IDS)


@pytest.mark.parametrize("argument", [0, 1])
def test_a_pair_that_is_not_there_is_an_index_error(argument):
    rows = PairRows(corpus([8, 8]), 11, *IDS)
    arguments = [np.array([0]), np.array([1])]
    arguments[argument] = np.array([2])
    with pytest.raises(IndexError, match="rows from 0 to 1"):
        rows.read(*arguments, np.array([False]))


def test_ranges_are_laid_end_to_end():
    assert ranges(np.array([5, 9, 0]), np.array([2, 0, 3])).tolist() == [5, 6, 0, 1, 2]
    assert ranges(np.array([], int), np.array([], int)).tolist() == []
