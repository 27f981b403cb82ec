"""Rows that are stretches of a corpus: documents one after the other, cut where a row is full.

Every document ends with the end token, where there is one. T5 joins documents so
(arXiv:1910.10683, section 3.1.2): all rows but the last are full.
"""

import numpy as np

from pipelines.core.api import Rows
from pipelines.text.data.packing import Tokens, checked
from tfattn.errors import InputError


class StretchRows(Rows):
    """Rows of at most `length` consecutive tokens.

    Args:
        store: where the tokens are.
        length: tokens a row.
        end_id: what stands after a document, or None.
        pad_id: fills the others up.
        join: whether a row may hold several documents; otherwise each begins one.

    Raises:
        InputError: no two tokens in the store.
    """

    def __init__(
        self, store: Tokens, length: int, end_id: int | None, pad_id: int, *, join: bool = True
    ):
        self.store, self.length, self.pad_id = store, length, pad_id
        self._end = end_id or 0
        sizes = np.diff(store.offsets.astype(np.int64)) + (end_id is not None)
        self._ends = np.cumsum(sizes)  # of documents, in the joined text
        total = int(self._ends[-1]) if len(sizes) else 0
        if total < 2:
            raise InputError(f"store: expected at least two tokens. Received: {total}.")
        if join:
            self._begins = np.arange(0, total, length)
            self._stops = np.minimum(self._begins + length, total)
        else:
            counts = -(-sizes // length)
            nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            self._begins = np.repeat(self._ends - sizes, counts) + length * nth
            self._stops = np.minimum(self._begins + length, np.repeat(self._ends, counts))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._begins)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Return `tokens` (b, t) and `count`, how many there are in each row (b,), both int32."""
        indices = checked(indices, len(self))
        count = self._stops[indices] - self._begins[indices]
        places = self._begins[indices][:, None] + np.arange(self.length)
        inside = np.arange(self.length) < count[:, None]
        places = np.where(inside, places, 0)
        documents = np.searchsorted(self._ends, places, side="right")
        before = np.where(documents > 0, self._ends[documents - 1], 0)
        offsets = self.store.offsets.astype(np.int64)
        at = offsets[documents] + places - before
        last = at == offsets[documents + 1]  # the place of the end token
        tokens = self.store.tokens[np.where(last, 0, at)]
        tokens = np.where(last, self._end, tokens)
        tokens = np.where(inside, tokens, self.pad_id).astype(np.int32)
        return {"tokens": tokens, "count": count.astype(np.int32)}
