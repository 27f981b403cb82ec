"""Masked autoencoding: patches of an image from the others (MAE, arXiv:2111.06377)."""

from typing import Any

import tensorflow as tf
from matplotlib.figure import Figure

from pipelines.core.api import (
    Batch,
    Finished,
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
from pipelines.core.finished import without_heads
from pipelines.core.randomness import Stream, uniform
from pipelines.core.report import first_rows
from pipelines.core.run import Run
from pipelines.core.spec import Options, Recipe, expect
from pipelines.images.augment import Augmentation
from pipelines.images.figures import SHOWN, pixel_values
from pipelines.images.module import ImageModule
from pipelines.images.processor import ImagePreprocessing, scaled
from pipelines.images.rows import ImageRows
from pipelines.images.spec import MaskedImages
from pipelines.images.splits import ImageSplits, image_data, image_processor, vision_config
from tfattn.blocks.patches import joined, patches
from tfattn.models.config import Head
from tfattn.models.vision_config import Pixels, VisionConfig
from tfattn.visualize import drawn_figure

EPSILON = 1e-6  # of the deviation of a patch


class MaskedImagesRuntime(ImageSplits):
    """Trains, evaluates and exports a masked autoencoder."""

    def __init__(self):
        super().__init__(labelled=False)

    def prepare(self, run: Run, recipe: Recipe, start: Start | None) -> Prepared:
        """Read the images."""
        data, task, seed = image_data(recipe), _task(recipe), recipe.train.seed
        train, validation = self.read(data)
        processor = self.processor(recipe, start)
        config = vision_config(start.config if start else recipe.model)
        augmentation = Augmentation(data.augment, seed)
        preprocessing = processor.preprocessing
        objective = MaskedImagesObjective(task, config, preprocessing, seed, augmentation)
        rows = (ImageRows(images, preprocessing) for images in (train, validation))
        return Prepared(config, task, processor, objective, *rows)

    def split(self, done: Finished, files: tuple[str, ...], options: Options) -> Split:
        """Return images, of which patches are masked."""
        preprocessing = image_processor(done.processor).preprocessing
        rows = ImageRows(self.validation(done, files), preprocessing)
        config, seed = vision_config(done.model.config), done.recipe.train.seed
        objective = MaskedImagesObjective(_task(done.recipe), config, preprocessing, seed)
        return Split(objective, rows, {"rows": len(rows)})

    def exported(self, done: Finished, options: Options) -> ImageModule:
        """Return what gives the `embedding` of image files, the mean of their patches' states."""
        first_patch = int(done.model.config.class_token)

        def embed(hidden: Tensor) -> dict[str, Tensor]:
            return {"embedding": tf.reduce_mean(hidden[:, first_patch:], axis=1)}

        encoder = without_heads(done)
        return ImageModule(encoder, image_processor(done.processor), embed)


class MaskedImagesObjective(Objective):
    """Mean squared error over the pixels of masked patches.

    Which patches are masked is drawn anew in each epoch, keyed by (seed, epoch, row).

    Args:
        task: of the recipe.
        config: of the model: how many patches there are.
        preprocessing: how pixels become what the model reads.
        seed: of what is masked.
        augmentation: what is changed in training; None = nothing.
    """

    unit = "images"

    def __init__(
        self,
        task: MaskedImages,
        config: VisionConfig,
        preprocessing: ImagePreprocessing,
        seed: int = 0,
        augmentation: Augmentation | None = None,
    ):
        self.task, self.seed, self.patch = task, seed, config.patch
        self.preprocessing, self.augmentation = preprocessing, augmentation
        rows, columns = config.grid()
        self.patches = rows * columns
        self.kept = max(1, round(self.patches * (1 - task.rate)))
        self.heads: tuple[Head, ...] = (Pixels(dim=task.dim, depth=task.depth, heads=task.heads),)
        self.terms = {"loss": "patches"}
        self.losses: tuple[str, ...] = ("loss",)
        self.selects = Selection("loss", higher_is_better=False)

    def batch(self, rows: dict[str, Tensor], epoch: Tensor, row: Tensor) -> Batch:
        """Mask patches of each image, and give each of these weight 1."""
        return self._batch(rows["images"], epoch, row)

    def training_batch(self, rows: dict[str, Tensor], epoch: Tensor, row: Tensor) -> Batch:
        """Do so with augmented images."""
        images = rows["images"]
        if self.augmentation is not None:
            images, _ = self.augmentation(images, None, epoch, row)
        return self._batch(images, epoch, row)

    def _batch(self, pixels: Tensor, epoch: Tensor, row: Tensor) -> Batch:
        images = scaled(pixels, self.preprocessing)
        draws = uniform(self.seed, Stream.MASKED_PATCHES, epoch, row, self.patches)
        keep = tf.sort(tf.argsort(draws, axis=-1)[:, : self.kept], axis=-1)
        visible = tf.reduce_sum(tf.one_hot(keep, self.patches), axis=1)
        return {
            "features": {"images": images, "keep": keep},
            "targets": self._targets(images),
            "weights": {"patches": 1.0 - visible},
        }

    def _targets(self, images: Tensor) -> Tensor:
        targets = patches(images, self.patch)
        if not self.task.normalized:
            return targets
        mean, variance = tf.nn.moments(targets, axes=[-1], keepdims=True)
        return (targets - mean) / tf.sqrt(variance + EPSILON)

    def measure(self, model: Model, batch: Batch, training: bool) -> tuple[Sums, Any]:
        """Sum squared errors over the masked patches."""
        predicted = model(batch["features"], training=training)
        error = tf.reduce_mean(tf.square(predicted - batch["targets"]), axis=-1)
        return {"loss": tf.reduce_sum(error * batch["weights"]["patches"])}, None

    def report(self, model: Model, batch: Batch, samples: int, figures: bool) -> Report:
        """Show the error of each image, and what is reconstructed of its masked patches."""
        table = self._table(model, first_rows(batch, samples)) if samples else []
        return Report(table, figures={"patches": self.figure(model, batch)} if figures else {})

    def figure(self, model: Model, batch: Batch) -> Figure:
        """Draw images, what is visible of them, and what the model reconstructs of the rest.

        Where a patch is predicted beside its own mean and deviation, these are the true ones.
        """
        batch = first_rows(batch, SHOWN)
        images = batch["features"]["images"]
        predicted = model(batch["features"], training=False)
        true = patches(images, self.patch)
        if self.task.normalized:
            mean, variance = tf.nn.moments(true, axes=[-1], keepdims=True)
            predicted = predicted * tf.sqrt(variance + EPSILON) + mean
        masked = batch["weights"]["patches"][..., None]
        columns = self.preprocessing.width // self.patch
        visible, reconstructed = (
            joined(true * (1 - masked) + other * masked, columns, self.patch)
            for other in (tf.zeros_like(true), predicted)
        )
        every = (images, visible, reconstructed)
        return drawn_figure(*(pixel_values(one, self.preprocessing) for one in every))

    def _table(self, model: Model, batch: Batch) -> list[str]:
        predicted = model(batch["features"], training=False)
        masked = batch["weights"]["patches"]
        error = tf.reduce_mean(tf.square(predicted - batch["targets"]), axis=-1) * masked
        losses = tf.reduce_sum(error, axis=1) / tf.reduce_sum(masked, axis=1)
        lines = ["| image | loss |", "|---|---|"]
        return lines + [f"| {row} | {loss:.4f} |" for row, loss in enumerate(losses.numpy())]


def _task(recipe: Recipe) -> MaskedImages:
    return expect(recipe.objective, MaskedImages)
