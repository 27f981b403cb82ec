"""Text regression: squared error of a number (arXiv:1810.04805, section 4.1)."""

from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.core.api import (
    Batch,
    Finished,
    Metric,
    Model,
    Objective,
    Report,
    Rows,
    Selection,
    Sums,
    Tensor,
)
from pipelines.core.report import cell, first_rows
from pipelines.core.spec import Options, Recipe, expect
from pipelines.core.tables import Table, label_values
from pipelines.text.data.table_rows import TableRows
from pipelines.text.encoder_module import EncoderModule
from pipelines.text.features import count_tokens, labelled_batch, row_length, texts_of
from pipelines.text.figures import attention_figures
from pipelines.text.labelled import TableRuntime, default_pool
from pipelines.text.spec import Regression, TextTask
from pipelines.text.tokenization.tokenizer import Tokenizer
from tfattn.models.config import Classify, Head
from tfattn.models.model_config import ModelConfig


class RegressionRuntime(TableRuntime):
    """Trains, evaluates and exports a model that gives texts a number."""

    def resolve(self, recipe: Recipe, table: Table, config: ModelConfig) -> TextTask:
        """Return the task with offset and scale, and what is pooled."""
        task = expect(recipe.objective, Regression)
        task = replace(task, pool=task.pool or default_pool(config))
        if task.scale:
            return task
        values = label_values(table)
        scale = float(values.std()) or 1.0
        return replace(task, offset=float(values.mean()), scale=scale)

    def objective(self, recipe: Recipe, tokenizer: Tokenizer, config: ModelConfig) -> Objective:
        """Return squared error on the scale of the training labels."""
        return RegressionObjective(expect(recipe.objective, Regression), tokenizer)

    def rows(
        self, recipe: Recipe, table: Table, tokenizer: Tokenizer, length: int, config: ModelConfig
    ) -> Rows:
        """Return texts and their numbers."""
        labels = np.asarray(label_values(table), np.float32)
        return TableRows(tokenizer, table.texts, table.pairs, labels, length)

    def exported(self, done: Finished, options: Options) -> EncoderModule:
        """Return what gives the `value` of texts, in the labels' own units."""
        task = expect(done.task, Regression)

        def regress(outputs: Tensor, features: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"value": outputs[:, 0] * task.scale + task.offset}

        return EncoderModule(done.model, done, row_length(done), regress)


class RegressionObjective(Objective):
    """Squared error of `(number - offset) / scale`, so that a new model starts near the mean.

    Args:
        task: with offset and scale.
        tokenizer: shows texts.
    """

    def __init__(self, task: Regression, tokenizer: Tokenizer):
        self.task, self.tokenizer = task, tokenizer
        head = Classify("classify", classes=1, pool=task.pool or "mean", dropout=task.dropout)
        self.heads: tuple[Head, ...] = (head,)
        self.terms = {"loss": "rows"}
        self.losses: tuple[str, ...] = ("loss",)
        self.selects = Selection(task.metric, higher_is_better=True)

    def batch(self, rows: dict[str, Tensor], epoch: Tensor, row: Tensor) -> Batch:
        """Give every row weight 1."""
        return labelled_batch(rows)

    def measure(self, model: Model, batch: Batch, training: bool) -> tuple[Sums, Any]:
        """Sum squared errors, in units of the scale, over the rows."""
        outputs = model(batch["features"], training=training)
        targets = (batch["targets"] - self.task.offset) / self.task.scale
        error = tf.square(outputs[:, 0] - targets)
        return {"loss": tf.reduce_sum(error * batch["weights"]["rows"])}, outputs

    def count(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return how many tokens there are, and how many with padding."""
        return count_tokens(batch)

    def metrics(self) -> tuple[Metric, ...]:
        """Return the correlations and the root mean squared error."""
        return (RegressionMetric(self.task.offset, self.task.scale),)

    def report(self, model: Model, batch: Batch, samples: int, figures: bool) -> Report:
        """Show each text with its number and the predicted one."""
        table = self._table(model, first_rows(batch, samples)) if samples else []
        drawn = attention_figures(model, batch, self.tokenizer) if figures else {}
        return Report(table, figures=drawn)

    def _table(self, model: Model, batch: Batch) -> list[str]:
        outputs = model(batch["features"], training=False)
        rows = ["| text | number | predicted |", "|---|---|---|"]
        for row, text in enumerate(texts_of(batch, self.tokenizer)):
            predicted = float(outputs[row, 0]) * self.task.scale + self.task.offset
            number = float(batch["targets"][row])
            rows.append(f"| {cell(text)} | {number:.4g} | {predicted:.4g} |")
        return rows


class RegressionMetric:
    """Pearson's and Spearman's correlation, and the root mean squared error in the labels' units.

    Args:
        offset: added to outputs times `scale`.
        scale: of the outputs.
    """

    def __init__(self, offset: float, scale: float):
        self.offset, self.scale = offset, scale
        self._outputs: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []

    def update(self, outputs: np.ndarray, batch: Batch) -> None:
        """Take outputs (b, 1), and targets (b,)."""
        self._outputs.append(outputs[:, 0])
        self._targets.append(batch["targets"])

    def result(self) -> dict[str, float]:
        """Return `pearson`, `spearman` and `rmse`; correlations of a constant are reported as 0."""
        from scipy import stats  # takes long, and pretraining needs none

        targets = np.concatenate(self._targets)
        outputs = np.concatenate(self._outputs).astype(np.float64)
        predicted = outputs * self.scale + self.offset
        constant = np.ptp(predicted) == 0 or np.ptp(targets) == 0
        return {
            "pearson": 0.0 if constant else float(stats.pearsonr(predicted, targets).statistic),
            "spearman": 0.0 if constant else float(stats.spearmanr(predicted, targets).statistic),
            "rmse": float(np.sqrt(np.mean((predicted - targets) ** 2))),
        }
