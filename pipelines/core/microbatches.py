"""The rows of a batch in equal parts, so many at a time, each as if it were a batch of its own.

Microbatches that accumulate are parts, for memory: few of them are there at once. So are lanes, for
speed on a CPU: one for each core, which is alone with its rows. By itself TensorFlow shares every
product among all threads, which wait for each other after each, and all but one at elementwise
stretches.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from pipelines.core.api import Batch, Tensor

Part = Callable[[Any, Batch], Any]  # from the number of a part and its rows


def count_parts(batch: Batch, accumulate: int, lanes: int) -> Any:
    """Return in how many parts a batch is computed, an int where the number of its rows is known.

    Args:
        batch: of which every tensor has a row for each row.
        accumulate: microbatches.
        lanes: parts of each of these, or as many as divide its rows.
    """
    if lanes == 1:
        return accumulate
    rows = tf.nest.flatten(batch)[0]
    known = rows.shape[0]
    if known is not None:
        return accumulate * math.gcd(known // accumulate, lanes)
    divisors: Any = tf.constant([n for n in range(1, lanes + 1) if lanes % n == 0])
    left = tf.shape(rows)[0] // accumulate % divisors
    return accumulate * tf.reduce_max(tf.where(left == 0, divisors, 1))


def summed(
    part: Part,
    batch: Batch,
    count: Any,
    lanes: int,
    start: Sequence[Tensor],
    last: Sequence[Tensor],
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the sums over parts of what each makes, and what the last one gave of the rest.

    Args:
        part: returns a list of tensors to be added, and a list of others.
        batch: is cut.
        count: of parts.
        lanes: that are computed at once.
        start: zeros to add to.
        last: of the shapes of the others.
    """
    cut = _cut(batch, count)

    def body(
        i: Tensor, sums: list[Tensor], _: list[Tensor]
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        more, others = part(i, tf.nest.map_structure(lambda x: x[i], cut))
        return i + 1, [a + b for a, b in zip(sums, more, strict=True)], others

    # Where there are no lanes, threads that one microbatch leaves idle begin with the next.
    once = {"maximum_iterations": count, "parallel_iterations": max(lanes, 2)}
    _, sums, others = tf.while_loop(
        lambda i, *_: i < count, body, (0, list(start), list(last)), **once
    )
    return sums, others


def mapped(part: Part, batch: Batch, count: Any, lanes: int, made: Any) -> Any:
    """Return what all parts make, stacked; of the structure and types of `made`."""
    cut = _cut(batch, count)

    def at(i: Tensor) -> Any:
        return part(i, tf.nest.map_structure(lambda x: x[i], cut))

    return tf.map_fn(at, tf.range(count), fn_output_signature=made, parallel_iterations=lanes)


def part_spec(part: Part, batch: Batch) -> Any:
    """Return the structure, shapes and types of what a part makes, by tracing it."""

    def rows(x: Tensor) -> tf.TensorSpec:
        return tf.TensorSpec([None, *x.shape[1:]], x.dtype)

    def spec(x: Tensor) -> tf.TensorSpec:
        return tf.TensorSpec(x.shape, x.dtype)

    specs = (tf.TensorSpec([], tf.int32), tf.nest.map_structure(rows, batch))
    traced = tf.function(part, autograph=False).get_concrete_function(*specs)
    return tf.nest.map_structure(spec, traced.structured_outputs)


def merged(stacked: Tensor) -> Tensor:
    """Return the rows of all parts (n, rows, ...) as those of the batch."""
    return tf.reshape(stacked, tf.concat([[-1], tf.shape(stacked)[2:]], axis=0))


def _cut(batch: Batch, count: Any) -> Batch:
    return tf.nest.map_structure(
        lambda x: tf.reshape(x, tf.concat([[count, -1], tf.shape(x)[1:]], axis=0)), batch
    )
