import numpy as np
import pytest

from pipelines.text.data.answer_rows import AnswerRows
from pipelines.text.tokenization.characters import train_characters
from tfattn.errors import InputError

LETTERS = "abcdefgh"
TOKENIZER = train_characters([LETTERS], 20)


class WithEdges:
    """Letters by their numbers, and a start and an end."""

    start_id, separator_id, pad_id = 90, 91, 92
    encode_batch = staticmethod(TOKENIZER.encode_batch)


def read(texts, answers, length, tokenizer=TOKENIZER):
    rows = AnswerRows(tokenizer, texts, answers, length)
    return rows, rows.read(np.arange(len(rows)))


def test_an_answer_alone_is_counted():
    rows, found = read(["abc", "d"], ["ef", "gh"], 16, WithEdges())
    np.testing.assert_array_equal(found["tokens"], [[90, 0, 1, 2, 4, 5], [90, 3, 6, 7, 92, 92]])
    np.testing.assert_array_equal(found["targets"], [[0, 1, 2, 4, 5, 91], [3, 6, 7, 91, 92, 92]])
    np.testing.assert_array_equal(found["counted"], [[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 0, 0]])
    np.testing.assert_array_equal(found["segments"], [[1] * 6, [1, 1, 1, 1, 0, 0]])
    np.testing.assert_array_equal(found["positions"], [range(6), [0, 1, 2, 3, 0, 0]])
    assert rows.cut == 0


def test_without_edges_the_last_letter_is_a_target_alone():
    _, found = read(["abc"], ["ef"], 16)
    np.testing.assert_array_equal(found["tokens"], [[0, 1, 2, 4]])
    np.testing.assert_array_equal(found["targets"], [[1, 2, 4, 5]])
    np.testing.assert_array_equal(found["counted"], [[0, 0, 1, 1]])


def test_a_text_too_long_loses_its_beginning_and_an_answer_too_long_its_end():
    rows, found = read(["abcdef", "abc", "ab"], ["gh", "abcdefgh", "c"], 4)
    assert rows.cut == 2 and rows.width == 4
    np.testing.assert_array_equal(found["tokens"][0], [3, 4, 5, 6])
    np.testing.assert_array_equal(found["targets"][0], [4, 5, 6, 7])
    np.testing.assert_array_equal(found["tokens"][1], [2, 0, 1, 2])
    np.testing.assert_array_equal(found["targets"][1], [0, 1, 2, 3])
    np.testing.assert_array_equal(found["counted"][1], [1, 1, 1, 1])


def test_nothing_given_and_no_start_is_refused():
    with pytest.raises(InputError, match="expected a token to begin from"):
        read([""], ["a"], 8)
