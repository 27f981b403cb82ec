"""What every task of classification shares: losses, metrics over a split, and answers."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from keras import ops

from pipelines.core.api import Batch, Tensor


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return `-log softmax(logits)[target]` over the last axis, float32."""
    logits = ops.cast(logits, "float32")
    return ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)


def hits(logits: Tensor, targets: Tensor) -> Tensor:
    """Return 1.0 where the largest logit is that of the target."""
    best = ops.cast(ops.argmax(logits, axis=-1), "int32")
    return ops.cast(best == ops.cast(targets, "int32"), "float32")


class ClassificationMetric:
    """Macro F1 over all classes, and the Matthews correlation.

    Args:
        classes: number of them.
    """

    def __init__(self, classes: int):
        self.classes = classes
        self._predicted: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []

    def update(self, outputs: np.ndarray, batch: Batch) -> None:
        """Take logits (b, classes), and targets (b,), numbers of classes."""
        self._predicted.append(outputs.argmax(axis=-1))
        self._targets.append(batch["targets"])

    def result(self) -> dict[str, float]:
        """Return `macro_f1` and `matthews`."""
        from sklearn import metrics  # takes long, and pretraining needs none

        predicted, targets = np.concatenate(self._predicted), np.concatenate(self._targets)
        every = range(self.classes)
        f1 = metrics.f1_score(targets, predicted, labels=every, average="macro", zero_division=0)
        several = len(np.union1d(targets, predicted)) > 1  # of a constant undefined; 0 is reported
        matthews = metrics.matthews_corrcoef(targets, predicted) if several else 0.0
        return {"macro_f1": float(f1), "matthews": float(matthews)}


def class_answers(logits: Tensor, classes: Sequence[str]) -> dict[str, Tensor]:
    """Return what a served classifier gives.

    Args:
        logits: (b, classes).
        classes: their names.

    Returns:
        `label` (b,), `probabilities` (b, classes) and `classes` (b, classes), which names the
        columns of `probabilities`.
    """
    names = tf.constant(classes)
    return {
        "label": tf.gather(names, tf.argmax(logits, axis=-1)),
        "probabilities": tf.nn.softmax(logits),
        "classes": tf.repeat(names[None], tf.shape(logits)[0], axis=0),
    }
