"""Objectives at work: which head, how rows become batches, and what is summed up of the outputs.

A batch is `{"features", "targets", "weights"}`. An objective's `measure` gives each term's weighted
sum over the batch; the engine divides by the weights of all microbatches and devices together, so
that accumulated and distributed steps equal one large step exactly.
"""

from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from keras import ops
from matplotlib.figure import Figure

from pipelines.data.batches import Batch
from pipelines.reader import Reader
from tfattn.models.build import Model
from tfattn.models.config import Head

Tensor = Any
Sums = dict[str, Tensor]


class Objective(Protocol):
    """What the engine asks of an objective."""

    heads: tuple[Head, ...]  # of the model
    terms: dict[str, str]  # name of each sum -> name of the batch's weights that divide it
    losses: tuple[str, ...]  # the terms whose sum is minimised
    selects: tuple[str, bool]  # metric of an evaluation that chooses the best, and whether more is
    unit: str = "tokens"  # of the speed
    by_row: bool = False  # whether what becomes of a row hangs on it alone, not on its batch

    def batch(self, rows: dict[str, tf.Tensor], epoch: tf.Tensor, row: tf.Tensor) -> Batch:
        """Turn rows into features, targets and weights."""
        ...

    def training_batch(self, rows: dict[str, tf.Tensor], epoch: tf.Tensor, row: tf.Tensor) -> Batch:
        """Do as `batch`, with what is changed in training alone."""
        return self.batch(rows, epoch, row)

    def measure(self, model: Model, batch: Batch, training: bool) -> tuple[Sums, Any]:
        """Run the model; return the weighted sum of each term over the batch, and the outputs.

        Outputs are a row for each row of the batch where `score` reads them, else None.
        """
        ...

    def count(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return how many units there are in a batch, and how many places for them, float32.

        Of texts those of a source and of its target, where there are both.
        """
        sides = [x for name, x in batch["features"].items() if name.endswith("segments")]
        real = tf.add_n([tf.math.count_nonzero(x, dtype=tf.float32) for x in sides])
        return real, tf.add_n([tf.cast(tf.size(x), tf.float32) for x in sides])

    def score(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Return what can only be measured over the whole split; {} where nothing is."""
        return {}

    def derived(self, numbers: dict[str, float]) -> dict[str, float]:
        """Return what follows from the numbers of an evaluation, such as the perplexity."""
        return {}

    def watch(
        self, model: Model, batch: Batch, reader: Reader, count: int
    ) -> tuple[list[str], dict[str, float]]:
        """Return what `show` does, and the numbers that come of the same work; {} = none."""
        return self.show(model, batch, reader, count), {}

    def figures(self, model: Model, batch: Batch) -> dict[str, Figure]:
        """Return pictures of what the model makes of a batch, by name."""
        return {}

    def show(self, model: Model, batch: Batch, reader: Reader, count: int) -> list[str]:
        """Return what the model says of at most `count` rows as lines of a Markdown table."""
        ...


def first(batch: Batch, count: int) -> Batch:
    """Return the first rows of a batch."""
    return tf.nest.map_structure(lambda x: x[:count], batch)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return `-log softmax(logits)[target]` over the last axis, float32."""
    logits = ops.cast(logits, "float32")
    return ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)


def hits(logits: Tensor, targets: Tensor) -> Tensor:
    """Return 1.0 where the largest logit is that of the target."""
    best = ops.cast(ops.argmax(logits, axis=-1), "int32")
    return ops.cast(best == ops.cast(targets, "int32"), "float32")


def cell(text: str) -> str:
    """Return the text as a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
