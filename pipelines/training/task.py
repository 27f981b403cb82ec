"""What a run starts from, and what it comes to: rows and an objective, ready for the engine."""

from dataclasses import dataclass, replace
from typing import cast

import numpy as np

import tfattn
from pipelines import objectives, recipes
from pipelines.data.batches import Draws, Rows
from pipelines.data.preprocessing import ImagePreprocessing
from pipelines.reader import Reader, load_reader
from pipelines.recipes import Recipe
from pipelines.runs import find_run, user_path
from pipelines.tokenization.tokenizer import Tokenizer
from tfattn.errors import InputError
from tfattn.models.config import Head, Tokens
from tfattn.models.model_config import ModelConfig
from tfattn.models.vision_config import VisionConfig
from tfattn.resolution import resized


@dataclass(frozen=True)
class Start:
    """What a run starts from: a run before, a saved model, or a published checkpoint."""

    name: str
    config: ModelConfig
    heads: tuple[Head, ...]
    weights: dict[str, np.ndarray]
    reader: Reader

    @property
    def tokenizer(self) -> Tokenizer:
        """Return the vocabulary of a model of text."""
        return cast(Tokenizer, self.reader)

    @property
    def head(self) -> Tokens | None:
        """Return its head over the vocabulary, or None."""
        return next((head for head in self.heads if isinstance(head, Tokens)), None)

    def same_heads(self, heads: tuple[Head, ...]) -> bool:
        """Return whether these heads can be taken over."""
        shapes = {(head.name, getattr(head, "classes", None)) for head in self.heads}
        return all((head.name, getattr(head, "classes", None)) in shapes for head in heads)


@dataclass(frozen=True)
class Task:
    """Rows and an objective, ready for the engine."""

    config: ModelConfig
    reader: Reader
    spec: recipes.Objective  # with what the labels said
    objective: objectives.Objective
    train: Rows
    validation: Rows
    draws_train: Draws
    draws_validation: Draws


def starting_point(recipe: Recipe) -> Start | None:
    """Read what the recipe starts from, or return None.

    Raises:
        InputError: nothing there that can be started from.
    """
    if recipe.init is None:
        return None
    folder = user_path(recipe.init)
    if (folder / "recipe.json").exists():
        folder = find_run(folder, finished=True).model
    if not folder.is_dir():
        raise InputError(f"init: expected a run or a folder with a model. Received: {folder}.")
    config, heads, weights = tfattn.read(folder)
    start = Start(str(folder), config, heads, weights, load_reader(folder, config))
    size = getattr(recipe.data, "size", None)
    return start if size is None else _of_size(start, *size)


def _of_size(start, height, width):
    """Return the start of a model of images for images of another size."""
    if not isinstance(start.config, VisionConfig):
        raise InputError(f"init: {start.name}: expected a model of images. Received another.")
    try:
        config, weights = resized(start.config, start.weights, height, width)
    except InputError as error:
        raise InputError(f"data.size: {str(error).removeprefix('VisionConfig.')}") from None
    reader = replace(cast(ImagePreprocessing, start.reader), height=height, width=width)
    return replace(start, config=config, weights=weights, reader=reader)
