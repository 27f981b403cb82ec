"""A finished run, opened to be used."""

from dataclasses import dataclass

import tfattn
from pipelines import recipes
from pipelines.data.preprocessing import ImagePreprocessing
from pipelines.reader import Reader, load_reader
from pipelines.recipes import Recipe, unescaped
from pipelines.runs import Run, find_run
from pipelines.tokenization.tokenizer import Tokenizer
from tfattn.errors import InputError
from tfattn.models.build import Model
from tfattn.models.config import Classify, Tokens
from tfattn.models.vision_config import Pixels


@dataclass(frozen=True)
class Finished:
    """A run that is done: its model in float32, vocabulary, and recipe."""

    run: Run
    recipe: Recipe
    model: Model
    reader: Reader

    @property
    def tokenizer(self) -> Tokenizer:
        """Return the vocabulary of a model of text.

        Raises:
            InputError: a model of images.
        """
        if isinstance(self.reader, ImagePreprocessing):
            raise InputError(
                f"{self.run.folder}: expected a model of text. Received: one of images."
            )
        return self.reader

    @property
    def length(self) -> int:
        """Return how many tokens a row of training, or a side of it, had at most."""
        return getattr(self.recipe.data, "length", None) or self.model.config.max_length

    @property
    def prefix(self) -> bool:
        """Return whether prompts are read in both directions."""
        return isinstance(self.recipe.objective, recipes.CausalLM) and self.recipe.objective.prefix

    @property
    def before(self) -> str:
        """Return what stands before every source: the prefix of its one task, or nothing."""
        objective = self.recipe.objective
        prefixes = objective.prefix if isinstance(objective, recipes.TextToText) else ()
        return unescaped(prefixes[0]) if len(prefixes) == 1 else ""

    @property
    def delimiter(self) -> str:
        """Return what stands between a prompt and its answer."""
        objective = self.recipe.objective
        return unescaped(objective.delimiter) if isinstance(objective, recipes.TextToText) else ""


def open_finished(folder: str) -> Finished:
    """Load the model of a run.

    Raises:
        InputError: no run there, one that is not finished, or a recipe of another model.
    """
    run = find_run(folder, finished=True)
    recipe, model = Recipe.load(run.resolved), tfattn.load(run.model, dtype="float32")
    if not _fits(recipe.objective, model.heads):
        raise InputError(
            f"{run.resolved}: expected what the model in {run.model} learnt. "
            f"Received: {type(recipe.objective).__name__}."
        )
    return Finished(run, recipe, model, load_reader(run.model, model.config))


def _fits(objective, heads):
    if isinstance(objective, recipes.MaskedImages):
        return any(isinstance(head, Pixels) for head in heads)
    named = recipes.Classification | recipes.ImageClassification
    if not isinstance(objective, named | recipes.Regression):
        return any(isinstance(head, Tokens) for head in heads)
    classes = len(objective.classes) if isinstance(objective, named) else 1
    return any(isinstance(head, Classify) and head.classes == classes for head in heads)
