"""What a recipe comes to on its data: the starting point, the rows, and the objective at work."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

import tfattn
from pipelines import objectives, recipes
from pipelines.data.batches import Draws, Rows
from pipelines.data.causal_rows import CausalRows
from pipelines.data.packing import PackedRows, PairRows
from pipelines.data.records import data_flag
from pipelines.data.store import Store, write_store
from pipelines.objectives.causal_lm import CausalLM
from pipelines.objectives.labelled import Classification, Regression
from pipelines.objectives.masked_lm import MaskedLM
from pipelines.recipes import Recipe, TextData
from pipelines.runs import Run, find_run, user_path
from pipelines.tokenization.tokenizer import Tokenizer, as_wordpiece, load_tokenizer
from pipelines.training.labels import labelled_rows, read_labelled, resolve_labels
from pipelines.training.texts import documents, keep_vocabulary, prepare_text
from tfattn.errors import InputError
from tfattn.families.gpt2 import HEAD as CAUSAL_HEAD
from tfattn.mechanisms.masks import is_causal
from tfattn.models.config import Head, Tokens, TransformerConfig


@dataclass(frozen=True)
class Start:
    """What a run starts from: a run before, a saved model, or a published checkpoint."""

    name: str
    config: TransformerConfig
    heads: tuple[Head, ...]
    weights: dict[str, np.ndarray]
    tokenizer: Tokenizer

    def same_heads(self, heads: tuple[Head, ...]) -> bool:
        """Return whether these heads can be taken over."""
        shapes = {(head.name, getattr(head, "classes", None)) for head in self.heads}
        return all((head.name, getattr(head, "classes", None)) in shapes for head in heads)


@dataclass(frozen=True)
class Task:
    """Rows and an objective, ready for the engine."""

    config: TransformerConfig
    tokenizer: Tokenizer
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
    tokenizer = load_tokenizer(folder)
    if tokenizer.size > config.vocab_size:
        raise InputError(
            f"{folder}: expected a vocabulary of at most the {config.vocab_size} tokens that "
            f"config.json speaks of. Received: {tokenizer.size}."
        )
    return Start(str(folder), config, heads, weights, tokenizer)


def prepare(run: Run, recipe: Recipe, start: Start | None) -> Task:
    """Read the data of a recipe.

    Raises:
        InputError: data that cannot be used, or a model that does not fit it.
    """
    config = start.config if start is not None else recipe.model
    if config is None:
        raise InputError("model: expected a preset, or --init. Received neither.")
    kind = _text if isinstance(recipe.data, recipes.TextData) else _table
    return kind(run, recipe, recipe.data, config, start)


def _text(run, recipe, data, config, start):
    _check_length(data.length, config)
    if start is not None and data.tokenizer is not None:
        raise InputError(
            "data.tokenizer: expected none beside init, whose model has its own. "
            f"Received: {data.tokenizer}."
        )
    tokenizer, *stores = prepare_text(run, data, start.tokenizer if start else None)
    heads = start.heads if start else ()
    with data_flag("files"):
        _, train, draws = _split(stores[0], recipe, tokenizer, heads)
    with data_flag("validation"):
        objective, validation, others = _split(stores[1], recipe, tokenizer, heads)
    if start is None:
        config = replace(config, vocab_size=tokenizer.size, pad_id=tokenizer.pad_id)
    return Task(config, tokenizer, recipe.objective, objective, train, validation, draws, others)


def text_rows(
    run: Run,
    recipe: Recipe,
    files: tuple[str, ...],
    tokenizer: Tokenizer,
    heads: tuple[Head, ...],
    stride: int | None = None,
) -> tuple[objectives.Objective, Rows, Draws]:
    """Return the objective and rows of other texts, or of the run's validation store.

    Raises:
        InputError: files that cannot be used, or a stride for what is no causal model.
    """
    causal = isinstance(recipe.objective, recipes.CausalLM)
    length = cast(TextData, recipe.data).length
    if stride is not None and not (causal and 1 <= stride <= length):
        raise InputError(
            f"stride: expected 1 to {length}, the tokens of a row, for a causal model. "
            f"Received: {stride} for {type(recipe.objective).__name__}."
        )
    if not files:
        store = Store.open(run.data / "validation", tokenizer)
        return _split(store, recipe, tokenizer, heads, stride)
    with tempfile.TemporaryDirectory() as folder, data_flag("files"):
        # Mapped files live on until they are closed.
        data = replace(cast(TextData, recipe.data), files=files, validation=files)
        store = write_store(Path(folder) / "store", documents(data, "validation"), tokenizer)
        return _split(store, recipe, tokenizer, heads, stride)


def _split(
    store, recipe, tokenizer, heads, stride=None
) -> tuple[objectives.Objective, Rows, Draws]:
    """Return the objective, and the rows of a store as it wants them, and their draws."""
    data, spec = recipe.data, recipe.objective
    start, end, pad = tokenizer.start_id, tokenizer.separator_id, tokenizer.pad_id
    if isinstance(spec, recipes.CausalLM):
        rows = CausalRows(store, data.length, start, end, pad, pack=data.pack, stride=stride)
        # Of a prefix nothing is predicted, so that its bytes are not counted.
        per_target = 0.0 if spec.prefix else store.meta.bytes / rows.targets
        return CausalLM(spec, _causal_head(heads), per_target, recipe.train.seed), rows, _no_draws
    tokenizer = as_wordpiece(tokenizer, "objective")
    objective = MaskedLM(spec, tokenizer, data.length, recipe.train.seed)
    if spec.next_sentence:
        rows = PairRows(store, data.length, start, end, pad)
        return objective, rows, lambda epoch, row: objective.draws(epoch, row, len(rows))
    return objective, PackedRows(store, data.length, start, end, pad, pack=data.pack), _no_draws


def _table(run, recipe, data, config, start):
    if start is None:
        raise InputError(
            "init: expected a run or a checkpoint that brings a vocabulary. Received none."
        )
    tokenizer = start.tokenizer
    keep_vocabulary(run, tokenizer)
    length = data.length or config.max_length
    _check_length(length, config)
    train = read_labelled(data, data.train, "train")
    validation = read_labelled(data, data.validation, "validation")
    causal = all(map(is_causal, config.masks))
    if isinstance(recipe.objective, recipes.TextToText) and not causal:
        raise InputError(
            "init: expected a causal model, for it is to write text. Received one with the masks "
            f"{', '.join(sorted({type(mask).__name__ for mask in config.masks}))}."
        )
    spec = resolve_labels(recipe.objective, train, "last" if causal else "mean")
    objective = work(spec, start.heads, recipe.train.seed)
    rows, others = (labelled_rows(table, spec, tokenizer, length) for table in (train, validation))
    return Task(config, tokenizer, spec, objective, rows, others, _no_draws, _no_draws)


def work(spec: recipes.Objective, heads: tuple[Head, ...], seed: int) -> objectives.Objective:
    """Return the objective of labelled texts that `spec` describes.

    Args:
        spec: of the recipe, with what the labels said.
        heads: of the model that it starts from, or that it is.
        seed: of the recipe.
    """
    if isinstance(spec, recipes.TextToText):
        return CausalLM(recipes.CausalLM(), _causal_head(heads), seed=seed)
    kinds = {recipes.Classification: Classification, recipes.Regression: Regression}
    return kinds[type(spec)](spec)


def _causal_head(heads):
    """Return the head over the vocabulary that a model has, or that of GPT-2."""
    return next((head for head in heads if isinstance(head, Tokens)), CAUSAL_HEAD)


def _check_length(length, config):
    if length > config.max_length and config.position == "learned":
        raise InputError(
            f"data.length: expected at most the {config.max_length} positions of the model. "
            f"Received: {length}."
        )


def _no_draws(epoch, row):
    return ()
