"""Rows are the joined documents, cut where a row is full."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.text.data.stretches import StretchRows
from tfattn.errors import InputError

END, PAD = 91, 92


class Documents:
    """A store in memory."""

    def __init__(self, *documents):
        self.tokens = np.array([token for document in documents for token in document], np.uint16)
        self.offsets = np.cumsum([0, *map(len, documents)]).astype("<u8")


def rows_of(documents, length, end=END, **options):
    rows = StretchRows(Documents(*documents), length, end, PAD, **options)
    return rows, rows.read(np.arange(len(rows)))


def test_a_row_goes_on_where_the_last_one_was_full():
    _, found = rows_of([[1, 2, 3], [4], [5, 6]], 4)
    assert found["tokens"].tolist() == [[1, 2, 3, END], [4, END, 5, 6], [END, PAD, PAD, PAD]]
    assert found["count"].tolist() == [4, 4, 1]
    assert {array.dtype for array in found.values()} == {np.dtype(np.int32)}


def test_a_document_begins_a_row_where_they_are_not_joined():
    _, found = rows_of([[1, 2, 3, 4], [5], [6, 7]], 4, join=False)
    assert found["tokens"].tolist() == [
        [1, 2, 3, 4],
        [END, PAD, PAD, PAD],
        [5, END, PAD, PAD],
        [6, 7, END, PAD],
    ]
    assert found["count"].tolist() == [4, 1, 2, 3]


documents = st.lists(st.lists(st.integers(1, 80), max_size=20), min_size=1, max_size=8)


@settings(max_examples=150, derandomize=True)
@given(documents, st.integers(1, 12), st.booleans(), st.booleans())
def test_rows_are_stretches_of_the_joined_texts(texts, length, end, join):
    whole = [text + [END] * end for text in texts]
    joined = [[token for text in whole for token in text]] if join else whole
    if sum(map(len, joined)) < 2 or not any(texts):
        return
    rows, found = rows_of(texts, length, END if end else None, join=join)
    wanted = [text[at : at + length] for text in joined for at in range(0, len(text), length)]
    assert [row[:n].tolist() for row, n in zip(*found.values(), strict=True)] == wanted
    assert found["tokens"].shape == (len(rows), length)
    assert (found["tokens"][np.arange(length) >= found["count"][:, None]] == PAD).all()


def test_a_row_is_the_same_in_any_company():
    rows, whole = rows_of([[1, 2, 3], [4], [5, 6, 7, 8, 9]], 3)
    picks = np.array([2, 0, 2])
    for name, array in rows.read(picks).items():
        np.testing.assert_array_equal(array, whole[name][picks])
    assert rows.read(np.array([], np.int64))["tokens"].shape == (0, 3)
    with pytest.raises(IndexError, match=f"rows from 0 to {len(rows) - 1}"):
        rows.read(np.array([len(rows)]))


@pytest.mark.parametrize(
    ("documents", "end", "received"), [([], END, 0), ([[7]], None, 1), ([[], []], None, 0)]
)
def test_too_few_tokens_are_an_input_error(documents, end, received):
    with pytest.raises(InputError, match=f"at least two tokens. Received: {received}"):
        rows_of(documents, 4, end)
    assert len(rows_of([[7]], 4)[0]) == 1  # with its end token it has two
