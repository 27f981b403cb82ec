"""Rows for predicting the next token: documents cut where a row is full, short ones packed.

Every token of a document is a target once, given what stands before it in its row; so is the end
token, where the tokenizer has one, and the first token, where it has a start token. Of a document
a b c d without them, in rows of 3:

    tokens     a b c     with both, <s> a b   c d
    targets    b c d                a   b c   d <s>

For an evaluation rows may overlap: with a stride of 1 each token but the first ones has as many
before it as a row holds, and `counted` names the new ones.
"""

import numpy as np

from pipelines.core.api import Rows
from pipelines.text.data.packing import Tokens, best_fit, checked, ranges
from tfattn.errors import InputError


class CausalRows(Rows):
    """Rows of pieces of documents, as many in each as fit, and the token that follows each token.

    Args:
        store: where the tokens are.
        length: tokens a row.
        start_id: what stands before a document, or None.
        end_id: what stands after it, or None.
        pad_id: fills rows up; None = 0, and `segments` tells.
        pack: whether pieces share rows; otherwise each has a row to itself.
        stride: targets of a row that no row before it has, of each document; None = all.
    """

    def __init__(
        self,
        store: Tokens,
        length: int,
        start_id: int | None,
        end_id: int | None,
        pad_id: int | None = None,
        *,
        pack: bool = True,
        stride: int | None = None,
    ):
        self.store, self.length, self.pad_id = store, length, pad_id or 0
        self.bytes_per_target = 0.0  # of UTF-8; 0 = not known
        self._stride = step = stride or length
        self._edges = [e for e in (start_id, end_id) if e is not None]
        self._before = int(start_id is not None)
        self._start, self._end = start_id or 0, end_id or 0
        offsets = store.offsets.astype(np.int64)
        predicted = np.diff(offsets) + len(self._edges) - 1  # targets of each document
        later = -(-np.maximum(predicted - length, 0) // step)
        counts = np.where(predicted > 0, 1 + later, 0)  # pieces of each document
        nth = ranges(0 * counts, counts)
        sizes = np.minimum(np.repeat(predicted, counts) - step * nth, length)
        if not len(sizes):
            raise InputError(
                "store: expected documents of two or more tokens, one to predict the other from. "
                "Received: none."
            )
        rows = best_fit(sizes, length) if pack else np.arange(len(sizes))
        order = np.argsort(rows, kind="stable")  # within a row as in the store
        self._sizes = sizes[order]
        self._known = np.where(nth > 0, length - step, 0)[order]  # targets that were there before
        self._places = (step * nth)[order]  # of each piece's first input in its document
        self._documents = np.repeat(np.arange(len(counts)), counts)[order]
        self._splits = np.concatenate([[0], np.cumsum(np.bincount(rows))])  # of pieces into rows

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._splits) - 1

    @property
    def targets(self) -> int:
        """Return how many tokens are predicted in one pass over the rows."""
        return int((self._sizes - self._known).sum())

    @property
    def overlap(self) -> bool:
        """Return whether any row begins with tokens that another one has too."""
        return bool(self._known.any())

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Return `tokens`, `targets`, `segments` and `positions` of these rows, (b, t) int32.

        Where rows overlap also `counted`, 1 at the targets that no row before has.
        """
        indices = checked(indices, len(self))
        counts = self._splits[indices + 1] - self._splits[indices]
        pieces = ranges(self._splits[indices], counts)
        sizes = self._sizes[pieces]
        before = np.cumsum(sizes) - sizes  # tokens before each piece, in all rows
        rows = np.repeat(np.arange(len(indices)), counts)
        first = before[np.cumsum(counts) - counts]
        begins = rows * self.length + before - np.repeat(first, counts)
        places = ranges(begins, sizes)

        shape = (len(indices), self.length)
        found = {name: np.zeros(shape, np.int32) for name in ("segments", "positions")}
        found["segments"].flat[places] = np.repeat(1 + ranges(0 * counts, counts), sizes)
        found["positions"].flat[places] = ranges(0 * sizes, sizes)
        if self._stride < self.length:
            found["counted"] = np.zeros(shape, np.int32)
            found["counted"].flat[places] = ranges(0 * sizes, sizes) >= np.repeat(
                self._known[pieces], sizes
            )
        documents = np.repeat(self._documents[pieces], sizes)
        at = ranges(self._places[pieces], sizes) - self._before  # -1 is the start token
        for name, token in (("tokens", at), ("targets", at + 1)):
            found[name] = np.full(shape, self.pad_id, np.int32)
            found[name].flat[places] = self._tokens(documents, token)
        return found

    def _tokens(self, documents, at):
        """Return the tokens of documents at these places, with what stands before and after."""
        begins, ends = self.store.offsets[documents], self.store.offsets[documents + 1]
        begins, sizes = begins.astype(np.int64), (ends - begins).astype(np.int64)
        inside = np.clip(at, 0, sizes - 1)
        tokens = self.store.tokens[begins + inside].astype(np.int32)
        return np.where(at < 0, self._start, np.where(at >= sizes, self._end, tokens))
