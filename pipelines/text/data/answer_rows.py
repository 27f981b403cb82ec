"""Texts and their answers as rows in which the answers alone are predicted: t e x t a n s </s>."""

from collections.abc import Sequence

import numpy as np

from pipelines.core.api import Rows
from pipelines.text.tokenization.tokenizer import Tokenizer
from tfattn.errors import InputError


class AnswerRows(Rows):
    """A row for each text and its answer, which ends with the end token where there is one.

    A row that is too long loses the first tokens of its text, as a prompt does in generation; an
    answer for which that is not enough is cut at its end. `cut` counts the rows that lost some.

        tokens     <s> t e x t a n s          counted    0 0 0 0 1 1 1 1
        targets    t e x t a n s </s>

    Args:
        tokenizer: makes ids of the texts.
        texts: what is given, with what stands between it and the answer.
        answers: what is predicted.
        length: tokens a row at most.

    Raises:
        InputError: a row for which nothing is given.
    """

    def __init__(
        self, tokenizer: Tokenizer, texts: Sequence[str], answers: Sequence[str], length: int
    ):
        self.pad_id = tokenizer.pad_id or 0
        start, end = (
            [] if edge is None else [edge] for edge in (tokenizer.start_id, tokenizer.separator_id)
        )
        given, predicted = (_split(*tokenizer.encode_batch(list(x))) for x in (texts, answers))
        self.cut, self._rows = 0, []
        for text, answer in zip(given, predicted, strict=True):
            whole = [*answer, *end]
            kept = whole[: length - len(start)]  # beside a token of the text
            room = length + 1 - len(start) - len(kept)  # the last token is a target alone
            before = [*start, *text[max(0, len(text) - room) :]]
            if not before:
                raise InputError("text: expected a token to begin from. Received: none.")
            self.cut += len(kept) < len(whole) or len(text) > room
            self._rows.append((before, kept))
        self.width = max(len(before) + len(kept) for before, kept in self._rows) - 1

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Return `tokens`, `targets`, `segments`, `positions` and `counted`, all (b, width)."""
        shape = (len(indices), self.width)
        found = {name: np.full(shape, self.pad_id, np.int32) for name in ("tokens", "targets")}
        found |= {name: np.zeros(shape, np.int32) for name in ("segments", "positions", "counted")}
        for row, index in enumerate(indices):
            before, kept = self._rows[index]
            ids = [*before, *kept]
            count = len(ids) - 1
            found["tokens"][row, :count], found["targets"][row, :count] = ids[:-1], ids[1:]
            found["segments"][row, :count] = 1
            found["positions"][row, :count] = range(count)
            found["counted"][row, len(before) - 1 : count] = 1
        return found


def _split(flat, lengths):
    return [part.tolist() for part in np.split(flat, np.cumsum(lengths)[:-1])]
