"""Byte-level BPE as TensorFlow operations on whole arrays, with the ids of `tokenizers`.

GPT-2's pattern for words looks ahead, which TensorFlow's regular expressions cannot; but where a
word begins can be told from the kinds of a character and its neighbours. `tokenizers` says what
kind each is. Then all words join their first best pair at once, again and again.

    's|'t|'re|'ve|'m|'ll|'d| ?letters| ?numbers| ?others|blanks before a blank|blanks
"""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.text.tokenization.byte_letters import letters

BLANK, LETTER, NUMBER, OTHER = range(4)
SPACE, QUOTE = ord(" "), ord("'")
ENDINGS = ("s", "t", "re", "ve", "m", "ll", "d")  # after a quote, words of their own
NEVER = np.int64(2**62)


@functools.cache
def kinds() -> tuple[np.ndarray, np.ndarray]:
    """Return where in Unicode another kind of character begins, and which."""
    from tokenizers import Regex, pre_tokenizers

    points = np.array([c for c in range(0x110000) if not 0xD800 <= c < 0xE000])
    text = "".join(map(chr, points))
    found = np.full(0x110000, OTHER, np.int32)
    for kind, pattern in ((BLANK, r"\s"), (LETTER, r"\p{L}"), (NUMBER, r"\p{N}")):
        split = pre_tokenizers.Split(Regex(f"{pattern}+"), "removed", invert=True)
        for _, (begin, end) in split.pre_tokenize_str(text):
            found[points[begin:end]] = kind
    begins = np.flatnonzero(np.diff(found, prepend=-1))
    return begins.astype(np.int32), found[begins]


@functools.cache
def in_graph(vocabulary: tuple[str, ...], merges: tuple[tuple[str, str], ...]) -> Any:
    """Return what has `tokenize` and `detokenize`."""
    return InGraph(vocabulary, merges)


class InGraph(tf.Module):
    """Strings to ragged ids and back."""

    def __init__(self, vocabulary: tuple[str, ...], merges: tuple[tuple[str, str], ...]):
        super().__init__()
        ids = {token: i for i, token in enumerate(vocabulary)}
        values = letters()
        of_byte = {byte: ids[letter] for letter, byte in values.items()}
        self.bytes = tf.constant([of_byte[byte] for byte in range(256)], tf.int64)
        self.size = len(vocabulary)
        pairs = [ids[a] * self.size + ids[b] for a, b in merges]
        joined = [rank * self.size + ids[a + b] for rank, (a, b) in enumerate(merges)]
        keys, found = (tf.constant(x or [-1], tf.int64) for x in (pairs, joined))
        start = tf.lookup.KeyValueTensorInitializer(keys, found)
        self.joins = tf.lookup.StaticHashTable(start, NEVER)  # pair to rank and joined token
        # Of what is no letter for a byte, such as <|endoftext|>, nothing is written.
        spelt = [
            bytes(values[c] for c in token) if all(c in values for c in token) else b""
            for token in vocabulary
        ]
        self.spelling = tf.constant(spelt)
        self.begins, self.kinds = map(tf.constant, kinds())

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Map strings (b,) in UTF-8 to ragged int32 ids."""
        points = tf.strings.unicode_decode(texts, "UTF-8", errors="replace")
        row = points.value_rowids()
        begins = self._words(points.flat_values, row)
        characters = tf.strings.unicode_encode(points.flat_values[:, None], "UTF-8")
        data = tf.strings.bytes_split(characters)
        value = tf.cast(tf.io.decode_raw(data.flat_values, tf.uint8), tf.int32)
        token = tf.gather(self.bytes, tf.reshape(value, [-1]))
        word = tf.gather(tf.cumsum(tf.cast(begins, tf.int64)), data.value_rowids())
        token, word = self._join(token, word)
        first = tf.boolean_mask(row, begins)  # the row of each word
        of_token = tf.gather(first, word - 1)
        found = tf.RaggedTensor.from_value_rowids(token, of_token, nrows=points.nrows())
        return tf.cast(found, tf.int32)

    def detokenize(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Map ragged ids to strings (b,); bytes that are no characters become U+FFFD."""
        pieces = ids.with_flat_values(tf.gather(self.spelling, ids.flat_values))
        return tf.strings.unicode_transcode(
            tf.strings.reduce_join(pieces, axis=-1), "UTF-8", "UTF-8", errors="replace"
        )

    def _words(self, point, row):
        """Return which characters (n,) begin a word."""
        place = tf.searchsorted(self.begins, point, side="right") - 1
        kind = tf.gather(self.kinds, place)

        def shifted(x, by, fill):  # the value `by` characters on, of the same text
            size = tf.shape(x)[0]
            moved = tf.concat([tf.fill([max(-by, 0)], fill), x, tf.fill([max(by, 0)], fill)], 0)
            moved = moved[max(by, 0) : max(by, 0) + size]
            outside = tf.constant(-1, row.dtype)
            same = tf.concat(
                [tf.fill([max(-by, 0)], outside), row, tf.fill([max(by, 0)], outside)], 0
            )[max(by, 0) : max(by, 0) + size]
            return tf.where(same == row, moved, fill)

        none = tf.constant(-1, tf.int32)
        before, after = shifted(kind, -1, none), shifted(kind, 1, none)
        space_before = shifted(point, -1, none) == SPACE
        blank = kind == BLANK
        # A run of one kind is a word, and a space before it belongs to it.
        begins = (kind != before) & tf.logical_not(space_before & ~blank)
        # Of several blanks before a word the last one is apart: a word, or the begin of the next.
        begins |= blank & (before == BLANK) & (after != BLANK) & (after != none)
        # A quote and its ending, unless the quote goes on with a space or with others.
        opens = (point == QUOTE) & (before != OTHER) & tf.logical_not(space_before)
        for ending in ENDINGS:
            there = opens
            for i, letter in enumerate(ending, 1):
                there &= shifted(point, i, none) == ord(letter)
            no = tf.constant(False)
            inside = tf.zeros_like(there)
            for i in range(1, len(ending) + 1):
                inside |= shifted(there, -i, no)
            begins = (begins & ~inside) | shifted(there, -len(ending) - 1, no)
        return begins

    def _join(self, token, word):
        """Join pairs within words until no pair is left that was learnt."""
        size = tf.constant(self.size, tf.int64)

        def ranked(token, word):
            pairs = self.joins.lookup(token[:-1] * size + token[1:])
            return tf.where(word[:-1] == word[1:], pairs, NEVER)

        def any_left(token, word, pairs):
            return tf.reduce_any(pairs < NEVER)

        def join(token, word, pairs):
            # The least rank of each word, and of equal ones the first.
            best = tf.gather(tf.math.segment_min(pairs, word[:-1]), word[:-1])
            hit = (pairs == best) & (pairs < NEVER)
            count = tf.cumsum(tf.cast(hit, tf.int64))
            earlier = tf.math.segment_min(count - tf.cast(hit, tf.int64), word[:-1])  # words' hits
            hit &= count - tf.gather(earlier, word[:-1]) == 1
            joined = tf.where(hit, pairs % size, token[:-1])
            token = tf.concat([joined, token[-1:]], 0)
            kept = tf.concat([[True], tf.logical_not(hit)], 0)
            token, word = tf.boolean_mask(token, kept), tf.boolean_mask(word, kept)
            return token, word, ranked(token, word)

        anything = tf.TensorShape([None])
        token, word, _ = tf.while_loop(
            any_left, join, (token, word, ranked(token, word)), shape_invariants=(anything,) * 3
        )
        return token, word
