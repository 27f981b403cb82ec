"""Objectives of images: their class, and their hidden patches."""

from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.data.augment import Augmentation
from pipelines.data.preprocessing import ImagePreprocessing, scaled
from pipelines.data.randomness import uniform
from pipelines.objectives import Objective, cell, cross_entropy, first, hits
from pipelines.objectives.labelled import class_scores
from pipelines.recipes.images import ImageClassification, MaskedImages
from tfattn.blocks.patches import joined, patches
from tfattn.models.config import Classify, Head
from tfattn.models.vision_config import Pixels, VisionConfig
from tfattn.visualize import drawn_figure, patches_figure

HIDE = 42  # a purpose of random numbers
EPSILON = 1e-6  # of the deviation of a patch
DRAWN = 4  # images in a figure at most


class OfImages(Objective):
    """What both have: images are counted, scaled, and changed in training.

    Args:
        how: pixels become what the model reads.
        augmentation: what is changed in training; None = nothing.
    """

    unit = "images"

    def __init__(self, how: ImagePreprocessing, augmentation: Augmentation | None = None):
        self.how, self.augmentation = how, augmentation

    def count(self, batch):
        """Return how many images there are; none of them is padding."""
        count = tf.cast(tf.shape(batch["features"]["images"])[0], tf.float32)
        return count, count

    def shown(self, images) -> np.ndarray:
        """Return images (n, y, x, c) that the model reads as shares of white."""
        return np.clip(np.asarray(images) * self.how.std + self.how.mean, 0.0, 1.0)

    def features(self, images, labels, epoch, row, training) -> tuple[Any, Any]:
        """Return images as the model reads them, and what became of their labels."""
        if training and self.augmentation is not None:
            images, labels = self.augmentation(images, labels, epoch, row)
        return scaled(images, self.how), labels


class ImageClasses(OfImages):
    """Tell the class of an image by cross entropy (arXiv:2010.11929, section 3.1).

    Args:
        spec: of the recipe, with the classes.
        how: pixels become what the model reads.
        augmentation: what is changed in training.
    """

    def __init__(
        self,
        spec: ImageClassification,
        how: ImagePreprocessing,
        augmentation: Augmentation | None = None,
    ):
        super().__init__(how, augmentation)
        self.spec, classes = spec, len(spec.classes)
        self.heads: tuple[Head, ...] = (
            Classify("classify", classes=classes, pool=spec.pool, dropout=spec.dropout),
        )
        self.terms = {"loss": "rows", "accuracy": "rows"}
        self.losses: tuple[str, ...] = ("loss",)
        self.selects: tuple[str, bool] = (spec.metric, True)

    def batch(self, rows, epoch, row):
        """Give every image weight 1."""
        images, _ = self.features(rows["images"], None, epoch, row, False)
        weights = {"rows": tf.ones_like(rows["label"], tf.float32)}
        return {"features": {"images": images}, "targets": rows["label"], "weights": weights}

    def training_batch(self, rows, epoch, row):
        """Do so with images that are changed, and with probabilities in place of labels."""
        labels = tf.one_hot(rows["label"], len(self.spec.classes))
        images, labels = self.features(rows["images"], labels, epoch, row, True)
        smoothing = self.spec.smoothing
        labels = (1 - smoothing) * labels + smoothing / len(self.spec.classes)
        weights = {"rows": tf.ones_like(rows["label"], tf.float32)}
        return {"features": {"images": images}, "targets": labels, "weights": weights}

    def measure(self, model, batch, training):
        """Sum cross entropy and hits over the images."""
        outputs = model(batch["features"], training=training)
        weights, targets = batch["weights"]["rows"], batch["targets"]
        if targets.shape.rank == 2:  # probabilities
            loss = -tf.reduce_sum(targets * tf.nn.log_softmax(outputs), axis=-1)
            targets = tf.argmax(targets, axis=-1)
        else:
            loss = cross_entropy(outputs, targets)
        hit = hits(outputs, targets)
        sums = {"loss": tf.reduce_sum(loss * weights), "accuracy": tf.reduce_sum(hit * weights)}
        return sums, outputs

    def score(self, outputs, targets):
        """Return macro F1 over all classes, and the Matthews correlation."""
        return class_scores(outputs, targets, len(self.spec.classes))

    def figures(self, model, batch):
        """Draw at which patches the last block looks from the class token, or on average."""
        features = first(batch, DRAWN)["features"]
        _, weights = model(features, training=False, return_weights=True)
        last, lead = tf.cast(weights[-1], tf.float32).numpy(), int(model.config.class_token)
        looked = last[:, :, 0, 1:] if lead else last.mean(axis=2)
        grid = looked.reshape((*looked.shape[:2], *model.config.grid()))
        return {"attention/patches": patches_figure(self.shown(features["images"]), grid)}

    def show(self, model, batch, tokenizer, count):
        """Show each image's class and the likeliest ones."""
        batch = first(batch, count)
        said = tf.nn.softmax(model(batch["features"], training=False))
        shares, likeliest = (x.numpy() for x in tf.math.top_k(said, min(3, len(self.spec.classes))))
        lines = ["| image | label | probabilities |", "|---|---|---|"]
        for row, label in enumerate(batch["targets"].numpy()):
            each = zip(likeliest[row], shares[row], strict=True)
            listed = ", ".join(f"{self.spec.classes[name]} {share:.2f}" for name, share in each)
            lines.append(f"| {row} | {cell(self.spec.classes[label])} | {cell(listed)} |")
        return lines


