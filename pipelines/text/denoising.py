"""Restoring a corrupted text: span corruption (T5), text infilling (BART), and prefix LM.

Each draws a corruption of every row, keyed by (seed, epoch, row): what is left is the source, and
what was taken away, or the whole text, is the target.
"""

import numpy as np
import tensorflow as tf

from pipelines.core.api import Finished, Rows, Tensor
from pipelines.core.randomness import Stream, uniform
from pipelines.core.spec import Options, Recipe, expect
from pipelines.text.data.corruption import (
    Example,
    beginning_example,
    corrupted_spans,
    mask_example,
    permuted,
    poisson_spans,
    sentinel_example,
    span_sizes,
    text_length,
)
from pipelines.text.data.store import Store
from pipelines.text.data.stretches import StretchRows
from pipelines.text.documents import DocumentRuntime, language_head, text_data
from pipelines.text.generation.writer import end_of
from pipelines.text.seq2seq import Examples, Seq2SeqObjective
from pipelines.text.seq2seq_module import Seq2SeqModule
from pipelines.text.spec import SpanCorruption, TextInfilling
from pipelines.text.tokenization.tokenizer import Tokenizer
from tfattn.errors import InputError


class DenoisingRuntime(DocumentRuntime):
    """Chunks of documents, each made into a source and a target."""

    def row_tokens(self, recipe: Recipe) -> int:
        """Return how many tokens of text a row has; the end token has the other place."""
        return text_data(recipe).length - 1

    def examples(self, recipe: Recipe, tokenizer: Tokenizer) -> Examples:
        """Return what makes sources and targets of rows."""
        raise NotImplementedError

    def objective(self, recipe: Recipe, tokenizer: Tokenizer) -> Seq2SeqObjective:
        """Return the loss of the targets."""
        examples = self.examples(recipe, tokenizer)
        return Seq2SeqObjective(language_head(recipe), tokenizer, examples)

    def rows(
        self, recipe: Recipe, tokenizer: Tokenizer, store: Store, options: Options | None = None
    ) -> Rows:
        """Return chunks of contiguous tokens."""
        end, pad = tokenizer.separator_id, tokenizer.pad_id or 0
        count, join = self.row_tokens(recipe), text_data(recipe).pack
        return StretchRows(store, count, end, pad, join=join)

    def exported(self, done: Finished, options: Options) -> Seq2SeqModule:
        """Return what gives the `text` of the target of each source."""
        return Seq2SeqModule.of_run(done, options)


class SpanCorruptionRuntime(DenoisingRuntime):
    """Spans become sentinels, and are the target (arXiv:1910.10683, section 3.1.4)."""

    def row_tokens(self, recipe: Recipe) -> int:
        """Return of how many tokens a row with its sentinels is made."""
        task = expect(recipe.objective, SpanCorruption)
        return text_length(text_data(recipe).length, task.rate, task.span)

    def examples(self, recipe: Recipe, tokenizer: Tokenizer) -> Examples:
        """Return what replaces spans by sentinels."""
        task, length = expect(recipe.objective, SpanCorruption), text_data(recipe).length
        count, end, seed = self.row_tokens(recipe), end_of(tokenizer), recipe.train.seed
        sentinels = _sentinels(tokenizer)
        noise, spans = span_sizes(count, task.rate, task.span)
        if spans > len(sentinels):
            raise InputError(
                f"{type(task).__name__}.span: expected rows of at most {len(sentinels)} spans, a "
                f"sentinel each. Received: {task.span}, which makes {spans} in {count} tokens."
            )
        ids, widths = tf.constant(sentinels, tf.int32), (length, noise + spans + 1)

        def example(rows: dict[str, Tensor], epoch: Tensor, row: Tensor) -> Example:
            tokens, lengths = rows["tokens"], rows["count"]
            draws = uniform(seed, Stream.CORRUPTED_SPANS, epoch, row, 2 * count)
            spans = corrupted_spans(draws, lengths, task.rate, task.span)
            return sentinel_example(tokens, lengths, spans, ids, end, widths)

        return example


class TextInfillingRuntime(DenoisingRuntime):
    """Spans become masks, sentences are permuted, and the text is the target (BART)."""

    def examples(self, recipe: Recipe, tokenizer: Tokenizer) -> Examples:
        """Return what replaces spans by masks."""
        task, seed = expect(recipe.objective, TextInfilling), recipe.train.seed
        count, end = self.row_tokens(recipe), end_of(tokenizer)
        known = getattr(tokenizer, "mask_id", None)
        mask = int(_sentinels(tokenizer)[0]) if known is None else known
        stops = tf.constant([token.endswith((".", "!", "?")) for token in tokenizer.vocabulary])

        def example(rows: dict[str, Tensor], epoch: Tensor, row: Tensor) -> Example:
            tokens, lengths = rows["tokens"], rows["count"]
            draws = uniform(seed, Stream.CORRUPTED_SPANS, epoch, row, 2 * count)
            spans = poisson_spans(draws, lengths, task.rate, task.span)
            corrupted = tokens
            if task.permute:
                order = uniform(seed, Stream.SENTENCE_ORDER, epoch, row, count)
                corrupted = permuted(order, tokens, lengths, stops)
            return mask_example(tokens, corrupted, lengths, spans, mask, end)

        return example


class PrefixLMRuntime(DenoisingRuntime):
    """The beginning of a text is the source, and the rest the target."""

    def examples(self, recipe: Recipe, tokenizer: Tokenizer) -> Examples:
        """Return what splits texts at a drawn place."""
        seed, end = recipe.train.seed, end_of(tokenizer)

        def example(rows: dict[str, Tensor], epoch: Tensor, row: Tensor) -> Example:
            draws = uniform(seed, Stream.CORRUPTED_SPANS, epoch, row, 1)
            return beginning_example(draws, rows["tokens"], rows["count"], end)

        return example


def _sentinels(tokenizer: Tokenizer) -> np.ndarray:
    """Return the ids that stand for spans, in the order of their use."""
    found = getattr(tokenizer, "sentinels", ())
    if not found:
        raise InputError(
            "objective: expected a vocabulary with sentinels, such as <extra_id_0>: one trained "
            "with --data.algorithm unigram, or that of a T5. "
            f"Received: {type(tokenizer).__name__} without any."
        )
    return np.asarray(found)
