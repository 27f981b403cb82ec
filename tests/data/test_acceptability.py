from collections import Counter

import pytest

from pipelines.text.data.embedded.acceptability import (
    ANCHORS,
    FLUENT,
    LABELS,
    LONGEST,
    SHORTEST,
    SHUFFLED,
    examples,
    sentences,
    swappable,
)
from pipelines.text.data.embedded.docstrings import harvest

PROSE = (
    "The value of the option is read from the file. It is short. See e.g. The Book of "
    "all the other options, or of the page. lower case. begins this one of the many sentences. "
    "This one has no period of its own at the end: x = f(a, b) + g_1\n\n"
    "The first of all of the lines ends, after a comma, with the right period."
)


@pytest.fixture(scope="module")
def found():
    return sorted({s for d in harvest(["email", "json"], processes=1) for s in sentences(d.text)})


def test_sentences_are_cut_and_chosen():
    assert list(sentences(PROSE)) == [
        "The value of the option is read from the file.",
        "The first of all of the lines ends, after a comma, with the right period.",
    ]


def test_sentences_have_the_lengths_they_should(found):
    assert len(found) > 50
    for sentence in found:
        assert SHORTEST <= len(sentence.split()) <= LONGEST
        assert sentence[0].isupper() and sentence.endswith(".")


def test_labels_are_balanced_and_every_sentence_is_used_once(found):
    made = examples(found, seed=3)
    counts = Counter(example.label for example in made)
    assert set(counts) == set(LABELS)
    assert abs(counts[FLUENT] - counts[SHUFFLED]) <= 1
    bags = Counter(tuple(sorted(example.text.split())) for example in made)
    assert bags == Counter(tuple(sorted(sentence.split())) for sentence in found)


def test_fluent_sentences_are_untouched_and_shuffled_ones_have_up_to_three_swaps(found):
    bags = {tuple(sorted(sentence.split())): sentence for sentence in found}
    counts = Counter()
    for example in examples(found, seed=3):
        words, original = example.text.split(), bags[tuple(sorted(example.text.split()))].split()
        changed = [place for place in range(len(words)) if words[place] != original[place]]
        if example.label == FLUENT:
            assert changed == []
            continue
        assert changed[0] > 0 and changed[-1] < len(words) - 1
        for left, right in zip(changed[::2], changed[1::2], strict=True):
            assert right == left + 1
            assert words[left].lower() != words[right].lower()
            assert {words[left].lower(), words[right].lower()} & ANCHORS
            assert words[left] == original[right] and words[right] == original[left]
        counts[len(changed) // 2] += 1
    assert counts.keys() == {1, 2, 3} and counts[3] > counts[1] + counts[2]


def test_examples_depend_on_the_set_of_sentences_and_the_seed_only(found):
    assert examples(found, seed=3) == examples([*reversed(found), *found], seed=3)
    assert examples(found, seed=3) != examples(found, seed=4)
    assert len(examples(found, seed=3, limit=10)) == 10


def test_first_last_punctuated_and_equal_words_stay():
    assert swappable(["The", "cat", "the", "The", "dog,", "in", "a", "house."]) == [1, 5]
    still = "Nothing here moves whatever happens next door."
    assert swappable(still.split()) == []
    assert examples([still], seed=0) == []
