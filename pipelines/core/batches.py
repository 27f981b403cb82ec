"""`batch(k)`: the input of step k as a pure function of (data, seed, k).

Row numbers come from a seeded permutation of each epoch that is computed, not stored; masks and
other draws are keyed by (seed, epoch, row). Any step is thus reached at once, and a run resumes by
knowing k alone: no shuffle buffer, no iterator state.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.core.api import Batch, Dataset, Rows, Tensor
from pipelines.core.randomness import Stream, bits
from tfattn.errors import InputError

TOGETHER, PLACES = 16, 2**16  # batches that are made at once, and numbers of a kind in all of them


@dataclass(frozen=True)
class Share:
    """The parts of every batch that one process reads: one for each of its devices."""

    first: int  # part
    own: int  # parts
    parts: int  # of all processes

    def places(self, number: Any) -> tuple[Any, Any]:
        """Return step and part of what is read as the `number`-th, all steps counted."""
        return number // self.own, self.first + number % self.own


WHOLE = Share(0, 1, 1)


# What an objective makes of rows: (arrays, epoch (b,), row (b,)) -> batch.
Transform = Callable[[dict[str, tf.Tensor], tf.Tensor, tf.Tensor], Batch]


class Batches:
    """Batches of rows through an objective's transform.

    Args:
        rows: where examples are read from.
        transform: makes features and targets of them, with draws keyed by epoch and row.
        size: rows a batch.
        seed: of the order.
        row_independent: whether what becomes of a row, its width too, depends on it alone, so that
            a stream may make several batches at once: of small ones, calls take longer than work.
    """

    def __init__(
        self,
        rows: Rows,
        transform: Transform,
        size: int,
        seed: int,
        row_independent: bool = False,
    ):
        self.rows, self.transform, self.size, self.seed = rows, transform, size, seed
        zero = np.zeros(1, np.int64)
        draws = rows.draws(tf.constant(zero), tf.constant(zero))
        first = rows.read(zero, *(d.numpy() for d in draws))
        self._signature = {
            name: tf.TensorSpec((None, *array.shape[1:]), array.dtype)
            for name, array in first.items()
        }
        widest = max(array.size for array in first.values())
        self._together = min(max(PLACES // (size * widest), 1), TOGETHER) if row_independent else 1

    @property
    def steps_per_epoch(self) -> float:
        """Return how many batches make one pass over the rows."""
        return len(self.rows) / self.size

    def at(self, step: Any, share: Share = WHOLE) -> Batch:
        """Return the batch of one step; of several parts that of the process's first device."""
        return self._parts(tf.cast(step, tf.int64)[None] * share.own, share)

    def _parts(self, numbers: Tensor, share: Share) -> Batch:
        """Return the examples of parts of batches, as a share counts them, one behind the other."""
        (step, part), size = share.places(numbers), self.size // share.parts
        rows = tf.range(size, dtype=tf.int64)
        number = tf.reshape((step * self.size + part * size)[:, None] + rows, [-1])
        epoch = number // len(self.rows)
        place = tf.math.mod(number, len(self.rows))
        row = shuffled(
            place, len(self.rows), bits(self.seed, Stream.ROW_ORDER, epoch, epoch * 0, 3)
        )
        return self.transform(self._read(epoch, row), epoch, row)

    def stream(self, first: int, last: int, share: Share = WHOLE) -> Dataset:
        """Return the batches of the steps from `first` to before `last`, or a share of each."""
        count, size = self._together, self.size // share.parts
        numbers = tf.data.Dataset.range(first * share.own, last * share.own, count)

        def several(number: Tensor) -> Batch:
            def separated(x: Tensor) -> Tensor:
                return tf.reshape(x, [count, size, *x.shape[1:]])

            made = self._parts(number + tf.range(count, dtype=tf.int64), share)
            return made if count == 1 else tf.nest.map_structure(separated, made)

        made = self._map(numbers, several)
        # The last group may go beyond.
        return made if count == 1 else made.unbatch().take((last - first) * share.own)

    def in_order(self, limit: int | None = None) -> Dataset:
        """Return every row once, for evaluation, as at most `limit` batches.

        All batches have the same size: the last is filled with rows whose `real` is 0.
        """
        count = -(-len(self.rows) // self.size)
        numbers = tf.data.Dataset.range(min(count, limit) if limit else count)
        return self._map(numbers, self._ordered)

    @staticmethod
    def _map(steps: Dataset, batch: Callable[..., Batch]) -> Dataset:
        # Without AutoGraph: nothing here needs it, and TensorFlow 2.21 has none on Python 3.13.
        batch = tf.autograph.experimental.do_not_convert(batch)
        return steps.map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)

    def _ordered(self, step: Tensor) -> Batch:
        number = step * self.size + tf.range(self.size, dtype=tf.int64)
        real = tf.cast(number < len(self.rows), tf.float32)
        row = tf.minimum(number, len(self.rows) - 1)
        batch = self.transform(self._read(row * 0, row), row * 0, row)
        weights = {
            name: weight * tf.reshape(real, [-1] + [1] * (weight.shape.rank - 1))
            for name, weight in batch["weights"].items()
        }
        return {**batch, "weights": weights, "real": real}

    def _read(self, epoch: Tensor, row: Tensor) -> dict[str, Tensor]:
        names = list(self._signature)

        def read(indices: np.ndarray, *draws: np.ndarray) -> list[np.ndarray]:
            arrays = self.rows.read(indices, *draws)
            return [arrays[name] for name in names]

        dtypes = [self._signature[name].dtype for name in names]
        inputs = [row, *self.rows.draws(epoch, row)]
        # One alone comes as it is where nothing is traced.
        arrays = tf.nest.flatten(tf.numpy_function(read, inputs, dtypes, stateful=False))
        for array, name in zip(arrays, names, strict=True):
            array.set_shape((*row.shape, *self._signature[name].shape[1:]))
        return dict(zip(names, arrays, strict=True))


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Raise what rows say of their data as they said it, while a stream of batches is read.

    TensorFlow raises an error of its own in its place, which has theirs among many lines.

    Raises:
        InputError: of the rows.
    """
    try:
        yield
    except tf.errors.OpError as error:
        theirs = f"{InputError.__module__}.{InputError.__name__}"
        said = re.search(rf"^{re.escape(theirs)}: (.+)$", error.message, re.MULTILINE)
        if said is None:
            raise
        raise InputError(said[1]) from None


def shuffled(place: tf.Tensor, count: Any, keys: tf.Tensor) -> tf.Tensor:
    """Return where places (b,) of `count` are in a permutation of them.

    Args:
        place: int64.
        count: of all places, the same for all.
        keys: (b, 3) uint32 of each place's permutation, hashed numbers.
    """
    # The raw operation: its public wrapper (2.21) pads a matrix of seeds along both axes. It hardly
    # shuffles in the wrapper's 4 rounds where seeds are small numbers, and of each seed it reads no
    # more than the lowest byte where there are few rows: hence hashed ones.
    last = tf.cast(count, tf.int64) - 1
    return tf.raw_ops.RandomIndexShuffle(index=place, seed=keys, max_index=last, rounds=8)