class HiddenPatches(OfImages):
    """Draw the hidden patches of an image by squared error (MAE, arXiv:2111.06377, section 3).

        loss = mean over hidden patches of mean((said - wanted)^2)

    where `wanted` is a patch as the model reads it, or `(patch - mean) / sqrt(var + 1e-6)` of its
    own pixels.

    Args:
        spec: of the recipe.
        config: of the model: how many patches there are.
        how: pixels become what the model reads.
        seed: of what is hidden.
        augmentation: what is changed in training; its labels are none.
    """

    def __init__(
        self,
        spec: MaskedImages,
        config: VisionConfig,
        how: ImagePreprocessing,
        seed: int = 0,
        augmentation: Augmentation | None = None,
    ):
        super().__init__(how, augmentation)
        self.spec, self.seed, self.patch = spec, seed, config.patch
        rows, columns = config.grid()
        self.places = rows * columns
        self.kept = max(1, round(self.places * (1 - spec.rate)))
        self.heads: tuple[Head, ...] = (Pixels(dim=spec.dim, depth=spec.depth, heads=spec.heads),)
        self.terms = {"loss": "patches"}
        self.losses: tuple[str, ...] = ("loss",)
        self.selects: tuple[str, bool] = ("loss", False)

    def batch(self, rows, epoch, row):
        """Hide patches of each image, and give each of these weight 1."""
        return self._batch(rows, epoch, row, False)

    def training_batch(self, rows, epoch, row):
        """Do so with images that are changed."""
        return self._batch(rows, epoch, row, True)

    def _batch(self, rows, epoch, row, training):
        images, _ = self.features(rows["images"], None, epoch, row, training)
        draws = uniform(self.seed, HIDE, epoch, row, self.places)
        keep = tf.sort(tf.argsort(draws, axis=-1)[:, : self.kept], axis=-1)
        seen = tf.reduce_sum(tf.one_hot(keep, self.places), axis=1)
        return {
            "features": {"images": images, "keep": keep},
            "targets": self._wanted(images),
            "weights": {"patches": 1.0 - seen},
        }

    def _wanted(self, images):
        wanted = patches(images, self.patch)
        if not self.spec.normalized:
            return wanted
        mean, variance = tf.nn.moments(wanted, axes=[-1], keepdims=True)
        return (wanted - mean) / tf.sqrt(variance + EPSILON)

    def measure(self, model, batch, training):
        """Sum squared errors over the hidden patches."""
        said = model(batch["features"], training=training)
        error = tf.reduce_mean(tf.square(said - batch["targets"]), axis=-1)
        return {"loss": tf.reduce_sum(error * batch["weights"]["patches"])}, None

    def figures(self, model, batch):
        """Draw images, what is seen of them, and the hidden patches as the model has them.

        Where a patch is drawn beside its own mean and deviation, these are the true ones.
        """
        batch = first(batch, DRAWN)
        images = batch["features"]["images"]
        said = model(batch["features"], training=False)
        true = patches(images, self.patch)
        if self.spec.normalized:
            mean, variance = tf.nn.moments(true, axes=[-1], keepdims=True)
            said = said * tf.sqrt(variance + EPSILON) + mean
        hidden = batch["weights"]["patches"][..., None]
        columns = self.how.width // self.patch
        seen, drawn = (
            self.shown(joined(true * (1 - hidden) + other * hidden, columns, self.patch))
            for other in (tf.zeros_like(true), said)
        )
        return {"patches": drawn_figure(self.shown(images), seen, drawn)}

    def show(self, model, batch, tokenizer, count):
        """Show how far the patches of each image are from what was hidden."""
        batch = first(batch, count)
        said = model(batch["features"], training=False)
        hidden = batch["weights"]["patches"]
        error = tf.reduce_mean(tf.square(said - batch["targets"]), axis=-1) * hidden
        each = tf.reduce_sum(error, axis=1) / tf.reduce_sum(hidden, axis=1)
        lines = ["| image | loss |", "|---|---|"]
        return lines + [f"| {row} | {loss:.4f} |" for row, loss in enumerate(each.numpy())]
