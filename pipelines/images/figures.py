"""What TensorBoard shows of images: attention over patches, and masked patches reconstructed."""

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from pipelines.core.api import Batch, Model, Tensor
from pipelines.core.report import first_rows
from pipelines.images.processor import ImagePreprocessing
from tfattn.visualize import patches_figure

SHOWN = 4  # images in a figure at most


def pixel_values(images: Tensor, preprocessing: ImagePreprocessing) -> np.ndarray:
    """Return images (n, y, x, c) that the model reads as pixel values in [0, 1]."""
    return np.clip(np.asarray(images) * preprocessing.std + preprocessing.mean, 0.0, 1.0)


def attention_figure(model: Model, batch: Batch, preprocessing: ImagePreprocessing) -> Figure:
    """Draw where the last block attends to, from the class token or on average."""
    features = first_rows(batch, SHOWN)["features"]
    _, weights = model(features, training=False, return_weights=True)
    last, has_token = tf.cast(weights[-1], tf.float32).numpy(), int(model.config.class_token)
    attended = last[:, :, 0, 1:] if has_token else last.mean(axis=2)
    grid = attended.reshape((*attended.shape[:2], *model.config.grid()))
    return patches_figure(pixel_values(features["images"], preprocessing), grid)
