"""Pairs of texts as rows of a source and a target, each with the end token after it."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import tensorflow as tf

from pipelines.core.api import Rows
from pipelines.text.data.corruption import Example
from pipelines.text.data.ragged import Ragged
from pipelines.text.tokenization.tokenizer import Tokenizer
from tfattn.errors import InputError

TooLong = Literal["drop", "cut", "error"]  # what becomes of a longer pair
STEP = 16  # batches are as wide as their longest text, rounded up to this: few distinct shapes


class SourceTargetRows(Rows):
    """Rows over pairs that are tokenized once and kept in memory.

    Args:
        tokenizer: makes ids of the texts.
        sources: what is read.
        targets: what is written.
        end: id of the token that ends a text.
        length: tokens of a side at most, the end among them.
        too_long: what becomes of a longer pair: it is left out, or cut at the end of its texts, or
            an error.
        places: of each pair, to be named.

    Raises:
        InputError: a pair that is too long, where that is an error, or none that is short enough;
            or a side of nothing that the vocabulary knows, such as zero-width blanks.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        sources: Sequence[str],
        targets: Sequence[str],
        end: int,
        length: int,
        too_long: TooLong = "cut",
        places: Sequence[str] = (),
    ):
        self.end = end
        sides = [Ragged(*tokenizer.encode_batch(list(texts))) for texts in (sources, targets)]
        shortest, longest = (f(*(s.lengths for s in sides)) for f in (np.minimum, np.maximum))
        longest += 1  # the end
        over = np.flatnonzero(longest > length)
        self.too_long = len(over)  # pairs
        if len(empty := np.flatnonzero(shortest == 0)):
            raise InputError(
                f"{_where(places, empty[0])}: expected text of which tokens are left on both "
                f"sides. Received: {sources[empty[0]]!r} and {targets[empty[0]]!r}."
            )
        if len(over) and too_long == "error":
            raise InputError(
                f"{_where(places, over[0])}: expected at most {length} tokens a side. "
                f"Received: {longest[over[0]]}, and {len(over)} such pairs in all."
            )
        keep = np.arange(len(longest)) if too_long == "cut" else np.flatnonzero(longest <= length)
        if not len(keep):
            raise InputError(
                f"files: expected pairs of at most {length} tokens a side. Received: none; "
                f"the shortest has {int(longest.min())}."
            )
        self._sides = sides
        self._keep = keep
        self.cut = len(over) if too_long == "cut" else 0  # of the rows
        self._counts = [np.minimum(side.lengths[keep] + 1, length) for side in sides]
        self.width = int(max(count.max() for count in self._counts))

    def __len__(self) -> int:
        return len(self._keep)

    @property
    def counts(self) -> np.ndarray:
        """Return the tokens of both sides of each row, (2, n)."""
        return np.stack(self._counts)

    def read(
        self, indices: np.ndarray, widths: Sequence[int] | np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Return `source` and `target` (b, width), and the `source_count` and `target_count`.

        Args:
            indices: (b,).
            widths: of both sides; None = of the longest rows of all.
        """
        found, widths = {}, (self.width, self.width) if widths is None else widths
        for number, name in enumerate(("source", "target")):
            side, counts = self._sides[number], self._counts[number]
            ids = np.zeros((len(indices), widths[number]), np.int32)
            for row, index in enumerate(indices):
                count = counts[index]
                ids[row, : count - 1] = side[self._keep[index]][: count - 1]
                ids[row, count - 1] = self.end
            found[name], found[f"{name}_count"] = ids, counts[indices].astype(np.int32)
        return found


def _where(places: Sequence[str], row: int) -> str:
    return places[row] if places else f"row {row}"


def example_of(rows: dict[str, tf.Tensor], epoch: tf.Tensor, row: tf.Tensor) -> Example:
    """Return what was read, cut to the longest text of each side of the batch."""

    def side(name):
        ids, count = rows[name], rows[f"{name}_count"]
        if ids.shape[1] is None:  # read at the width of its bucket, of which there are few
            return ids, count
        longest = tf.reduce_max(count)
        step = tf.where(longest > 4 * STEP, 2 * STEP, STEP)
        return ids[:, : (longest + step - 1) // step * step], count

    return Example(*side("source"), *side("target"))
