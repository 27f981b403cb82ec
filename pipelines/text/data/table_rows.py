"""Labelled texts as rows: [CLS] text [SEP], or [CLS] text [SEP] second text [SEP]."""

from collections.abc import Sequence

import numpy as np

from pipelines.core.api import Rows
from pipelines.text.data.ragged import Ragged
from pipelines.text.tokenization.tokenizer import Tokenizer
from tfattn.errors import InputError


class TableRows(Rows):
    """Rows of one width over texts that are tokenized once and kept in memory.

    A tokenizer without tokens for the start or the end of a text gives rows without them.
    The width is that of the longest row, where `length` allows more: padding costs as much as text.
    A text that is too long is cut at its end; of a pair the longer one is cut first, as in
    arXiv:1810.04805's released code. `cut` counts the rows that lost something.

    Args:
        tokenizer: makes ids of the texts.
        texts: the first texts.
        pairs: the second texts, or None.
        labels: (n,) integers or floats.
        length: tokens a row at most.

    Raises:
        InputError: rows too short for their special tokens and a token of each text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        texts: Sequence[str],
        pairs: Sequence[str] | None,
        labels: np.ndarray,
        length: int,
    ):
        self.tokenizer, self.labels = tokenizer, labels
        first = Ragged(*tokenizer.encode_batch(list(texts)))
        second = Ragged(*tokenizer.encode_batch(list(pairs))) if pairs is not None else None
        start, end = tokenizer.start_id, tokenizer.separator_id
        self._start = [] if start is None else [start]
        self._end = [] if end is None else [end]
        room = length - len(self._start) - len(self._end) * (1 if second is None else 2)
        if room < 2:
            raise InputError(f"length: expected room for a text. Received: {length} tokens a row.")
        a = first.lengths
        b = np.zeros_like(a) if second is None else second.lengths
        # Cutting the longer one token by token ends with both at half, or the shorter one whole.
        keep_b = np.minimum(b, np.maximum(room // 2, room - a))
        keep_a = np.minimum(a, room - keep_b)
        self.cut = int(np.sum((keep_a < a) | (keep_b < b)))
        self.width = int((keep_a + keep_b).max(initial=0)) + length - room
        self._first, self._second, self._keep = first, second, (keep_a, keep_b)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Return `tokens`, `segments` (1, 0 = padding), `types`, all (b, width), and `label`."""
        shape = (len(indices), self.width)
        tokens = np.full(shape, self.tokenizer.pad_id or 0, np.int32)
        segments, types = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        for row, index in enumerate(indices):
            parts = [self._start, self._first[index][: self._keep[0][index]], self._end]
            start = end = sum(map(len, parts))
            if self._second is not None:
                parts += [self._second[index][: self._keep[1][index]], self._end]
                end = sum(map(len, parts))
            tokens[row, :end] = np.concatenate(parts)
            segments[row, :end] = 1
            types[row, start:end] = 1
        found = {"tokens": tokens, "segments": segments, "types": types}
        return {**found, "label": self.labels[indices]}
