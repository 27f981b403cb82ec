"""Rows of a source and a target: each ends, and what is too long is cut, left out or an error."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.text.data.source_target_rows import SourceTargetRows, example_of
from tfattn.errors import InputError

END = 1


class Numbers:
    """A tokenizer of texts that are numbers."""

    def encode_batch(self, texts):
        ids = [[int(word) for word in text.split()] for text in texts]
        flat = np.array([token for text in ids for token in text], np.int32)
        return flat, np.array([len(text) for text in ids], np.int64)


def text(first, count):
    return " ".join(str(first + i) for i in range(count))


SIZES = [(2, 3), (5, 1), (1, 9), (3, 3), (9, 9)]  # tokens of sources and targets, without the end
SOURCES = [text(100 * row, source) for row, (source, _) in enumerate(SIZES, 1)]
TARGETS = [text(100 * row + 50, target) for row, (_, target) in enumerate(SIZES, 1)]


def rows_of(length=10, **options):
    return SourceTargetRows(Numbers(), SOURCES, TARGETS, END, length, **options)


def padded(texts, width, length=10):
    """Return the ids of texts with the end after them, cut and filled up, by hand."""
    found = np.zeros((len(texts), width), np.int32)
    for row, words in zip(found, texts, strict=True):
        ids = [*map(int, words.split())][: length - 1] + [END]
        row[: len(ids)] = ids
    return found


def test_every_text_ends_and_is_filled_up_to_the_longest_of_all():
    rows = rows_of()
    found = rows.read(np.array([3, 0, 3]))
    assert {array.dtype for array in found.values()} == {np.dtype(np.int32)}
    assert len(rows) == 5 and rows.width == 10 and rows.cut == rows.too_long == 0
    for name, texts in (("source", SOURCES), ("target", TARGETS)):
        np.testing.assert_array_equal(found[name], padded([texts[i] for i in (3, 0, 3)], 10))
    assert found["source_count"].tolist() == [4, 3, 4]
    assert found["target_count"].tolist() == [4, 4, 4]
    np.testing.assert_array_equal(rows.counts, np.transpose(SIZES) + 1)


@pytest.mark.parametrize("side", [0, 1])
def test_a_side_of_no_tokens_is_refused(side):
    sides = [["1 2", "3"], ["4", "5 6"]]
    sides[side][1] = " "
    with pytest.raises(InputError, match=r"b\.tsv, line 2: expected text of which tokens .* ' '"):
        SourceTargetRows(Numbers(), *sides, END, 10, places=("b.tsv, line 1", "b.tsv, line 2"))


def test_each_side_is_as_wide_as_is_asked_for():
    found = rows_of().read(np.array([1, 0]), np.array([8, 4]))
    np.testing.assert_array_equal(found["source"], padded([SOURCES[1], SOURCES[0]], 8))
    np.testing.assert_array_equal(found["target"], padded([TARGETS[1], TARGETS[0]], 4))


def test_a_longer_text_is_cut_and_still_ends():
    rows = rows_of(5, too_long="cut")
    assert (len(rows), rows.width, rows.cut, rows.too_long) == (5, 5, 3, 3)
    found = rows.read(np.arange(5))
    np.testing.assert_array_equal(found["source"], padded(SOURCES, 5, 5))
    np.testing.assert_array_equal(found["target"], padded(TARGETS, 5, 5))
    np.testing.assert_array_equal(rows.counts, np.minimum(np.transpose(SIZES) + 1, 5))
    np.testing.assert_array_equal(found["target_count"], rows.counts[1])


def test_a_longer_pair_is_left_out():
    rows = rows_of(6, too_long="drop")
    assert (len(rows), rows.width, rows.cut, rows.too_long) == (3, 6, 0, 2)
    found = rows.read(np.arange(3))
    np.testing.assert_array_equal(found["source"], padded([SOURCES[i] for i in (0, 1, 3)], 6))
    np.testing.assert_array_equal(found["target"], padded([TARGETS[i] for i in (0, 1, 3)], 6))
    np.testing.assert_array_equal(rows.counts, np.transpose(SIZES)[:, [0, 1, 3]] + 1)


def test_a_longer_pair_is_an_error_that_names_the_first():
    places = [f"a.tsv, line {number}" for number in range(1, 6)]
    message = "line 3: expected at most 6 tokens a side. Received: 10, and 2 such pairs in all"
    with pytest.raises(InputError, match=f"a.tsv, {message}"):
        rows_of(6, too_long="error", places=places)
    with pytest.raises(InputError, match="^row 2: expected at most 6"):
        rows_of(6, too_long="error")
    assert len(rows_of(10, too_long="error", places=places)) == 5


def test_no_pair_that_is_short_enough_is_an_error_with_the_shortest():
    with pytest.raises(InputError, match="at most 3 tokens a side. Received: none; .* has 4"):
        rows_of(3, too_long="drop")


@pytest.mark.parametrize(
    ("longest", "width"), [(1, 16), (16, 16), (17, 32), (64, 64), (65, 96), (96, 96), (97, 100)]
)
def test_a_batch_is_as_wide_as_its_longest_text_in_few_steps(longest, width):
    ids, count = np.arange(200).reshape(2, 100), np.array([1, longest])
    rows = {"source": ids, "target": ids[:, :40], "source_count": count, "target_count": count * 0}
    rows = {name: tf.constant(array, tf.int32) for name, array in rows.items()}
    rows["target_count"] += 20
    for make in (example_of, tf.function(example_of)):
        found = make(rows, tf.zeros(2, tf.int64), tf.zeros(2, tf.int64))
        np.testing.assert_array_equal(found.source, ids[:, :width])
        np.testing.assert_array_equal(found.target, ids[:, :32])
        assert found.source_count.numpy().tolist() == [1, longest]
        assert found.target_count.numpy().tolist() == [20, 20]
