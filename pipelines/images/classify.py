"""Image classification: cross entropy over classes (arXiv:2010.11929, section 3.1)."""

from dataclasses import replace
from typing import Any

import tensorflow as tf

from pipelines.core.api import (
    Batch,
    Finished,
    Metric,
    Model,
    Objective,
    Prepared,
    Report,
    Selection,
    Split,
    Start,
    Sums,
    Tensor,
)
from pipelines.core.classification import ClassificationMetric, class_answers, cross_entropy, hits
from pipelines.core.report import cell, first_rows
from pipelines.core.run import Run
from pipelines.core.spec import Options, Recipe, expect
from pipelines.core.tables import classes_of, label_ids
from pipelines.images.augment import Augmentation
from pipelines.images.figures import attention_figure
from pipelines.images.module import ImageModule
from pipelines.images.processor import ImagePreprocessing, scaled
from pipelines.images.rows import ImageRows
from pipelines.images.sources import Images
from pipelines.images.spec import ImageClassification
from pipelines.images.splits import ImageSplits, image_data, image_processor, vision_config
from tfattn.models.config import Classify, Head

LIKELIEST = 3  # classes that a report lists


class ImageClassificationRuntime(ImageSplits):
    """Trains, evaluates and exports a classifier of images."""

    def __init__(self):
        super().__init__(labelled=True)

    def prepare(self, run: Run, recipe: Recipe, start: Start | None) -> Prepared:
        """Read the images and their classes."""
        data, task = image_data(recipe), _task(recipe)
        train, validation = self.read(data)
        processor = self.processor(recipe, start)
        if not task.classes:
            task = replace(task, classes=classes_of(train))
        augmentation = Augmentation(data.augment, recipe.train.seed)
        objective = ImageClassificationObjective(task, processor.preprocessing, augmentation)
        rows = (_rows(images, task, processor.preprocessing) for images in (train, validation))
        config = vision_config(start.config if start else recipe.model)
        return Prepared(config, task, processor, objective, *rows)

    def split(self, done: Finished, files: tuple[str, ...], options: Options) -> Split:
        """Return labelled images."""
        task, preprocessing = _task(done.recipe), image_processor(done.processor).preprocessing
        rows = _rows(self.validation(done, files), task, preprocessing)
        objective = ImageClassificationObjective(task, preprocessing)
        return Split(objective, rows, {"rows": len(rows)})

    def exported(self, done: Finished, options: Options) -> ImageModule:
        """Return what gives `label`, `probabilities` and `classes` of image files."""
        classes = _task(done.recipe).classes
        return ImageModule(
            done.model,
            image_processor(done.processor),
            lambda logits: class_answers(logits, classes),
        )


class ImageClassificationObjective(Objective):
    """Cross entropy, accuracy, and what is measured over a whole split.

    Args:
        task: with the classes.
        preprocessing: how pixels become what the model reads.
        augmentation: what is changed in training; None = nothing.
    """

    unit = "images"

    def __init__(
        self,
        task: ImageClassification,
        preprocessing: ImagePreprocessing,
        augmentation: Augmentation | None = None,
    ):
        self.task, self.preprocessing, self.augmentation = task, preprocessing, augmentation
        head = Classify("classify", classes=len(task.classes), pool=task.pool, dropout=task.dropout)
        self.heads: tuple[Head, ...] = (head,)
        self.terms = {"loss": "rows", "accuracy": "rows"}
        self.losses: tuple[str, ...] = ("loss",)
        self.selects = Selection(task.metric, higher_is_better=True)

    def batch(self, rows: dict[str, Tensor], epoch: Tensor, row: Tensor) -> Batch:
        """Give every image weight 1."""
        return _batch(scaled(rows["images"], self.preprocessing), rows["label"])

    def training_batch(self, rows: dict[str, Tensor], epoch: Tensor, row: Tensor) -> Batch:
        """Do so with augmented images, and with probabilities in place of labels."""
        images: Tensor = rows["images"]
        labels: Any = tf.one_hot(rows["label"], len(self.task.classes))
        if self.augmentation is not None:
            images, labels = self.augmentation(images, labels, epoch, row)
        smoothing = self.task.smoothing
        labels = (1 - smoothing) * labels + smoothing / len(self.task.classes)
        return _batch(scaled(images, self.preprocessing), labels)

    def measure(self, model: Model, batch: Batch, training: bool) -> tuple[Sums, Any]:
        """Sum cross entropy and hits over the images."""
        logits = model(batch["features"], training=training)
        weights, targets = batch["weights"]["rows"], batch["targets"]
        if targets.shape.rank == 2:  # probabilities
            loss = -tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=-1)
            targets = tf.argmax(targets, axis=-1)
        else:
            loss = cross_entropy(logits, targets)
        hit = hits(logits, targets)
        sums = {"loss": tf.reduce_sum(loss * weights), "accuracy": tf.reduce_sum(hit * weights)}
        return sums, logits

    def metrics(self) -> tuple[Metric, ...]:
        """Return macro F1 and the Matthews correlation."""
        return (ClassificationMetric(len(self.task.classes)),)

    def report(self, model: Model, batch: Batch, samples: int, figures: bool) -> Report:
        """Show each image's class and the likeliest ones, and where the model attends to."""
        table = self._table(model, first_rows(batch, samples)) if samples else []
        drawn = {}
        if figures:
            drawn["attention/patches"] = attention_figure(model, batch, self.preprocessing)
        return Report(table, figures=drawn)

    def _table(self, model: Model, batch: Batch) -> list[str]:
        classes = self.task.classes
        probabilities = tf.nn.softmax(model(batch["features"], training=False))
        top = tf.math.top_k(probabilities, min(LIKELIEST, len(classes)))
        lines = ["| image | label | probabilities |", "|---|---|---|"]
        for row, label in enumerate(batch["targets"].numpy()):
            likeliest = zip(top.indices[row].numpy(), top.values[row].numpy(), strict=True)
            listed = ", ".join(f"{classes[index]} {value:.2f}" for index, value in likeliest)
            lines.append(f"| {row} | {cell(classes[label])} | {cell(listed)} |")
        return lines


def _task(recipe: Recipe) -> ImageClassification:
    return expect(recipe.objective, ImageClassification)


def _rows(
    images: Images, task: ImageClassification, preprocessing: ImagePreprocessing
) -> ImageRows:
    return ImageRows(images, preprocessing, label_ids(images, task.classes))


def _batch(images: Tensor, targets: Tensor) -> Batch:
    weights = {"rows": tf.ones(tf.shape(targets)[:1])}
    return {"features": {"images": images}, "targets": targets, "weights": weights}
