"""Objectives of labelled texts: classification and regression (arXiv:1810.04805, section 4.1)."""

import numpy as np
import tensorflow as tf

from pipelines import recipes
from pipelines.objectives import Objective, cell, cross_entropy, first, hits
from tfattn.models.config import Classify, Head

STEP = 16  # batches are as wide as their longest text, rounded up to this: few distinct shapes


def _features(rows):
    """Return features cut to the longest text of the batch."""
    longest = tf.reduce_max(tf.reduce_sum(tf.cast(rows["segments"] != 0, tf.int32), axis=1))
    width = tf.minimum((longest + STEP - 1) // STEP * STEP, rows["tokens"].shape[1])
    return {name: rows[name][:, :width] for name in ("tokens", "segments", "types")}


def _batch(rows):
    """Give every row weight 1."""
    weights = {"rows": tf.ones_like(rows["label"], tf.float32)}
    return {"features": _features(rows), "targets": rows["label"], "weights": weights}


def _texts(batch, tokenizer):
    for row in range(len(batch["features"]["tokens"])):
        real = batch["features"]["segments"][row].numpy() != 0
        yield tokenizer.decode(batch["features"]["tokens"][row].numpy()[real])


def class_scores(outputs: np.ndarray, targets: np.ndarray, classes: int) -> dict[str, float]:
    """Return macro F1 over all classes, and the Matthews correlation.

    Args:
        outputs: (n, classes), logits.
        targets: (n,), numbers of classes.
        classes: of them all.
    """
    from sklearn import metrics  # takes long, and pretraining needs none

    said = outputs.argmax(axis=-1)
    f1 = metrics.f1_score(targets, said, labels=range(classes), average="macro", zero_division=0)
    several = len(np.union1d(targets, said)) > 1  # of a constant it is undefined; 0 is reported
    matthews = metrics.matthews_corrcoef(targets, said) if several else 0.0
    return {"macro_f1": float(f1), "matthews": float(matthews)}


class Classification(Objective):
    """Tell the class of a text by cross entropy."""

    def __init__(self, spec: recipes.Classification):
        self.spec = spec
        head = Classify(
            "classify", classes=len(spec.classes), pool=spec.pool or "mean", dropout=spec.dropout
        )
        self.heads: tuple[Head, ...] = (head,)
        self.terms = {"loss": "rows", "accuracy": "rows"}
        self.losses: tuple[str, ...] = ("loss",)
        self.selects: tuple[str, bool] = (spec.metric, True)

    def batch(self, rows, epoch, row):
        """Give every row weight 1."""
        return _batch(rows)

    def measure(self, model, batch, training):
        """Sum cross entropy and hits over the rows."""
        outputs = model(batch["features"], training=training)
        weights, targets = batch["weights"]["rows"], batch["targets"]
        loss, hit = cross_entropy(outputs, targets), hits(outputs, targets)
        sums = {"loss": tf.reduce_sum(loss * weights), "accuracy": tf.reduce_sum(hit * weights)}
        return sums, outputs

    def score(self, outputs, targets):
        """Return macro F1 over all classes, and the Matthews correlation."""
        return class_scores(outputs, targets, len(self.spec.classes))

    def show(self, model, batch, tokenizer, count):
        """Show each text with its class and the probability of every class."""
        batch = first(batch, count)
        outputs = model(batch["features"], training=False)
        said = tf.nn.softmax(outputs).numpy()
        rows = ["| text | label | probabilities |", "|---|---|---|"]
        for row, text in enumerate(_texts(batch, tokenizer)):
            label = self.spec.classes[int(batch["targets"][row])]
            shares = zip(self.spec.classes, said[row], strict=True)
            listed = ", ".join(f"{name} {share:.2f}" for name, share in shares)
            rows.append(f"| {cell(text)} | {cell(label)} | {cell(listed)} |")
        return rows


class Regression(Objective):
    """Give a text a number by squared error, on the scale of the training labels.

    The model gives `(number - offset) / scale`, so that its output starts near the mean.
    """

    def __init__(self, spec: recipes.Regression):
        self.spec = spec
        head = Classify("classify", classes=1, pool=spec.pool or "mean", dropout=spec.dropout)
        self.heads: tuple[Head, ...] = (head,)
        self.terms = {"loss": "rows"}
        self.losses: tuple[str, ...] = ("loss",)
        self.selects: tuple[str, bool] = (spec.metric, True)

    def batch(self, rows, epoch, row):
        """Give every row weight 1."""
        return _batch(rows)

    def measure(self, model, batch, training):
        """Sum squared errors, in units of the scale, over the rows."""
        outputs = model(batch["features"], training=training)
        wanted = (batch["targets"] - self.spec.offset) / self.spec.scale
        error = tf.square(outputs[:, 0] - wanted)
        return {"loss": tf.reduce_sum(error * batch["weights"]["rows"])}, outputs

    def score(self, outputs, targets):
        """Return the correlations and the root mean squared error in the labels' own units.

        Correlations of a constant are undefined; 0 is reported.
        """
        from scipy import stats  # as above

        said = outputs[:, 0].astype(np.float64) * self.spec.scale + self.spec.offset
        constant = np.ptp(said) == 0 or np.ptp(targets) == 0
        return {
            "pearson": 0.0 if constant else float(stats.pearsonr(said, targets).statistic),
            "spearman": 0.0 if constant else float(stats.spearmanr(said, targets).statistic),
            "rmse": float(np.sqrt(np.mean((said - targets) ** 2))),
        }

    def show(self, model, batch, tokenizer, count):
        """Show each text with its number and what the model says."""
        batch = first(batch, count)
        outputs = model(batch["features"], training=False)
        rows = ["| text | number | predicted |", "|---|---|---|"]
        for row, text in enumerate(_texts(batch, tokenizer)):
            said = float(outputs[row, 0]) * self.spec.scale + self.spec.offset
            rows.append(f"| {cell(text)} | {float(batch['targets'][row]):.4g} | {said:.4g} |")
        return rows
