"""Objectives on texts at work: what each reads of a token store, and how."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import tensorflow as tf

from pipelines import objectives, recipes
from pipelines.data.batches import Draws, Rows
from pipelines.data.causal_rows import CausalRows
from pipelines.data.corruption import (
    beginning_example,
    corrupted_spans,
    mask_example,
    permuted,
    poisson_spans,
    sentinel_example,
    span_sizes,
    text_length,
)
from pipelines.data.packing import PackedRows, PairRows
from pipelines.data.randomness import uniform
from pipelines.data.records import data_flag
from pipelines.data.store import Store, write_store
from pipelines.data.stretches import StretchRows
from pipelines.generation.writer import end_of
from pipelines.objectives.causal_lm import CausalLM
from pipelines.objectives.masked_lm import MaskedLM
from pipelines.objectives.source_to_target import SourceToTarget
from pipelines.recipes import Recipe, TextData
from pipelines.runs import Run
from pipelines.tokenization.tokenizer import Tokenizer, as_wordpiece
from pipelines.training.texts import documents
from tfattn.errors import InputError
from tfattn.families.gpt2 import HEAD as CAUSAL_HEAD
from tfattn.models.config import Tokens

Work = tuple[objectives.Objective, Rows, Draws]
SPANS, ORDER = 1, 2  # purposes of random numbers


def text_rows(
    run: Run,
    recipe: Recipe,
    files: tuple[str, ...],
    tokenizer: Tokenizer,
    head: Tokens | None,
    stride: int | None = None,
) -> Work:
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
        return work_on(store, recipe, tokenizer, head, stride)
    with tempfile.TemporaryDirectory() as folder, data_flag("files"):
        # Mapped files live on until they are closed.
        data = replace(cast(TextData, recipe.data), files=files, validation=files)
        store = write_store(Path(folder) / "store", documents(data, "validation"), tokenizer)
        return work_on(store, recipe, tokenizer, head, stride)


def work_on(
    store: Store,
    recipe: Recipe,
    tokenizer: Tokenizer,
    head: Tokens | None,
    stride: int | None = None,
) -> Work:
    """Return the objective, the rows of a store as it wants them, and their draws.

    Args:
        store: of a split.
        recipe: names the objective and the length of a row.
        tokenizer: of the store.
        head: over the vocabulary, or None for the usual one of the objective.
        stride: of overlapping rows.
    """
    if isinstance(recipe.objective, recipes.CausalLM):
        return _causal(store, recipe, tokenizer, head or CAUSAL_HEAD, stride)
    return WORK[type(recipe.objective)](store, recipe, tokenizer, head or CAUSAL_HEAD)


def _causal(store, recipe, tokenizer, head, stride):
    data, spec = recipe.data, recipe.objective
    start, end, pad = tokenizer.start_id, tokenizer.separator_id, tokenizer.pad_id
    rows = CausalRows(store, data.length, start, end, pad, pack=data.pack, stride=stride)
    # Of a prefix nothing is predicted, so that its bytes are not counted.
    per_target = 0.0 if spec.prefix else store.meta.bytes / rows.targets
    return CausalLM(spec, head, per_target, recipe.train.seed), rows, no_draws


def _masked(store, recipe, tokenizer, head):
    data, spec = recipe.data, recipe.objective
    tokenizer = as_wordpiece(tokenizer, "objective")
    start, end, pad = tokenizer.start_id, tokenizer.separator_id, tokenizer.pad_id
    objective = MaskedLM(spec, tokenizer, data.length, recipe.train.seed)
    if spec.next_sentence:
        rows = PairRows(store, data.length, start, end, pad)
        return objective, rows, lambda epoch, row: objective.draws(epoch, row, len(rows))
    return objective, PackedRows(store, data.length, start, end, pad, pack=data.pack), no_draws


def _span_corruption(store, recipe, tokenizer, head):
    spec, length, seed = recipe.objective, recipe.data.length, recipe.train.seed
    count, end = text_length(length, spec.rate, spec.span), end_of(tokenizer)
    sentinels = _sentinels(tokenizer)
    _, spans = span_sizes(count, spec.rate, spec.span)
    if spans > len(sentinels):
        raise InputError(
            f"objective.span: expected rows of at most {len(sentinels)} spans, a sentinel each. "
            f"Received: {spec.span}, which makes {spans} in {count} tokens."
        )
    ids = tf.constant(sentinels, tf.int32)

    def example(rows, epoch, row):
        tokens, there = rows["tokens"], rows["count"]
        spans = corrupted_spans(uniform(seed, SPANS, epoch, row, 2 * count), there, *rate)
        return sentinel_example(tokens, there, spans, ids, end, length)

    rate = (spec.rate, spec.span)
    return _denoising(store, recipe, tokenizer, head, count, example)


def _text_infilling(store, recipe, tokenizer, head):
    spec, seed = recipe.objective, recipe.train.seed
    count, end = recipe.data.length - 1, end_of(tokenizer)
    known = getattr(tokenizer, "mask_id", None)
    mask = int(_sentinels(tokenizer)[0]) if known is None else known
    stops = tf.constant([token.endswith((".", "!", "?")) for token in tokenizer.vocabulary])

    def example(rows, epoch, row):
        tokens, there = rows["tokens"], rows["count"]
        draws = uniform(seed, SPANS, epoch, row, 2 * count)
        spans = poisson_spans(draws, there, spec.rate, spec.span)
        spoiled = tokens
        if spec.permute:
            spoiled = permuted(uniform(seed, ORDER, epoch, row, count), tokens, there, stops)
        return mask_example(tokens, spoiled, there, spans, mask, end)

    return _denoising(store, recipe, tokenizer, head, count, example)


def _prefix(store, recipe, tokenizer, head):
    seed, count, end = recipe.train.seed, recipe.data.length - 1, end_of(tokenizer)

    def example(rows, epoch, row):
        draws = uniform(seed, SPANS, epoch, row, 1)
        return beginning_example(draws, rows["tokens"], rows["count"], end)

    return _denoising(store, recipe, tokenizer, head, count, example)


def _denoising(store, recipe, tokenizer, head, count, example):
    end, pad = tokenizer.separator_id, tokenizer.pad_id or 0
    rows = StretchRows(store, count, end, pad, join=recipe.data.pack)
    return SourceToTarget(head, tokenizer, example), rows, no_draws


def _sentinels(tokenizer):
    """Return the ids that stand for spans, in the order of their use."""
    found = getattr(tokenizer, "sentinels", ())
    if not found:
        raise InputError(
            "objective: expected a vocabulary with sentinels, such as <extra_id_0>: one trained "
            "with --data.algorithm unigram, or that of a T5. "
            f"Received: {type(tokenizer).__name__} without any."
        )
    return np.asarray(found)


def no_draws(epoch: tf.Tensor, row: tf.Tensor) -> tuple[()]:
    """Return the draws of rows that need none."""
    return ()


WORK: dict[type[recipes.Objective], Callable[..., Work]] = {
    recipes.MaskedLM: _masked,
    recipes.SpanCorruption: _span_corruption,
    recipes.TextInfilling: _text_infilling,
    recipes.PrefixLM: _prefix,
}
