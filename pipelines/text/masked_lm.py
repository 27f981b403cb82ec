"""Masked language modelling, with next-sentence prediction as an option (arXiv:1810.04805, 3.1)."""

from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.core.api import (
    Batch,
    Finished,
    Model,
    Objective,
    Report,
    Rows,
    Selection,
    Sums,
    Tensor,
)
from pipelines.core.classification import cross_entropy, hits
from pipelines.core.finished import without_heads
from pipelines.core.randomness import Stream, uniform
from pipelines.core.report import cell, first_rows
from pipelines.core.spec import Options, Recipe, expect
from pipelines.text.data.packing import PackedRows, PairRows
from pipelines.text.data.store import Store
from pipelines.text.documents import DocumentRuntime, text_data
from pipelines.text.encoder_module import EncoderModule
from pipelines.text.features import count_tokens, row_length
from pipelines.text.figures import attention_figures
from pipelines.text.spec import MaskedLM
from pipelines.text.tokenization.tokenizer import Tokenizer, as_wordpiece
from pipelines.text.tokenization.wordpiece import WordPiece
from tfattn.blocks.heads import mean_pool
from tfattn.models.config import Classify, Head, Tokens


class MaskedLMRuntime(DocumentRuntime):
    """Trains, evaluates and exports a masked language model."""

    def objective(self, recipe: Recipe, tokenizer: Tokenizer) -> Objective:
        """Return masked language modelling of rows of this length."""
        task, length = expect(recipe.objective, MaskedLM), text_data(recipe).length
        wordpiece = as_wordpiece(tokenizer, "objective")
        return MaskedLMObjective(task, wordpiece, length, recipe.train.seed)

    def rows(
        self, recipe: Recipe, tokenizer: Tokenizer, store: Store, options: Options | None = None
    ) -> Rows:
        """Return packed documents, or pairs of sentences where the next one is predicted."""
        data, wordpiece = text_data(recipe), as_wordpiece(tokenizer, "objective")
        ids = (wordpiece.start_id, wordpiece.separator_id, wordpiece.pad_id)
        if expect(recipe.objective, MaskedLM).next_sentence:
            return PairRows(store, data.length, *ids, seed=recipe.train.seed)
        return PackedRows(store, data.length, *ids, pack=data.pack)

    def exported(self, done: Finished, options: Options) -> EncoderModule:
        """Return what gives the `embedding` of texts, the mean of their tokens' states."""

        def embed(hidden: Tensor, features: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"embedding": mean_pool(hidden, features["segments"])}

        return EncoderModule(without_heads(done), done, row_length(done), embed)


