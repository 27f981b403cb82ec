"""Text classification: cross entropy over classes (arXiv:1810.04805, section 4.1)."""

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
from pipelines.core.classification import ClassificationMetric, class_answers, cross_entropy, hits
from pipelines.core.report import cell, first_rows
from pipelines.core.spec import Options, Recipe, expect
from pipelines.core.tables import Table, classes_of, label_ids
from pipelines.text.data.table_rows import TableRows
from pipelines.text.encoder_module import EncoderModule
from pipelines.text.features import count_tokens, labelled_batch, row_length, texts_of
from pipelines.text.figures import attention_figures
from pipelines.text.labelled import TableRuntime, default_pool
from pipelines.text.spec import Classification, TextTask
from pipelines.text.tokenization.tokenizer import Tokenizer
from tfattn.models.config import Classify, Head
from tfattn.models.model_config import ModelConfig


class ClassificationRuntime(TableRuntime):
    """Trains, evaluates and exports a classifier of texts."""

    def resolve(self, recipe: Recipe, table: Table, config: ModelConfig) -> TextTask:
        """Return the task with its classes, and what is pooled."""
        task = expect(recipe.objective, Classification)
        task = replace(task, pool=task.pool or default_pool(config))
        return task if task.classes else replace(task, classes=classes_of(table))

    def objective(self, recipe: Recipe, tokenizer: Tokenizer, config: ModelConfig) -> Objective:
        """Return cross entropy over the classes."""
        return ClassificationObjective(expect(recipe.objective, Classification), tokenizer)

    def rows(
        self, recipe: Recipe, table: Table, tokenizer: Tokenizer, length: int, config: ModelConfig
    ) -> Rows:
        """Return texts and the numbers of their classes."""
        classes = expect(recipe.objective, Classification).classes
        labels = np.asarray(label_ids(table, classes), np.int32)
        return TableRows(tokenizer, table.texts, table.pairs, labels, length)

    def exported(self, done: Finished, options: Options) -> EncoderModule:
        """Return what gives `label`, `probabilities` and `classes` of texts."""
        classes = expect(done.task, Classification).classes

        def classify(logits: Tensor, features: dict[str, Tensor]) -> dict[str, Tensor]:
            return class_answers(logits, classes)

        return EncoderModule(done.model, done, row_length(done), classify)


class ClassificationObjective(Objective):
    """Cross entropy, accuracy, and what is measured over a whole split.

    Args:
        task: with the classes.
        tokenizer: shows texts.
    """

    def __init__(self, task: Classification, tokenizer: Tokenizer):
        self.task, self.tokenizer = task, tokenizer
        pool = task.pool or "mean"
        head = Classify("classify", classes=len(task.classes), pool=pool, dropout=task.dropout)
        self.heads: tuple[Head, ...] = (head,)
        self.terms = {"loss": "rows", "accuracy": "rows"}
        self.losses: tuple[str, ...] = ("loss",)
        self.selects = Selection(task.metric, higher_is_better=True)

    def batch(self, rows: dict[str, Tensor], epoch: Tensor, row: Tensor) -> Batch:
        """Give every row weight 1."""
        return labelled_batch(rows)

    def measure(self, model: Model, batch: Batch, training: bool) -> tuple[Sums, Any]:
        """Sum cross entropy and hits over the rows."""
        logits = model(batch["features"], training=training)
        weights, targets = batch["weights"]["rows"], batch["targets"]
        loss, hit = cross_entropy(logits, targets), hits(logits, targets)
        sums = {"loss": tf.reduce_sum(loss * weights), "accuracy": tf.reduce_sum(hit * weights)}
        return sums, logits

    def count(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return how many tokens there are, and how many with padding."""
        return count_tokens(batch)

    def metrics(self) -> tuple[Metric, ...]:
        """Return macro F1 and the Matthews correlation."""
        return (ClassificationMetric(len(self.task.classes)),)

    def report(self, model: Model, batch: Batch, samples: int, figures: bool) -> Report:
        """Show each text with its class and the probability of every class."""
        table = self._table(model, first_rows(batch, samples)) if samples else []
        drawn = attention_figures(model, batch, self.tokenizer) if figures else {}
        return Report(table, figures=drawn)

    def _table(self, model: Model, batch: Batch) -> list[str]:
        probabilities = tf.nn.softmax(model(batch["features"], training=False)).numpy()
        rows = ["| text | label | probabilities |", "|---|---|---|"]
        for row, text in enumerate(texts_of(batch, self.tokenizer)):
            label = self.task.classes[int(batch["targets"][row])]
            each = zip(self.task.classes, probabilities[row], strict=True)
            listed = ", ".join(f"{name} {value:.2f}" for name, value in each)
            rows.append(f"| {cell(text)} | {cell(label)} | {cell(listed)} |")
        return rows
