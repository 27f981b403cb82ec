"""Positions of one grid of patches as those of another, so that a model reads larger images.

Learned positions are values at the places of a grid; between them a cubic is drawn (ViT,
arXiv:2010.11929, section 3.2). Everything else of the model knows nothing of the size.
"""

from dataclasses import replace

import numpy as np

from tfattn.errors import InputError
from tfattn.models.vision_config import VisionConfig
from tfattn.weights import Weights

POSITIONS = "stem/positions/embeddings"
SHARPNESS = -0.75  # of the cubic, as torch has it; Keys (1981) takes -0.5


def cubic(size: int, source: int) -> np.ndarray:
    """Return the matrix (size, source) of a cubic convolution from `source` values to `size`.

    Values stand in the middle of equal cells, and those of the edge go on beyond it (Keys 1981,
    with `SHARPNESS` for a).
    """
    a, place = SHARPNESS, (np.arange(size) + 0.5) * source / size - 0.5
    found, first = np.zeros((size, source)), np.floor(place).astype(int)
    for offset in (-1, 0, 1, 2):
        x = np.abs(place - (first + offset))
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
        column = np.clip(first + offset, 0, source - 1)
        np.add.at(found, (np.arange(size), column), np.where(x <= 1, near, far))
    return found


def resized(
    config: VisionConfig, weights: Weights, height: int, width: int
) -> tuple[VisionConfig, Weights]:
    """Return config and weights of the same model for images of another size.

    Args:
        config: of the model.
        weights: by path.
        height: of the images, a multiple of the patches.
        width: of the images, likewise.

    Raises:
        InputError: a size that is no multiple, or weights without the positions of the config.
    """
    other = replace(config, height=height, width=width)
    if other.grid() == config.grid() or config.position != "learned":
        return other, weights
    table = weights.get(POSITIONS)
    if table is None or table.shape != (config.places(), config.dim):
        raise InputError(
            f"{POSITIONS}: expected {(config.places(), config.dim)}. "
            f"Received: {None if table is None else table.shape}."
        )
    lead = int(config.class_token)
    grid = table[lead:].reshape((*config.grid(), config.dim))
    (rows, columns), (old_rows, old_columns) = other.grid(), config.grid()
    grid = np.einsum("yr,xc,rcd->yxd", cubic(rows, old_rows), cubic(columns, old_columns), grid)
    moved = np.concatenate([table[:lead], grid.reshape((-1, config.dim))]).astype(table.dtype)
    return other, {**weights, POSITIONS: moved}