class MaskedLMObjective(Objective):
    """Predict the tokens that were masked.

    Of the tokens of a row that are not special, `rate` are chosen (all pieces of a word, if whole
    words are asked for); of those 80% become [MASK], 10% a random token and 10% stay. Every row
    has room for the same number of predictions; places without one have weight 0. Draws are keyed
    by (seed, epoch, row): dynamic, and exactly repeatable.
    """

    row_independent = True

    def __init__(self, task: MaskedLM, tokenizer: WordPiece, length: int, seed: int):
        self.task, self.tokenizer, self.seed, self.length = task, tokenizer, seed, length
        self.predictions = max(1, round(task.rate * length))
        self.heads: tuple[Head, ...] = (Tokens(),)
        self.terms = {"mlm_loss": "mlm", "mlm_accuracy": "mlm"}
        self.losses: tuple[str, ...] = ("mlm_loss",)
        self.selects = Selection("loss", higher_is_better=False)
        if task.next_sentence:
            self.heads += (Classify("next", classes=2, pool="pooler", dropout=0.0),)
            self.terms |= {"next_loss": "next", "next_accuracy": "next"}
            self.losses += ("next_loss",)
        special = (tokenizer.pad_id, tokenizer.unknown_id, tokenizer.start_id)
        special += (tokenizer.separator_id, tokenizer.mask_id)
        self._ordinary = tf.constant(np.setdiff1d(np.arange(tokenizer.size), special), tf.int32)
        self._continues = tf.constant(tokenizer.continuation)

    def batch(self, rows: dict[str, Tensor], epoch: Tensor, row: Tensor) -> Batch:
        """Mask `tokens` and keep what was there as targets."""
        tokens, segments = rows["tokens"], rows["segments"]
        edges = (tokens == self.tokenizer.start_id) | (tokens == self.tokenizer.separator_id)
        eligible = (segments != 0) & tf.logical_not(edges)
        places, weights = self._choose(tokens, eligible, edges, epoch, row)
        stood = tf.gather(tokens, places, batch_dims=1)
        fate = uniform(self.seed, Stream.MASK_FATE, epoch, row, places)
        index = uniform(self.seed, Stream.MASK_REPLACEMENT, epoch, row, places) * len(
            self._ordinary
        )
        random = tf.gather(self._ordinary, tf.cast(index, tf.int32))
        masked = tf.where(fate < 0.8, self.tokenizer.mask_id, tf.where(fate < 0.9, random, stood))
        masked = tf.where(weights > 0, masked, stood)
        features = {
            "tokens": _replaced(tokens, places, masked),
            "segments": segments,
            "positions": rows["positions"],
            "predict_positions": places,
        }
        targets = {"mlm": stood}
        divisors = {"mlm": weights}
        if self.task.next_sentence:
            features["types"] = rows["types"]
            targets["next"] = rows["next"]
            divisors["next"] = tf.ones_like(rows["next"], tf.float32)
        return {"features": features, "targets": targets, "weights": divisors}

    def _choose(
        self, tokens: Tensor, eligible: Tensor, edges: Tensor, epoch: Tensor, row: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the places (b, p) to predict and their weights, 1 or 0."""
        score = uniform(self.seed, Stream.MASK_CHOICE, epoch, row, tokens.shape[1])
        if self.task.whole_words:  # all pieces of a word share the number of that word
            starts = edges | ~tf.gather(self._continues, tokens)
            word = tf.cumsum(tf.cast(starts, tf.int32), axis=1) - 1
            score = tf.gather(score, tf.maximum(word, 0), batch_dims=1)
        score = tf.where(eligible, -score, -2.0)  # what is not eligible comes last
        most = min(self.predictions + 1, self.length)  # and the one that follows
        ranked, order = tf.math.top_k(score, most)  # of equal ones the first comes first
        count = tf.reduce_sum(tf.cast(eligible, tf.float32), axis=1, keepdims=True)
        wanted = tf.cast(tf.round(count * self.task.rate), tf.int32)
        wanted = tf.minimum(tf.maximum(wanted, 1), tf.cast(count, tf.int32))  # (b, 1)
        places = order[:, : self.predictions]
        inside = tf.range(self.predictions)[None] < wanted
        if self.task.whole_words:  # a word that would be cut is left out, unless it is the only one
            ranked = tf.pad(ranked, [[0, 0], [0, 1]], constant_values=-3.0)
            following = tf.gather(ranked, wanted, batch_dims=1)  # (b, 1)
            cut = ranked[:, : self.predictions] == following
            others = tf.reduce_any(inside & ~cut, axis=1, keepdims=True)
            inside &= ~(cut & others)
        return places, tf.cast(inside, tf.float32)

    def measure(self, model: Model, batch: Batch, training: bool) -> tuple[Sums, Any]:
        """Sum cross entropy and hits over the predicted places, and of the next sentence."""
        asked = {"targets": batch["targets"]["mlm"], "target_weights": batch["weights"]["mlm"]}
        outputs = model({**batch["features"], **asked}, training=training)
        loss, hit = outputs["tokens"] if self.task.next_sentence else outputs
        found = {"mlm_loss": loss, "mlm_accuracy": hit}
        if self.task.next_sentence:
            targets, logits = batch["targets"]["next"], outputs["next"]
            found["next_loss"] = tf.reduce_sum(
                cross_entropy(logits, targets) * batch["weights"]["next"]
            )
            found["next_accuracy"] = tf.reduce_sum(hits(logits, targets) * batch["weights"]["next"])
        return found, None

    def count(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return how many tokens there are, and how many with padding."""
        return count_tokens(batch)

    def report(self, model: Model, batch: Batch, samples: int, figures: bool) -> Report:
        """Show each masked text with its masked tokens and the predicted ones."""
        table = self._table(model, first_rows(batch, samples)) if samples else []
        drawn = attention_figures(model, batch, self.tokenizer) if figures else {}
        return Report(table, figures=drawn)

    def _table(self, model: Model, batch: Batch) -> list[str]:
        vocabulary = self.tokenizer.vocabulary
        outputs = model(batch["features"], training=False)
        logits = outputs["tokens"] if self.task.next_sentence else outputs
        predicted = tf.argmax(logits, axis=-1).numpy()
        rows = ["| text | was | predicted |", "|---|---|---|"]
        for row in range(len(predicted)):
            real = batch["features"]["segments"][row].numpy() != 0
            text = self.tokenizer.decode(batch["features"]["tokens"][row].numpy()[real])
            masked = batch["weights"]["mlm"][row].numpy() > 0
            was = [vocabulary[i] for i in batch["targets"]["mlm"][row].numpy()[masked]]
            now = [vocabulary[i] for i in predicted[row][masked]]
            rows.append(f"| {cell(text)} | {cell(' '.join(was))} | {cell(' '.join(now))} |")
        return rows


def _replaced(tokens: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Return the tokens (b, t) with these values (b, p) at these places, all different in a row."""
    length = tokens.shape[1]
    index = tf.range(tf.shape(tokens)[0])[:, None] * length + places
    index, values = tf.reshape(index, [-1, 1]), tf.reshape(values, [-1])
    found = tf.tensor_scatter_nd_update(tf.reshape(tokens, [-1]), index, values)
    return tf.reshape(found, [-1, length])
