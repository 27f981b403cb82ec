"""Rows of fixed length from a token store: short documents share a row, long ones take several.

Documents are cut into pieces. Which piece goes into which row is planned once, from the lengths
alone; the special tokens come when rows are read, a pure function of their numbers.

    tokens     [CLS] the cat [SEP] [CLS] it rained [SEP] [PAD]
    segments     1    1   1    1     2    2    2     2     0      which piece; 0 is padding
    positions    0    1   2    3     0    1    2     3     0
"""

from typing import Protocol

import numpy as np
import tensorflow as tf

from pipelines.core.api import Rows, Tensor
from pipelines.core.randomness import Stream, uniform
from tfattn.errors import InputError


class Tokens(Protocol):
    """What rows are made of: a store."""

    @property
    def tokens(self) -> np.ndarray:
        """The ids of all documents."""
        ...

    @property
    def offsets(self) -> np.ndarray:
        """Where each document begins, and the last one ends."""
        ...


class PackedRows(Rows):
    """Rows of `[CLS] piece [SEP]`, as many pieces in each as fit.

    Args:
        store: where the tokens are.
        length: tokens a row.
        start_id: id of [CLS].
        separator_id: id of [SEP].
        pad_id: id of [PAD].
        pack: whether pieces share rows; otherwise each has a row to itself.
    """

    def __init__(
        self,
        store: Tokens,
        length: int,
        start_id: int,
        separator_id: int,
        pad_id: int,
        *,
        pack: bool = True,
    ):
        if length < 3:
            raise InputError(f"length: expected at least 3 tokens a row. Received: {length}.")
        self.store, self.length = store, length
        self.start_id, self.separator_id, self.pad_id = start_id, separator_id, pad_id
        offsets, room = store.offsets.astype(np.int64), length - 2
        counts = -(-np.diff(offsets) // room)  # pieces of each document
        starts = np.repeat(offsets[:-1], counts) + room * ranges(0 * counts, counts)
        sizes = np.minimum(np.repeat(offsets[1:], counts) - starts, room)
        if not len(sizes):
            raise InputError("store: expected documents with tokens. Received: none.")
        rows = best_fit(sizes + 2, length) if pack else np.arange(len(sizes))
        order = np.argsort(rows, kind="stable")  # within a row as in the store
        self._starts, self._sizes = starts[order], sizes[order]
        self._splits = np.concatenate([[0], np.cumsum(np.bincount(rows))])  # of pieces into rows
        # Places at the end of each row that hold [PAD].
        self._empty = length - np.add.reduceat(self._sizes + 2, self._splits[:-1])

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._splits) - 1

    @property
    def padding_share(self) -> float:
        """Share of all places that hold [PAD]."""
        return float(np.sum(self._empty)) / (len(self) * self.length)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Return `tokens`, `segments` and `positions` of these rows, (b, t) int32 each."""
        indices = checked(indices, len(self))
        counts = self._splits[indices + 1] - self._splits[indices]
        pieces = ranges(self._splits[indices], counts)
        widths = self._sizes[pieces] + 2
        empty, ends = self._empty[indices], np.arange(1, len(indices) + 1) * self.length
        begins = np.cumsum(widths) - widths + np.repeat(np.cumsum(empty) - empty, counts)
        place = np.arange(len(indices) * self.length)
        spans = np.diff(begins, append=len(place))  # each with the empty places after it

        source = place + np.repeat(self._starts[pieces] - begins - 1, spans)
        tokens = np.asarray(self.store.tokens).take(source, mode="clip").astype(np.int32)
        segments = np.repeat(1 + ranges(0 * counts, counts).astype(np.int32), spans)
        positions = (place - np.repeat(begins, spans)).astype(np.int32)
        tokens[begins] = self.start_id
        tokens[begins + widths - 1] = self.separator_id
        padding = ranges(ends - empty, empty)
        tokens[padding], segments[padding], positions[padding] = self.pad_id, 0, 0
        found = {"tokens": tokens, "segments": segments, "positions": positions}
        return {name: array.reshape(-1, self.length) for name, array in found.items()}


class PairRows(Rows):
    """Rows of `[CLS] A [SEP] B [SEP]` for next-sentence prediction (arXiv:1810.04805, 3.1).

    Each document is cut into the fewest spans that fit, of equal size to a token; A is the first
    half of a span and B the second. Documents of a single token are left out.

    Args:
        store: where the tokens are.
        length: tokens a row.
        start_id: id of [CLS].
        separator_id: id of [SEP].
        pad_id: id of [PAD].
        seed: of the draws.
    """

    def __init__(
        self,
        store: Tokens,
        length: int,
        start_id: int,
        separator_id: int,
        pad_id: int,
        seed: int = 0,
    ):
        self.seed = seed
        if length < 6:
            raise InputError(f"length: expected at least 6 tokens a pair. Received: {length}.")
        self.store, self.length = store, length
        self.start_id, self.separator_id, self.pad_id = start_id, separator_id, pad_id
        offsets = store.offsets.astype(np.int64)
        lengths = np.diff(offsets)
        counts = np.where(lengths > 1, -(-lengths // (length - 3)), 0)  # spans of each document
        if np.count_nonzero(counts) < 2:
            raise InputError(
                "store: expected at least two documents of two or more tokens, to make pairs that "
                f"do not belong together. Received: {np.count_nonzero(counts)}."
            )
        nth, all_counts = ranges(0 * counts, counts), np.repeat(counts, counts)
        all_lengths = np.repeat(lengths, counts)
        begins, ends = nth * all_lengths // all_counts, (nth + 1) * all_lengths // all_counts
        self._starts = np.repeat(offsets[:-1], counts) + begins
        self._second = (ends - begins) // 2  # tokens of B
        self._first = ends - begins - self._second  # tokens of A
        self._documents = np.repeat(np.arange(len(counts)), counts)
        self._after = np.repeat(np.cumsum(counts), counts) % len(nth)  # first row of the next one

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._starts)

    @property
    def padding_share(self) -> float:
        """Share of all places that hold [PAD], where B follows A."""
        used = float(np.sum(self._first + self._second + 3))
        return 1 - used / (len(self) * self.length)

    def draws(self, epoch: Tensor, row: Tensor) -> tuple[Tensor, ...]:
        """Return the row whose second sentence may replace a row's own, and whether it stays."""
        other = uniform(self.seed, Stream.OTHER_SEGMENT, epoch, row, 1)[:, 0]
        follows = uniform(self.seed, Stream.SEGMENT_FOLLOWS, epoch, row, 1)[:, 0] < 0.5
        count = len(self)
        return tf.minimum(tf.cast(other * float(count), tf.int64), count - 1), follows

    def read(
        self, indices: np.ndarray, other: np.ndarray, is_next: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return `tokens`, `segments`, `positions`, `types` (b, t) and `next` (b,), int32 each.

        Where `is_next` is false, B comes from row `other`, or from the next document's first row if
        `other` is of the same document. `types` is 1 on `B [SEP]`; `next` is a class as in BERT: 0
        where B follows A, 1 where it does not.
        """
        indices, other = checked(indices, len(self)), checked(other, len(self))
        same = self._documents[other] == self._documents[indices]
        random = np.where(same, self._after[indices], other)
        source = np.where(is_next, indices, random)  # of B
        first, second = self._first[indices], self._second[source]
        widths = first + second + 3
        places = np.arange(len(indices)) * self.length
        middle = places + 1 + first  # the first [SEP]

        shape = (len(indices), self.length)
        tokens = np.full(shape, self.pad_id, np.int32)
        segments, positions, types = np.zeros((3, *shape), np.int32)
        tokens.flat[places] = self.start_id
        for place, start, size in (
            (places + 1, self._starts[indices], first),
            (middle + 1, self._starts[source] + self._first[source], second),
        ):
            tokens.flat[ranges(place, size)] = self.store.tokens[ranges(start, size)]
            tokens.flat[place + size] = self.separator_id
        segments.flat[ranges(places, widths)] = 1
        positions.flat[ranges(places, widths)] = ranges(0 * widths, widths)
        types.flat[ranges(middle + 1, second + 1)] = 1
        follows = np.where(is_next, 0, 1).astype(np.int32)
        return {
            "tokens": tokens,
            "segments": segments,
            "positions": positions,
            "types": types,
            "next": follows,
        }


def best_fit(sizes: np.ndarray, length: int) -> np.ndarray:
    """Return a row for each size: the largest first, each to the row with the least room for it.

    Rows are numbered by the first piece they hold, so that they follow the order of the store.
    Johnson et al. 1974, "Worst-case performance bounds for simple one-dimensional packing".
    """
    rows, whole = np.empty(len(sizes), np.int64), sizes == length
    count = int(np.count_nonzero(whole))
    rows[whole] = np.arange(count)
    order = np.argsort(np.where(whole, 0, -sizes), kind="stable")[: len(sizes) - count]
    least = int(sizes.min())
    rooms: list[list[int]] = [[] for _ in range(length + 1)]  # rows by their free places
    mask, chosen = 0, []  # bit n of the mask: there is a row with n places free
    for size in sizes[order].tolist():
        fitting = mask >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1  # its lowest bit
            row = rooms[room].pop()
            if not rooms[room]:
                mask ^= 1 << room
        else:
            room, row, count = length, count, count + 1
        chosen.append(row)
        if room - size >= least:
            rooms[room - size].append(row)
            mask |= 1 << (room - size)
    rows[order] = chosen
    _, firsts = np.unique(rows, return_index=True)
    rank = np.empty(count, np.int64)
    rank[np.argsort(firsts)] = np.arange(count)
    return rank[rows]


def ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return `starts[i], starts[i] + 1, ...`, `sizes[i]` of them, one after another."""
    before = np.cumsum(sizes) - sizes
    return np.repeat(starts - before, sizes) + np.arange(np.sum(sizes))


def checked(indices: np.ndarray, rows: int) -> np.ndarray:
    """Return the numbers of rows as int64, or complain of one that there is not."""
    indices = np.asarray(indices, np.int64)
    if indices.size and not (indices.min() >= 0 and indices.max() < rows):
        raise IndexError(f"expected rows from 0 to {rows - 1}. Received: {indices}.")
    return indices
