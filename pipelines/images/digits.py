"""Handwritten digits that scikit-learn carries: 1,797 of 8 x 8, a copy of UCI's test set."""

import numpy as np

from pipelines.images.sources import Images
from pipelines.images.spec import EMBEDDED_DIGITS as NAME
from tfattn.errors import InputError


def digits(name: str, flag: str) -> Images:
    """Return the digits with their names.

    Raises:
        InputError: another name.
    """
    if name != NAME:
        raise InputError(f"data.{flag}: expected folders, an .npz or {NAME}. Received: {name}.")
    from sklearn.datasets import load_digits  # takes long, and few commands need it

    pixels, labels = load_digits(return_X_y=True)
    images = np.round(pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    places = [f"{NAME}, row {row}" for row in range(len(images))]
    return Images([], images, [str(label) for label in labels], places, NAME)
