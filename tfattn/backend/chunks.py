"""A loop over chunks of the second axis that holds few of them at a time, and so does its gradient.

Attention runs in it over chunks of queries (arXiv:2112.05682): see tfattn/mechanisms/engines.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
from keras import ops, tree

from tfattn.backend.gradients import differentiable, gradients, separate_tensors
from tfattn.backend.which import on_tensorflow
from tfattn.types import Tensor

# From the number of a chunk, tensors and what was saved to the chunk's result and what to save.
ChunkFn = Callable[..., tuple[Tensor, Sequence[Tensor]]]


class _Groups(NamedTuple):
    """Tensors, or what belongs to each of them, by what a chunk reads of a tensor."""

    chunked: list[Any]  # a chunk reads its share of the second axis
    per_row: list[Any]  # a chunk of one row of the batch reads that row
    shared: list[Any]  # every chunk reads all

    @classmethod
    def split(cls, flat: Sequence[Any], sizes: Sequence[int]) -> "_Groups":
        """Return a flat list in groups, of which the first two have these sizes."""
        first, second = sizes[0], sizes[0] + sizes[1]
        return cls(list(flat[:first]), list(flat[first:second]), list(flat[second:]))

    def flat(self) -> list[Any]:
        return [*self.chunked, *self.per_row, *self.shared]

    def floats(self) -> "_Groups":
        """Return the tensors that have gradients."""
        return _Groups(*([x for x in group if x.dtype.is_floating] for group in self))


def map_chunks(
    fn: ChunkFn,
    chunked: Any,
    per_row: Any,
    shared: Any,
    size: Callable[[int], int],
    saved_types: Sequence[str] = (),
    row_independent: bool = False,
    parallel: int = 1,
) -> Tensor:
    """Return what `fn` computes of chunks of the second axis, concatenated along it.

    The gradient recomputes each chunk, so that both passes hold few chunks at a time.

    Args:
        fn: `fn(index, chunked, per_row, shared, saved)`, from the number of the chunk, among those
            of all rows, and the three structures, of which the first two hold what the chunk reads,
            to its result (b, size, ...), of the type of the first tensor, and to a list of what to
            save for its recomputation, (b, size, ...) each. In the recomputation `saved` is
            `[result, *saved]`; else it is None.
        chunked: structure of tensors (b or 1, t, ...) or None, the first with all of b. The last
            chunk is padded with 0, and its results for the padding are dropped.
        per_row: structure of tensors (b or 1, ...) or None.
        shared: structure of tensors of any shape, numbers or None.
        size: `size(rows)` returns the length of a chunk from the number of rows, of one chunk or
            several, that are computed at once; a batch of unknown size counts as one.
        saved_types: types of what is saved, on TensorFlow; other backends save nothing.
        row_independent: whether a chunk is of one row of the batch, where `can_split_rows()`. Then
            what is chunked and per row has all of b.
        parallel: chunks that run at once, in graphs of TensorFlow.

    Raises:
        ValueError: `row_independent` with tensors of different batch sizes.
    """
    structure = (chunked, per_row, shared)
    tensors, restore = separate_tensors(tree.flatten(structure))
    sizes = [sum(x is not None for x in tree.flatten(group)) for group in structure[:2]]
    groups = _Groups.split(tensors, sizes)
    if row_independent:
        _check_batches(groups)
    rows = ops.shape(tensors[0])[0]
    parallel = parallel if on_tensorflow() else 1
    length = size(parallel * (rows if isinstance(rows, int) and not row_independent else 1))

    def chunk(index, tensors, saved=None):
        return fn(index, *tree.pack_sequence_as(structure, restore(tensors)), saved)

    loop_rows = rows if row_independent else None
    return _run(chunk, groups, sizes, length, saved_types, loop_rows, parallel)


def _run(
    chunk: ChunkFn,
    groups: _Groups,
    sizes: Sequence[int],
    size: int,
    saved_types: Sequence[str],
    rows: Any,
    parallel: int,
) -> Tensor:
    """Return the results of chunks of a size; arguments as of `map_chunks` and `_ChunkLoop`."""
    length = ops.shape(groups.chunked[0])[1]
    count = -(-length // size)
    groups = groups._replace(chunked=[_pad(x, count * size - length) for x in groups.chunked])
    if on_tensorflow():
        loop = _ChunkLoop(
            chunk=chunk, sizes=sizes, rows=rows, count=count, size=size, parallel=parallel
        )
        result = loop.run(groups, saved_types)
    else:
        result = _recomputing_map(chunk, groups, count, size)
    return result[:, :length]


def can_split_rows() -> bool:
    """Return whether `map_chunks` can be `row_independent`; elsewhere a chunk has all rows."""
    return on_tensorflow()


def _check_batches(groups: _Groups):
    batches = {x.shape[0] for x in (*groups.chunked, *groups.per_row)} - {None}
    if len(batches) > 1:
        raise ValueError(
            f"map_chunks takes rows of tensors with one batch size. Received: batches of {batches}."
        )


def _pad(x: Tensor, count: Any) -> Tensor:
    """Return `x` with so many zeros behind the second axis."""
    return ops.pad(x, [(0, 0), (0, count), *[(0, 0)] * (len(x.shape) - 2)])


def _recomputing_map(chunk: ChunkFn, groups: _Groups, count: int, size: int) -> Tensor:
    """Run the loop of map_chunks on a backend whose loops have gradients that may recompute."""

    def split(x):  # (n, b, size, ...)
        return ops.moveaxis(ops.reshape(x, (x.shape[0], count, size, *x.shape[2:])), 1, 0)

    def result(index, *chunked):
        return chunk(index, groups._replace(chunked=list(chunked)).flat())[0]

    step = keras.remat(result)
    stacked = ops.map(lambda xs: step(*xs), (ops.arange(count), *map(split, groups.chunked)))
    moved = ops.moveaxis(stacked, 0, 1)
    return ops.reshape(moved, (stacked.shape[1], count * size, *stacked.shape[3:]))


@dataclass(frozen=True)
class _ChunkLoop:
    """The loops of map_chunks on TensorFlow: over rows, over chunks in each, and their gradient.

    The gradient of a loop that TensorFlow derives would store every chunk.
    """

    chunk: ChunkFn  # of an index, flat tensors and what was saved
    sizes: Sequence[int]  # of the first two groups of tensors
    rows: Any  # that are looped over; None = each chunk has all
    count: int  # chunks of a row
    size: int
    parallel: int

    def run(self, groups: _Groups, saved_types: Sequence[str]) -> Tensor:
        """Return what is computed of all chunks, (b, t, ...), with its gradient."""
        results = differentiable(
            lambda *tensors: self._forward(tensors, saved_types), self._backward, groups.flat()
        )
        return results[0]

    def _forward(self, tensors: Sequence[Tensor], saved_types: Sequence[str]) -> list[Tensor]:
        """Return the results of all chunks and what they save, each concatenated."""
        groups = _Groups.split(tensors, self.sizes)
        types = (tensors[0].dtype, *saved_types)

        def run_row(row):
            of_row = self._row(row, groups)

            def run_chunk(i, index):
                result, saved = self.chunk(index, self._chunk(i, of_row).flat())
                return [result, *saved], []

            return self._map_chunks(row, run_chunk, types, [])

        return self._map_rows(run_row, types, [])[0]

    def _backward(
        self, tensors: Sequence[Tensor], results: Sequence[Tensor], upstream: Sequence[Tensor]
    ) -> list[Tensor]:
        """Return the gradients of the floats among the tensors."""
        groups = _Groups.split(tensors, self.sizes)
        types = _Groups(*([x.dtype for x in group] for group in groups.floats()))

        def run_row(row):
            of_row = self._row(row, groups)
            known = self._row(row, _Groups([upstream[0], *results], [], []))

            def run_chunk(i, index):
                above, *saved = self._chunk(i, known).chunked

                def recompute(*tensors):
                    return self.chunk(index, tensors, saved)[0]

                found = gradients(recompute, self._chunk(i, of_row).flat(), above)
                of_chunk = len(types.chunked)
                return found[:of_chunk], found[of_chunk:]

            zeros = _zeros([*of_row.per_row, *of_row.shared])
            found, sums = self._map_chunks(row, run_chunk, types.chunked, zeros)
            per_row, shared = sums[: len(types.per_row)], sums[len(types.per_row) :]
            return [*found, *_cast(per_row, types.per_row)], shared

        row_types = [*types.chunked, *types.per_row]
        found, sums = self._map_rows(run_row, row_types, _zeros(groups.shared))
        return [*found, *_cast(sums, types.shared)]

    def _row(self, row: Tensor, groups: _Groups) -> _Groups:
        """Return what the chunks of a row read."""
        if self.rows is None:
            return groups
        chunked, per_row = ([x[row][None] for x in group] for group in groups[:2])
        return _Groups(chunked, per_row, groups.shared)

    def _chunk(self, i: Tensor, groups: _Groups) -> _Groups:
        """Return what the chunk `i` of a row reads."""
        import tensorflow as tf

        def share(x):
            rest = [0] * (len(x.shape) - 2)
            part = tf.slice(x, [0, i * self.size, *rest], [-1, self.size, *[-1] * len(rest)])
            return tf.ensure_shape(part, (x.shape[0], self.size, *x.shape[2:]))

        return groups._replace(chunked=[share(x) for x in groups.chunked])

    def _map_chunks(self, row: Any, step: Callable[..., Any], types: Any, sums: Any) -> Any:
        """Return the results of all chunks of a row, (b, t, ...), and the sums."""
        import tensorflow as tf

        def concatenate(x):  # (n, b, size, ...)
            x = tf.experimental.numpy.moveaxis(x, 0, 1)
            return tf.reshape(x, (*ops.shape(x)[:1], self.count * self.size, *x.shape[3:]))

        first = row * self.count
        is_one_row = self.rows is None or isinstance(self.rows, int) and self.rows == 1
        parallel = self.parallel if is_one_row else 1
        results, sums = _loop(lambda i: step(i, first + i), self.count, parallel, types, sums)
        return [concatenate(x) for x in results], sums

    def _map_rows(self, step: Callable[..., Any], types: Any, sums: Any) -> Any:
        """Return the results of all rows, (b, t, ...), and the sums."""
        import tensorflow as tf

        if self.rows is None:
            return step(0)
        results, sums = _loop(step, self.rows, self.parallel, types, sums)
        return [tf.reshape(x, (-1, *ops.shape(x)[2:])) for x in results], sums


def _zeros(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return where the gradients of the floats among tensors are summed, in float32 at least."""
    import tensorflow as tf

    def zeros(x):
        return tf.zeros(tf.shape(x), keras.backend.result_type(x.dtype.name, "float32"))

    return [zeros(x) for x in tensors if x.dtype.is_floating]


def _cast(tensors: Sequence[Tensor], types: Sequence[Any]) -> list[Tensor]:
    import tensorflow as tf

    return [tf.cast(x, dtype) for x, dtype in zip(tensors, types, strict=True)]


def _loop(
    step: Callable[..., Any],
    count: Any,
    parallel: int,
    types: Sequence[Any],
    sums: Sequence[Tensor],
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the results of `step(i)`, stacked, and the sums with what it adds to these."""
    import tensorflow as tf

    def body(i, arrays, sums):
        results, added = step(i)
        arrays = [a.write(i, x) for a, x in zip(arrays, results, strict=True)]
        sums = [
            s + tf.cast(tf.convert_to_tensor(x), s.dtype) for s, x in zip(sums, added, strict=True)
        ]
        return i + 1, arrays, sums

    _, arrays, sums = tf.while_loop(
        lambda i, *_: i < count,
        body,
        (0, [tf.TensorArray(t, size=count) for t in types], list(sums)),
        maximum_iterations=count,
        parallel_iterations=parallel,
    )
    return [array.stack() for array in arrays], list(sums)
