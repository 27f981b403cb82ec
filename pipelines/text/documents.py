"""What the tasks that learn from documents share: vocabulary, token stores, and evaluation."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.core.api import (
    Finished,
    Objective,
    Prepared,
    Processor,
    Rows,
    Split,
    Start,
    TaskRuntime,
)
from pipelines.core.records import data_flag
from pipelines.core.run import Run
from pipelines.core.spec import Options, Recipe, expect
from pipelines.text.corpora import documents, prepare_text
from pipelines.text.data.store import Store, write_store
from pipelines.text.sources import TextData
from pipelines.text.spec import LanguageModeling, TextTask
from pipelines.text.tokenization.tokenizer import Tokenizer, load_tokenizer
from tfattn.errors import InputError
from tfattn.families.gpt2 import HEAD as CAUSAL_HEAD
from tfattn.models.config import Head, Tokens
from tfattn.models.model_config import ModelConfig


class TextRuntime(TaskRuntime):
    """What every task of text shares."""

    def load_processor(self, folder: Path, config: ModelConfig) -> Processor:
        """Read the vocabulary of a folder."""
        return load_tokenizer(folder, getattr(config, "vocab_size", None))


class DocumentRuntime(TextRuntime):
    """Documents in token stores; a task says which rows and objective it makes of them."""

    def objective(self, recipe: Recipe, tokenizer: Tokenizer) -> Objective:
        """Return the objective of a resolved recipe."""
        raise NotImplementedError

    def rows(
        self, recipe: Recipe, tokenizer: Tokenizer, store: Store, options: Options | None = None
    ) -> Rows:
        """Return rows of a store; `options` are those of an evaluation."""
        raise NotImplementedError

    def prepare(self, run: Run, recipe: Recipe, start: Start | None) -> Prepared:
        """Train or take over a vocabulary, tokenize the documents, and make rows of them."""
        data = text_data(recipe)
        config = model_config(recipe, start)
        check_length(data.length, config)
        refuse_tokenizer(data.tokenizer, recipe)
        given = start_tokenizer(start)
        tokenizer, train, validation = prepare_text(run, data, given)
        recipe = with_language_head(recipe, start)
        with data_flag("files"):
            train_rows = self.rows(recipe, tokenizer, train)
            objective = self.objective(recipe, tokenizer)
        with data_flag("validation"):
            validation_rows = self.rows(recipe, tokenizer, validation)
        config = sized(config, tokenizer, start)
        return Prepared(config, recipe.objective, tokenizer, objective, train_rows, validation_rows)

    def split(self, done: Finished, files: tuple[str, ...], options: Options) -> Split:
        """Return other documents, or the run's own validation store."""
        tokenizer = tokenizer_of(done)
        if files:
            rows = self._rows_of_files(done, files, tokenizer, options)
        else:
            store = Store.open(done.run.data / "validation", tokenizer)
            rows = self.rows(done.recipe, tokenizer, store, options)
        return Split(self.objective(done.recipe, tokenizer), rows, {"rows": len(rows)})

    def _rows_of_files(
        self, done: Finished, files: tuple[str, ...], tokenizer: Tokenizer, options: Options
    ) -> Rows:
        with tempfile.TemporaryDirectory() as folder, data_flag("files"):
            # Mapped files live on until they are closed.
            data = replace(text_data(done.recipe), files=files, validation=files)
            store = write_store(Path(folder) / "store", documents(data, "validation"), tokenizer)
            return self.rows(done.recipe, tokenizer, store, options)


def text_data(recipe: Recipe) -> TextData:
    """Return the data of a task that learns from documents."""
    return expect(recipe.data, TextData)


def model_config(recipe: Recipe, start: Start | None) -> Any:
    """Return the config of the model that is trained."""
    return recipe.model if start is None else start.config


def start_tokenizer(start: Start | None) -> Tokenizer | None:
    """Return the vocabulary of what a run starts from."""
    tokenizer: Any = None if start is None else start.processor
    return tokenizer


def tokenizer_of(done: Finished) -> Tokenizer:
    """Return the vocabulary of a finished run.

    Raises:
        InputError: a model that has none.
    """
    tokenizer: Any = done.processor
    if not hasattr(tokenizer, "encode_batch"):
        raise InputError(
            f"{done.run.folder}: expected a model of text. Received: one of {done.task.name}."
        )
    return tokenizer


def language_head(recipe: Recipe) -> Tokens:
    """Return the head over the vocabulary of a resolved recipe."""
    return expect(recipe.objective, LanguageModeling).head or CAUSAL_HEAD


def with_language_head(recipe: Recipe, start: Start | None) -> Recipe:
    """Return the recipe with the head of what it starts from, or the usual one, in its task."""
    task = expect(recipe.objective, TextTask)
    head = getattr(task, "head", None)
    if start is not None:
        head = tokens_head(start.heads) or head
    return replace(recipe, objective=task.with_head(head or CAUSAL_HEAD))


def tokens_head(heads: tuple[Head, ...]) -> Tokens | None:
    """Return the head over the vocabulary, or None."""
    return next((head for head in heads if isinstance(head, Tokens)), None)


def sized(config: Any, tokenizer: Tokenizer, start: Start | None) -> ModelConfig:
    """Return the config of a new model with room for this vocabulary."""
    if start is not None:
        return config
    return config.with_fields(vocab_size=tokenizer.size, pad_id=tokenizer.pad_id)


def refuse_tokenizer(given: str | None, recipe: Recipe) -> None:
    """Refuse a vocabulary for a model that has one."""
    if recipe.init is not None and given is not None:
        raise InputError(
            "data.tokenizer: expected none beside init, whose model has its own. "
            f"Received: {given}."
        )


def check_length(length: int | None, config: ModelConfig) -> None:
    """Refuse rows of more tokens than the model has positions."""
    limit = config.max_positions()
    if length is not None and limit is not None and length > limit:
        raise InputError(
            f"data.length: expected at most the {limit} positions of the model. Received: {length}."
        )
