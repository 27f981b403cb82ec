import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.data.causal_rows import CausalRows
from tfattn.errors import InputError

START, END, PAD = 90, 91, 92


class Documents:
    """A store in memory."""

    def __init__(self, *documents):
        self.tokens = np.array([token for document in documents for token in document], np.uint16)
        self.offsets = np.cumsum([0, *map(len, documents)]).astype("<u8")


def rows_of(documents, length, start=None, end=None, **options):
    rows = CausalRows(Documents(*documents), length, start, end, PAD, **options)
    return rows, rows.read(np.arange(len(rows)))


def test_a_document_is_cut_where_a_row_is_full():
    rows, found = rows_of([[1, 2, 3, 4, 5, 6]], 3)
    np.testing.assert_array_equal(found["tokens"], [[1, 2, 3], [4, 5, PAD]])
    np.testing.assert_array_equal(found["targets"], [[2, 3, 4], [5, 6, PAD]])
    np.testing.assert_array_equal(found["segments"], [[1, 1, 1], [1, 1, 0]])
    np.testing.assert_array_equal(found["positions"], [[0, 1, 2], [0, 1, 0]])
    assert rows.targets == 5


def test_start_and_end_stand_around_a_document():
    rows, found = rows_of([[1, 2, 3, 4]], 3, START, END)
    np.testing.assert_array_equal(found["tokens"], [[START, 1, 2], [3, 4, PAD]])
    np.testing.assert_array_equal(found["targets"], [[1, 2, 3], [4, END, PAD]])
    assert rows.targets == 5


def test_short_documents_share_a_row_and_no_segment():
    rows, found = rows_of([[1, 2, 3], [4, 5], [6]], 8, START, END)
    assert len(rows) == 2 and rows.targets == 4 + 3 + 2
    np.testing.assert_array_equal(found["tokens"][0], [START, 1, 2, 3, START, 4, 5, PAD])
    np.testing.assert_array_equal(found["segments"][0], [1, 1, 1, 1, 2, 2, 2, 0])
    np.testing.assert_array_equal(found["positions"][0], [0, 1, 2, 3, 0, 1, 2, 0])
    alone, found = rows_of([[1, 2, 3], [4, 5], [6]], 8, START, END, pack=False)
    assert len(alone) == 3
    np.testing.assert_array_equal(found["segments"].max(axis=1), [1, 1, 1])


def test_a_document_of_one_token_predicts_nothing_without_a_start():
    rows, found = rows_of([[7], [1, 2], [8]], 4)
    assert rows.targets == 1
    np.testing.assert_array_equal(found["tokens"], [[1, PAD, PAD, PAD]])
    with pytest.raises(InputError, match="expected documents of two or more tokens"):
        rows_of([[7], [8]], 4)


documents = st.lists(st.lists(st.integers(1, 80), min_size=1, max_size=30), min_size=1, max_size=8)


@given(documents, st.integers(2, 12), st.booleans(), st.booleans(), st.booleans())
def test_every_token_is_a_target_once_after_what_stands_before_it(texts, length, start, end, pack):
    edges = (START if start else None, END if end else None)
    whole = [[START] * start + text + [END] * end for text in texts]
    pairs = sorted((a, b) for text in whole for a, b in zip(text, text[1:], strict=False))
    if not pairs:
        return
    rows, found = rows_of(texts, length, *edges, pack=pack)
    real = found["segments"] > 0
    seen = sorted(zip(found["tokens"][real], found["targets"][real], strict=True))
    assert seen == pairs and rows.targets == len(pairs) == real.sum()
    # Within a piece one target is the next input, and positions count from 0.
    same = (found["segments"][:, 1:] == found["segments"][:, :-1]) & real[:, 1:]
    np.testing.assert_array_equal(found["targets"][:, :-1][same], found["tokens"][:, 1:][same])
    np.testing.assert_array_equal(
        found["positions"][:, 1:][same], found["positions"][:, :-1][same] + 1
    )


def test_rows_overlap_where_a_stride_is_given_and_new_targets_are_counted():
    rows, found = rows_of([[1, 2, 3, 4, 5, 6, 7], [8, 9]], 3, stride=2)
    np.testing.assert_array_equal(found["tokens"], [[1, 2, 3], [3, 4, 5], [5, 6, 8]])
    np.testing.assert_array_equal(found["counted"], [[1, 1, 1], [0, 1, 1], [0, 1, 1]])
    assert rows.targets == 7


@given(documents, st.integers(2, 12), st.data())
def test_whatever_the_stride_every_target_is_counted_once(texts, length, data):
    stride = data.draw(st.integers(1, length - 1))
    pairs = sorted((a, b) for text in texts for a, b in zip(text, text[1:], strict=False))
    if not pairs:
        return
    rows, found = rows_of(texts, length, stride=stride)
    new = found["counted"] > 0
    seen = sorted(zip(found["tokens"][new], found["targets"][new], strict=True))
    assert seen == pairs and rows.targets == len(pairs)
    assert not (new & (found["segments"] == 0)).any()
    # Unless its text begins there, a new target has at least `length - stride` tokens before it.
    begins = found["positions"] < length - stride
    real = [text for text in texts if len(text) > 1]
    assert (new & begins).sum() <= sum(min(len(t) - 1, length - stride) for t in real)
