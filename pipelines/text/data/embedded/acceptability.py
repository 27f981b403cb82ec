"""A labelled task that needs word order: is the sentence `fluent`, or were its words `shuffled`?

In the manner of CoLA, "Neural Network Acceptability Judgments" (arXiv:1805.12471), with labels that
cost nothing: half of the sentences have up to three pairs of neighbouring words swapped, so that a
reader is in no doubt and a model learns from few labels what is asked. Each sentence is used once,
fluent or shuffled, so its bag of words says nothing about its label.
"""

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

FLUENT, SHUFFLED = LABELS = ("fluent", "shuffled")
SHORTEST, LONGEST = 8, 30  # words of a sentence
PAIRS = 3  # swapped, or as many as a sentence has

# A swap must be plain to a reader: an article, preposition, auxiliary or conjunction changes place
# with its neighbour ("of the" -> "the of"), where two adjectives or an adverb might not be noticed.
_ANCHORS = """
a an and are as at be been by can could for from had has have if in into is its may must of on or
should than that the their these this to was were when which will with would
"""
ANCHORS = frozenset(_ANCHORS.split())

BOUNDARY = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<! vs\.)(?<! cf\.)\s+(?=[A-Z\"(\[])")
WORD = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)*(?:'[a-z]+)?")


@dataclass(frozen=True)
class Example:
    """A row of the task."""

    label: str
    text: str


def sentences(text: str) -> Iterator[str]:
    """Cut prose into sentences and yield those fit to be judged.

    They have 8 to 30 words, all but one alphabetic, start with a capital, end with a period and
    hold a pair of words that can be swapped.
    """
    for paragraph in text.split("\n"):
        for sentence in BOUNDARY.split(paragraph.strip()):
            if _is_fit(sentence):
                yield sentence


def _is_fit(sentence: str) -> bool:
    words = sentence.split()
    if not SHORTEST <= len(words) <= LONGEST or not words[0][0].isupper() or words[-1][-1] != ".":
        return False
    stripped = [word.rstrip(",;:") for word in words[:-1]] + [words[-1].rstrip(".")]
    plain = sum(WORD.fullmatch(word) is not None for word in stripped)
    return plain >= len(words) - 1 and bool(swappable(words))


def swappable(words: Sequence[str]) -> list[int]:
    """Return the places whose word can change place with the next one.

    Not the first and the last word, whose capital and period would betray the swap, nor a word
    with punctuation, which would carry it along.
    """
    return [
        place
        for place in range(1, len(words) - 2)
        for left, right in [(words[place], words[place + 1])]
        if WORD.fullmatch(left) and WORD.fullmatch(right) and left.lower() != right.lower()
        if left.lower() in ANCHORS or right.lower() in ANCHORS
    ]


def examples(sentences: Iterable[str], seed: int, limit: int | None = None) -> list[Example]:
    """Label sentences, every second one after swapping pairs of its words.

    A pure function of the set of sentences and the seed. Sentences without a pair to swap are left
    out; `limit` keeps that many, drawn by the seed.
    """
    draw = random.Random(seed)
    usable = sorted({sentence for sentence in sentences if swappable(sentence.split())})
    draw.shuffle(usable)
    return [
        Example(SHUFFLED, swap(sentence, draw)) if number % 2 else Example(FLUENT, sentence)
        for number, sentence in enumerate(usable[:limit])
    ]


def swap(sentence: str, draw: random.Random) -> str:
    """Swap pairs of neighbouring words of a sentence; no word moves twice."""
    words, places = sentence.split(), swappable(sentence.split())
    draw.shuffle(places)
    swapped: list[int] = []
    for place in places:
        if len(swapped) < PAIRS and all(abs(place - other) > 1 for other in swapped):
            words[place : place + 2] = words[place + 1], words[place]
            swapped.append(place)
    return " ".join(words)
