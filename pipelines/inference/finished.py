"""A finished run, opened to be used."""

from dataclasses import dataclass

import tfattn
from pipelines import recipes
from pipelines.recipes import Recipe, unescaped
from pipelines.runs import Run, find_run
from pipelines.tokenization.tokenizer import Tokenizer, load_tokenizer
from tfattn.models.transformer import Transformer


@dataclass(frozen=True)
class Finished:
    """A run that is done: its model in float32, vocabulary, and recipe."""

    run: Run
    recipe: Recipe
    model: Transformer
    tokenizer: Tokenizer

    @property
    def prefix(self) -> bool:
        """Return whether prompts are read in both directions."""
        return isinstance(self.recipe.objective, recipes.CausalLM) and self.recipe.objective.prefix

    @property
    def delimiter(self) -> str:
        """Return what stands between a prompt and its answer."""
        objective = self.recipe.objective
        return unescaped(objective.delimiter) if isinstance(objective, recipes.TextToText) else ""


def open_finished(folder: str) -> Finished:
    """Load the model of a run.

    Raises:
        InputError: no run there, or one that is not finished.
    """
    run = find_run(folder, finished=True)
    model = tfattn.load(run.model, dtype="float32")
    return Finished(run, Recipe.load(run.resolved), model, load_tokenizer(run.model))
