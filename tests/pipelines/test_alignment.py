"""Attention against known spans, by hand-worked examples."""

import numpy as np
import pytest

from pipelines.text.alignment import Attended, alignment, known_links
from tfattn.errors import InputError

# "3 March" -> "März 3": tokens "3", "Mar", "ch" and "[SEP]"; "März", "3".
SOURCE = np.array([(0, 1), (2, 5), (5, 7), (7, 7)])
TARGET = np.array([(0, 4), (5, 6)])
SPANS = ((0, 1, 5, 6), (2, 7, 0, 4))


def test_tokens_are_linked_where_one_span_covers_both():
    expected = [[False, True, True, False], [True, False, False, False]]
    np.testing.assert_array_equal(known_links(TARGET, SOURCE, np.array(SPANS)), expected)


def test_tokens_that_only_touch_a_span_are_not_linked():
    links = known_links(np.array([(0, 2), (2, 3)]), np.array([(0, 3), (3, 5)]), [(3, 5, 0, 2)])
    np.testing.assert_array_equal(links, [[False, True], [False, False]])


def test_no_spans_are_no_links():
    assert not known_links(TARGET, SOURCE, np.array([])).any()


def test_the_measures_of_an_example_worked_by_hand():
    weights = [[0.1, 0.2, 0.6, 0.1], [0.3, 0.4, 0.2, 0.1]]
    # "März" looks at "ch", which is right; "3" at "Mar", which is not. R has three links.
    found = alignment([Attended(np.array(weights), TARGET, SOURCE, SPANS)])
    assert found.known == 2
    assert found.error == pytest.approx(1 / 2)
    assert found.mass == pytest.approx((0.2 + 0.6 + 0.3) / 2)
    assert found.aer == pytest.approx(1 - (1 + 1) / (2 + 3))
    assert found.best_aer == pytest.approx(1 - (2 + 2) / (2 + 3))


def test_a_perfect_alignment_of_single_tokens_has_no_error():
    tokens = np.array([(0, 1), (1, 2), (2, 3)])
    spans = [(0, 1, 2, 3), (1, 2, 1, 2), (2, 3, 0, 1)]
    found = alignment([Attended(np.eye(3)[::-1], tokens, tokens, spans)])
    assert (found.error, found.mass, found.aer, found.best_aer) == (0, 1, 0, 0)
    wrong = alignment([Attended(np.eye(3)[[0, 0, 1]], tokens, tokens, spans)])
    assert (wrong.error, wrong.mass, wrong.aer) == (1, 0, 1)


def test_target_tokens_outside_spans_are_not_counted():
    target = np.array([(0, 4), (4, 5), (5, 6), (6, 6)])
    weights = np.array([[0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1]], float)
    found = alignment([Attended(weights, target, SOURCE, SPANS)])
    assert (found.known, found.error, found.mass) == (2, 0, 1)


def test_either_of_two_source_spans_is_right():
    # "2 PM" -> "14"
    spans, source = [(0, 1, 0, 2), (2, 4, 0, 2)], np.array([(0, 1), (1, 2), (2, 4)])
    for place, error in ((0, 0), (1, 1), (2, 0)):
        weights = np.eye(3)[[place]]
        assert alignment([Attended(weights, np.array([(0, 2)]), source, spans)]).error == error


def test_a_batch_is_summed_and_not_averaged_over_examples():
    one = Attended(np.array([[1.0, 0.0]]), np.array([(0, 1)]), np.array([(0, 1), (1, 2)]),
                   [(0, 1, 0, 1)])  # fmt: skip
    three = Attended(np.eye(2)[[1, 1, 1]], np.array([(0, 1), (1, 2), (2, 3)]),
                     np.array([(0, 1), (1, 2)]), [(0, 1, 0, 3)])  # fmt: skip
    found = alignment([one, three])
    assert (found.known, found.error, found.mass) == (4, 0.75, 0.25)
    assert found.aer == pytest.approx(1 - 2 / (4 + 4))


@pytest.mark.parametrize(
    ("weights", "spans", "message"),
    [
        (np.ones((4, 2)), SPANS, r"batch\[0\].weights: expected \(2, 4\).*Received: \(4, 2\)"),
        (np.full((2, 4), np.nan), SPANS, r"batch\[0\].weights: expected finite numbers"),
        (np.ones((2, 4)), (), "expected target tokens within known spans. Received: none"),
    ],
)
def test_what_cannot_be_measured_is_an_input_error(weights, spans, message):
    with pytest.raises(InputError, match=message):
        alignment([Attended(weights, TARGET, SOURCE, spans)])
