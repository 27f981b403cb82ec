"""A loop over blocks of places that holds few of them at a time, and so does its gradient."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from tfattn.backend.gradients import bound, differentiable, gradients
from tfattn.backend.which import on_tensorflow

Tensor = Any


def by_blocks(
    fn: Callable[..., tuple[Tensor, Sequence[Tensor]]],
    parts: Sequence[Any],
    own: Sequence[Any],
    whole: Sequence[Any],
    size: Callable[[int], int],
    kept: Sequence[str] = (),
    by_row: bool = False,
    together: int = 1,
) -> Tensor:
    """Return `fn` of blocks of the second axis, joined along it.

    Its gradient makes each block again, so that both hold the making of few blocks at a time.

    Args:
        fn: `fn(index, parts, own, whole, known)`, from the number of a block, of all blocks of all
            rows, its share of the parts, what its rows have of their own, and all of the rest to
            (b, size, ...) of the type of the first part, and to what is kept of its making,
            (b, size, ...) each. When it is made again, both are `known`; else None.
        parts: tensors (b or 1, t, ...) or None, the first with all of b. Places behind the last
            are 0, and what is made of them is left out.
        own: tensors (b or 1, ...) or None.
        whole: tensors, numbers or None, of any shape.
        size: places of a block, from how many rows, of one block or several, are computed at once;
            of a batch of unknown size one is counted.
        kept: types of what is kept, on TensorFlow; elsewhere nothing is.
        by_row: whether a block is of one row of the batch, where `takes_rows()`. Parts and what
            rows have of their own then have all of b.
        together: blocks that are computed at once, in graphs of TensorFlow.

    Raises:
        ValueError: by row of tensors that have not as many of them.
    """
    tensors, every = bound([*parts, *own, *whole])
    cut = sum(part is not None for part in parts)  # the first so many tensors
    rowed = cut + sum(each is not None for each in own)
    rows, length = ops.shape(tensors[0])[:2]
    together = together if on_tensorflow() else 1
    batches = {x.shape[0] for x in tensors[:rowed]} - {None}
    if by_row and len(batches) > 1:
        raise ValueError(f"by_blocks takes rows of as many. Received: batches of {batches}.")
    places = size(together * (rows if isinstance(rows, int) and not by_row else 1))
    count = -(-length // places)

    def block(index, tensors, known=None):
        args, end = every(tensors), len(parts) + len(own)
        return fn(index, args[: len(parts)], args[len(parts) : end], args[end:], known)

    def padded(part):
        rest = [(0, 0)] * (len(part.shape) - 2)
        return ops.pad(part, [(0, 0), (0, count * places - length), *rest])

    given = [*map(padded, tensors[:cut]), *tensors[cut:]]
    if on_tensorflow():
        one_by_one = rows if by_row else None
        blocks = _Blocks(block, cut, rowed, one_by_one, count, places, together)
        made: Any = differentiable(
            lambda *tensors: blocks.forward(tensors, kept), blocks.backward, given
        )[0]
    else:
        made = _loop(lambda *args: block(*args)[0], given, cut, count, places)
    return made[:, :length]


def takes_rows() -> bool:
    """Return whether `by_blocks` can take rows of the batch one by one; elsewhere it takes all."""
    return on_tensorflow()


def _loop(block, tensors, cut, count, size):
    """Run the loop of by_blocks where loops have gradients, and these may recompute."""

    def split(x):  # (n, b, size, ...)
        return ops.moveaxis(ops.reshape(x, (x.shape[0], count, size, *x.shape[2:])), 1, 0)

    step = keras.remat(lambda index, *parts: block(index, [*parts, *tensors[cut:]]))
    made = ops.map(lambda xs: step(*xs), (ops.arange(count), *map(split, tensors[:cut])))
    return ops.reshape(ops.moveaxis(made, 0, 1), (made.shape[1], count * size, *made.shape[3:]))


@dataclass(frozen=True)
class _Blocks:
    """The loops of by_blocks on TensorFlow: of rows, of blocks in each, and those of the gradient.

    The gradient of a loop of TensorFlow's would store every block.
    """

    block: Callable[..., tuple[Tensor, Sequence[Tensor]]]  # of an index, tensors, what is known
    cut: int  # tensors that blocks have a share of: the first so many
    rowed: int  # and those that rows have a share of
    rows: Any  # that are taken one by one; None = all are in each block
    count: int  # blocks of a row
    size: int
    together: int

    def forward(self, tensors: Sequence[Tensor], kept: Sequence[str]) -> list[Tensor]:
        """Return what blocks make and what is kept, joined."""
        types = (tensors[0].dtype, *kept)

        def of_row(row):
            mine = self._of_row(row, tensors, self.rowed)

            def of_block(i, index):
                result, more = self.block(index, self._at(i, mine, self.cut))
                return [result, *more], []

            return self._blocks(row, of_block, types, [])

        return self._rows(of_row, types, [])[0]

    def backward(
        self, tensors: Sequence[Tensor], made: Sequence[Tensor], upstream: Sequence[Tensor]
    ) -> list[Tensor]:
        """Return the gradients of the floats among the tensors."""
        import tensorflow as tf

        types = [x.dtype for x in tensors if x.dtype.is_floating]
        # Of tensors without a gradient none are counted.
        parts, rowed = (
            sum(x.dtype.is_floating for x in tensors[:n]) for n in (self.cut, self.rowed)
        )

        def zeros(tensors):
            floats = [x for x in tensors if x.dtype.is_floating]
            return [tf.zeros(tf.shape(x), _sum_type(x.dtype)) for x in floats]

        def of_row(row):
            mine = self._of_row(row, tensors, self.rowed)
            known = self._of_row(row, [upstream[0], *made])

            def of_block(i, index):
                above, *before = self._at(i, known)
                again = lambda *args: self.block(index, args, before)[0]  # noqa: E731
                found = gradients(again, self._at(i, mine, self.cut), above)
                return found[:parts], found[parts:]

            found, sums = self._blocks(row, of_block, types[:parts], zeros(mine[self.cut :]))
            own = zip(sums[: rowed - parts], types[parts:rowed], strict=True)
            return [*found, *(tf.cast(x, t) for x, t in own)], sums[rowed - parts :]

        found, sums = self._rows(of_row, types[:rowed], zeros(tensors[self.rowed :]))
        return [*found, *(tf.cast(x, t) for x, t in zip(sums, types[rowed:], strict=True))]

    def _of_row(self, row, tensors, count=None):
        """Return the tensors, with one row of so many of them."""
        if self.rows is None:
            return list(tensors)
        first = tensors[:count]
        return [*(x[row][None] for x in first), *tensors[len(first) :]]

    def _at(self, i, tensors, count=None):
        """Return the tensors, with one block of so many of them."""
        import tensorflow as tf

        def at(x):
            rest = [0] * (len(x.shape) - 2)
            share = tf.slice(x, [0, i * self.size, *rest], [-1, self.size, *[-1] * len(rest)])
            return tf.ensure_shape(share, (x.shape[0], self.size, *x.shape[2:]))

        first = tensors[:count]
        return [*map(at, first), *tensors[len(first) :]]

    def _blocks(self, row, step, types, sums):
        """Return what is made of all blocks of a row, (b, t, ...), and sums."""
        import tensorflow as tf

        def joined(x):  # (n, b, size, ...)
            x = tf.experimental.numpy.moveaxis(x, 0, 1)
            return tf.reshape(x, (*ops.shape(x)[:1], self.count * self.size, *x.shape[3:]))

        first = row * self.count
        is_alone = self.rows is None or isinstance(self.rows, int) and self.rows == 1
        together = self.together if is_alone else 1
        made, sums = _repeat(lambda i: step(i, first + i), self.count, together, types, sums)
        return [*map(joined, made)], sums

    def _rows(self, step, types, sums):
        """Return what is made of all rows, (b, t, ...), and sums."""
        import tensorflow as tf

        if self.rows is None:
            return step(0)
        made, sums = _repeat(step, self.rows, self.together, types, sums)
        return [tf.reshape(x, (-1, *ops.shape(x)[2:])) for x in made], sums


def _sum_type(dtype):
    """Return the type that numbers of a type are summed in."""
    return keras.backend.result_type(dtype.name, "float32")


def _repeat(step, count, together, types, sums):
    """Return what `step(i)` makes, stacked, and the sums of what it adds to these."""
    import tensorflow as tf

    def body(i, arrays, sums):
        made, added = step(i)
        arrays = [a.write(i, x) for a, x in zip(arrays, made, strict=True)]
        sums = [
            s + tf.cast(tf.convert_to_tensor(x), s.dtype) for s, x in zip(sums, added, strict=True)
        ]
        return i + 1, arrays, sums

    _, arrays, sums = tf.while_loop(
        lambda i, *_: i < count,
        body,
        (0, [tf.TensorArray(t, size=count) for t in types], list(sums)),
        maximum_iterations=count,
        parallel_iterations=together,
    )
    return [array.stack() for array in arrays], sums
